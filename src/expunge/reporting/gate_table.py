"""Tables of a gate's evaluation, and its logits on the tokens of one prompt, for the terminal and the report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expunge.console import visible
from expunge.gating.inspect import GateReading

GateEval = Mapping[str, Any]
"""The content of gate.json, see `expunge.auditing.gate_eval`."""
MAX_PLAIN_VARIANTS = 2
"""A set with at most so many prompt variants was not evaluated in every variant."""
DARKEST = 155
MAX_TOKENS = 5


@dataclass(frozen=True)
class Pivot:
    """A table of shares.

    Attributes:
        corner: what the rows are.
        columns: names of the columns.
        lines: (name, cells) of each row.
    """

    corner: str
    columns: list[str]
    lines: list[tuple[str, list[str]]]


def pivots(gate_eval: GateEval) -> list[Pivot]:
    """Return the shares of prompts that open the gate: one table by variant, and one by set for sets without all variants."""
    variants = Counter(group["set"] for group in gate_eval["groups"])
    in_variants = [group for group in gate_eval["groups"] if variants[group["set"]] > MAX_PLAIN_VARIANTS]
    plain = [group for group in gate_eval["groups"] if variants[group["set"]] <= MAX_PLAIN_VARIANTS]
    return [_pivot(groups, *axes) for groups, *axes in ((in_variants, "variant", "set"), (plain, "set", "variant")) if groups]


def print_gate(console: Console, gate_eval: GateEval) -> None:
    """Print the share of each set's prompts that open the gate, with 95 % intervals and n."""
    console.print("Share of prompts that open the gate (95 % interval; n). Forget sets should be near 100 %, all other sets near 0.")
    for pivot in pivots(gate_eval):
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(pivot.corner)
        for name in pivot.columns:
            table.add_column(Text(visible(name)), justify="right")
        for name, cells in pivot.lines:
            table.add_row(Text(visible(name)), *map(Text, cells))
        console.print(table)
    low, high = gate_eval["auroc"]["ci95"]
    console.print(f"AUROC over all prompts {gate_eval['auroc']['value']:.3f} ({low:.3f}\u2013{high:.3f}).")


def shades(tokens: Sequence[tuple[str, float]], threshold: float) -> list[tuple[str, int]]:
    """Return each token with a shade from 0 to `DARKEST`: the darker, the higher its gate logit."""
    logits = [logit for _, logit in tokens]
    low, high = min(logits), max(*logits, threshold)
    return [(token, round(DARKEST * ((logit - low) / (high - low)) ** 2) if high > low else 0) for token, logit in tokens]


def heat(reading: GateReading) -> Text:
    """Return the prompt with shaded tokens: the darker, the higher the gate logit."""
    text = Text()
    for token, shade in shades(reading.tokens, reading.threshold or 0.0):
        text.append(visible(token), style=f"black on rgb(255,{255 - shade},{255 - shade})")
    return text


def highest_tokens(reading: GateReading) -> str:
    """Return the tokens with the highest gate logits, each once, with their logits."""
    best: dict[str, float] = {}
    for token, logit in reading.tokens:
        best[token] = max(logit, best.get(token, logit))
    highest = sorted(best.items(), key=lambda pair: -pair[1])[:MAX_TOKENS]
    return ", ".join(f"{visible(token)!r} {logit:.2f}" for token, logit in highest)


def _pivot(groups: Sequence[GateEval], line: str, column: str) -> Pivot:
    columns, lines = (list(dict.fromkeys(group[axis] for group in groups)) for axis in (column, line))
    cells = {(group[line], group[column]): group for group in groups}
    return Pivot(line, columns, [(name, [_cell(cells.get((name, other))) for other in columns]) for name in lines])


def _cell(group: GateEval | None) -> str:
    if group is None:
        return "\u2013"
    low, high = group["ci95"]
    return f"{group['value']:.0%} ({low:.0%}\u2013{high:.0%}; {group['n']})"
