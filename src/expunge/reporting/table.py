"""Print the audit's metrics as a table in the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expunge.console import visible
from expunge.reporting.metric_rows import Interval, Summaries, number, rows

_ARROWS = {"lower": "\u2193", "higher": "\u2191", None: ""}


def print_table(console: Console, summary: Summaries) -> None:
    """Print metrics by set, one column for each model.

    A cell is the value ± the distance to the further end of its 95 % interval. An arrow shows which direction is better.
    """
    table_rows = rows(summary)
    models = [name for name in summary if any(name in row.cells for row in table_rows)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("set")
    table.add_column("metric")
    for name in (*models, "n"):
        table.add_column(Text(visible(name)), justify="right")
    previous = None
    for row in table_rows:
        cells = [_cell(row.cells.get(model)) for model in models]
        # Text objects, because rich would read a set named "[red]" as markup.
        name = Text("" if row.set == previous else visible(row.set))
        table.add_row(name, Text(f"{visible(row.label)} {_ARROWS[row.better]}"), *map(Text, cells), row.counts)
        previous = row.set
    console.print(table)
    if "control" not in models:
        console.print("No control was given, so these numbers give no verdict.")


def _cell(cell: Interval | None) -> str:
    if cell is None:
        return "\u2013"
    if cell["ci95"] is None:
        return number(cell["value"])
    low, high = cell["ci95"]
    return f"{number(cell['value'])} \u00b1 {number(max(high - cell['value'], cell['value'] - low))}"
