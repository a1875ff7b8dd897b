"""A gate's exam as tables, and its word on one prompt: for the terminal, and for the report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expunge.gating.inspect import GateReading
from expunge.reporting.escape import visible

Found = Mapping[str, Any]
MOST_PLAIN = 2
"""A set asked in no more ways than these is one of those that are not put in every variant."""
DARKEST = 155
MOST_NAMED = 5


@dataclass(frozen=True)
class Pivot:
    """A table of shares.

    Attributes:
        corner: what the lines are.
        columns: their names.
        lines: (name, cells) each.
    """

    corner: str
    columns: list[str]
    lines: list[tuple[str, list[str]]]


def pivots(found: Found) -> list[Pivot]:
    """The shares of open gates: sets that wear every variant by variant, the others by set.

    Args:
        found: as `expunge.auditing.gate_eval.examine_gate` gives it.
    """
    variants = Counter(group["set"] for group in found["groups"])
    worn = [group for group in found["groups"] if variants[group["set"]] > MOST_PLAIN]
    plain = [group for group in found["groups"] if variants[group["set"]] <= MOST_PLAIN]
    return [_pivot(groups, *axes) for groups, *axes in ((worn, "variant", "set"), (plain, "set", "variant")) if groups]


def print_gate(console: Console, found: Found) -> None:
    """Print which share of each set's prompts a gate opens for, with 95 % intervals and n; `found` as for `pivots`."""
    console.print(
        "The gate opens for this share of the prompts (95 % interval; n). Sets called forget ought to be near 100 %, others near 0."
    )
    for pivot in pivots(found):
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(pivot.corner)
        for name in pivot.columns:
            table.add_column(Text(visible(name)), justify="right")
        for name, cells in pivot.lines:
            table.add_row(Text(visible(name)), *map(Text, cells))
        console.print(table)
    low, high = found["auroc"]["ci95"]
    console.print(f"AUROC over all prompts {found['auroc']['value']:.3f} ({low:.3f}\u2013{high:.3f}).")


def shades(tokens: Sequence[tuple[str, float]], threshold: float) -> list[tuple[str, int]]:
    """Each token with how much it speaks for opening the gate, from 0 to `DARKEST`."""
    scores = [said for _, said in tokens]
    low, high = min(scores), max(*scores, threshold)
    return [(token, round(DARKEST * ((said - low) / (high - low)) ** 2) if high > low else 0) for token, said in tokens]


def heat(look: GateReading) -> Text:
    """The prompt, each token the darker the more it speaks for opening the gate."""
    text = Text()
    for token, shade in shades(look.tokens, look.threshold or 0.0):
        text.append(visible(token), style=f"black on rgb(255,{255 - shade},{255 - shade})")
    return text


def spoken_for(look: GateReading) -> str:
    """The tokens that speak most for opening the gate, each once, with their scores."""
    best: dict[str, float] = {}
    for token, said in look.tokens:
        best[token] = max(said, best.get(token, said))
    highest = sorted(best.items(), key=lambda pair: -pair[1])[:MOST_NAMED]
    return ", ".join(f"{visible(token)!r} {said:.2f}" for token, said in highest)


def _pivot(groups: Sequence[Found], line: str, column: str) -> Pivot:
    columns, lines = (list(dict.fromkeys(group[axis] for group in groups)) for axis in (column, line))
    cells = {(group[line], group[column]): group for group in groups}
    return Pivot(line, columns, [(name, [_cell(cells.get((name, other))) for other in columns]) for name in lines])


def _cell(group: Found | None) -> str:
    if group is None:
        return "\u2013"
    low, high = group["ci95"]
    return f"{group['value']:.0%} ({low:.0%}\u2013{high:.0%}; {group['n']})"
