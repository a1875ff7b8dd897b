"""The forget set document by document: how much of each the models still give, and how often the gate opens for its records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expunge.auditing.record_metrics import Row
from expunge.console import visible
from expunge.data.set_names import FORGET
from expunge.reporting.metric_rows import ROLES, number

SHOWN = 20
"""Most documents that a table lists."""
MISSING = "\u2013"


@dataclass(frozen=True)
class DocumentLine:
    """The numbers of one document.

    Attributes:
        name: of the document.
        n: its records that were measured: passages, and questions about it.
        rouge: {model: mean ROUGE-L recall of its records}.
        gate_open: share of its records that the gate opens for; None without a gate.
    """

    name: str
    n: int
    rouge: Mapping[str, float]
    gate_open: float | None


def table_cells(lines: Sequence[DocumentLine]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the headings of the first lines' table, and (name, cells) of each line; a model without a number has no column."""
    roles = [role for role in ROLES if any(role in line.rouge for line in lines)]
    has_gate = any(line.gate_open is not None for line in lines)
    headings = ["n", *(f"ROUGE-L {role}" for role in roles), *(["gate open"] if has_gate else [])]
    cells = []
    for line in lines[:SHOWN]:
        rouge = [number(line.rouge[role]) if role in line.rouge else MISSING for role in roles]
        gate = [MISSING if line.gate_open is None else f"{line.gate_open:.0%}"] if has_gate else []
        cells.append((line.name, [str(line.n), *rouge, *gate]))
    return headings, cells


def document_lines(by_model: Mapping[str, Sequence[Row]], threshold: float) -> list[DocumentLine]:
    """Return a line for each document of the forget set, those that the unlearned model gives most of first; none without documents.

    Args:
        by_model: the rows of audit.parquet, by model.
        threshold: the logit from which the gate opens.
    """
    names = dict.fromkeys(row["document"] for row in by_model.get("unlearned", []) if row["set"] == FORGET and row.get("document"))
    lines = [_line(name, by_model, threshold) for name in names]
    return sorted(lines, key=lambda line: -line.rouge.get("unlearned", 0.0))


def print_documents(console: Console, lines: Sequence[DocumentLine]) -> None:
    """Print the lines of the first documents, and how many there are more."""
    if not lines:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("document")
    headings, rows = table_cells(lines)
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, cells in rows:
        table.add_row(Text(visible(name)), *map(Text, cells))
    console.print(table)
    if len(lines) > SHOWN:
        console.print(more_documents(lines))


def more_documents(lines: Sequence[DocumentLine]) -> str:
    """Return a sentence about the documents that a table does not list; empty if it lists all."""
    return (
        "" if len(lines) <= SHOWN else f"{len(lines) - SHOWN} more documents are in audit.parquet; the unlearned model gives less of them."
    )


def _line(name: str, by_model: Mapping[str, Sequence[Row]], threshold: float) -> DocumentLine:
    of_model = {model: [row for row in rows if row["set"] == FORGET and row.get("document") == name] for model, rows in by_model.items()}
    rouge = {model: fmean(values) for model, rows in of_model.items() if (values := [row["rouge"] for row in rows if "rouge" in row])}
    gates = [row["gate"] >= threshold for row in of_model["unlearned"] if row.get("gate") is not None]
    return DocumentLine(name, len(of_model["unlearned"]), rouge, fmean(gates) if gates else None)
