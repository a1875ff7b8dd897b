"""What the reasoning before an answer gives away: rows for a verdict, beside those of the answers, where a model reasons."""

from collections.abc import Iterator

from expunge.auditing.measured import ByModel, Measured, Row
from expunge.auditing.verdict import VerdictRow
from expunge.data.threats import Threat

COLUMN = "reasoning"


def reasoning_row(by_model: ByModel, name: str, value: str, tolerance: float, threat: Threat) -> Iterator[VerdictRow]:
    """Yield the row that judges the reasoning of some records, if a model reasoned about one of them.

    Args:
        by_model: the rows of each model, with a score of the answer, and of the reasoning where there is one.
        name: of the row that judges the answers.
        value: what the score is.
        tolerance: how much more than the control the unlearned model may leak.
        threat: who can read the reasoning.
    """
    if any(COLUMN in row for rows in by_model.values() for row in rows):
        filled = {model: [_with_reasoning(row) for row in rows] for model, rows in by_model.items()}
        yield Measured(filled, COLUMN, COLUMN).judge(f"{name}, reasoning", f"{value}, of the reasoning", "control", tolerance, threat)


def _with_reasoning(row: Row) -> Row:
    """Return a row with a score of its reasoning: no reasoning gives nothing away, and is seen as the answer is."""
    if COLUMN in row:
        return row
    answer = "_rouge" if "reach_rouge" in row else ""
    return {**row, COLUMN: 0.0, **{f"{name}_{COLUMN}": row.get(f"{name}{answer}") for name in ("reach", "blind")}}
