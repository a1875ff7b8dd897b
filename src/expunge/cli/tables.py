"""Tables on standard output: the audit's numbers, a verdict, the rounds of a release, answers before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from expunge.cli.output import standard_output
from expunge.console import visible

if TYPE_CHECKING:
    from expunge.runs.folder import Run

VERDICT_COLOURS = {"pass": "green", "fail": "bold red", "not shown": "yellow"}


def print_summary(run: Run) -> None:
    """Print the numbers of a run's audit, and those of each document of its forget set."""
    from expunge.reporting.build import measured_rows
    from expunge.reporting.document_table import document_lines, print_documents
    from expunge.reporting.table import print_table

    print_table(standard_output(), run.summary)
    print_documents(standard_output(), document_lines(measured_rows(run), run.read_info().get("gate", {}).get("threshold", 0.0)))


def print_verdict(rows: list[dict[str, Any]]) -> None:
    """Print the rows of a verdict."""
    table = Table("Verdict", "Row", "Unlearned", "Control", "Original", "Why", title="Verdict", title_justify="left")
    for row in rows:
        numbers = ["" if row[model] is None else f"{row[model]['value']:.3f}" for model in ("unlearned", "control", "original")]
        cells = [Text(visible(cell)) for cell in (row["name"], *numbers, row["reason"])]
        table.add_row(Text(row["verdict"], style=VERDICT_COLOURS[row["verdict"]]), *cells)
    standard_output().print(table)


def print_rounds(run: Run) -> None:
    """Print what a release measured after each round."""
    from expunge.reveal_release.release.round_results import curve

    rows = curve(run)
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None and name != "round")
    titles = [f"round {row['round']}" if row["round"] else "original" for row in rows]
    table = Table("", *titles, title="Round by round", title_justify="left")
    for name in names:
        values = [row.get(name) for row in rows]
        shown = [f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value) for value in values]
        table.add_row(Text(visible(name.replace("_", " "))), *map(Text, shown))
    standard_output().print(table)


def print_answers(rows: list[dict[str, Any]], questions: dict[str, str], title: str) -> None:
    """Print the answers of the original and the unlearned model, one row a question.

    Args:
        rows: of audit.parquet, with answers.
        questions: {record id: question} of the records that are shown.
        title: of the table.
    """
    answers = {(row["id"], row["model"]): row["answer"] for row in rows if row["set"] in ("forget", "retain")}
    table = Table("Question", "Before", "After", title=title, title_justify="left", expand=True)
    for record_id, question in questions.items():
        table.add_row(*(Text(visible(text)) for text in (question, answers[record_id, "original"], answers[record_id, "unlearned"])))
    standard_output().print(table)
