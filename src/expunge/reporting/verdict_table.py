"""A verdict's rows put in order for a reader: by who can try it, the worst of each kind first, and each on one scale."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import MaxNLocator

from expunge.auditing.verdict import FEWEST
from expunge.data.threats import THREATS

# Whatever colours are lost on paper, sign and word are left.
SIGNS = {"fail": "\u2717", "not shown": "?", "pass": "\u2713"}
HEADINGS = {
    "": ("No attack: what has become of the rest", "nothing is tried; the edit itself does harm"),
    **{threat: (threat[0].upper() + threat[1:], meaning) for threat, meaning in THREATS.items()},
}
"""The heading and the first line of each threat model's rows."""
FOREST_WIDTH = 220

Verdict = Mapping[str, Any]
"""A row, as `expunge.auditing.verdict.Judged.as_dict` gives it."""


@dataclass(frozen=True)
class Line:
    """A row on the first page, which stands for all of its kind.

    Attributes:
        row: the worst of them.
        stands_for: the counts of all, in words; empty where it is the only one.
    """

    row: Verdict
    stands_for: str


@dataclass(frozen=True)
class Group:
    """Those that one kind of attacker can try.

    Attributes:
        title: who that is.
        meaning: what they have and do.
        lines: the worst of each kind, failures first.
        rows: all.
    """

    title: str
    meaning: str
    lines: list[Line]
    rows: list[Verdict]


@dataclass(frozen=True)
class Scale:
    """Where an excess lies on the forest's axis.

    Attributes:
        low, high: ends of the axis.
        ticks: round numbers on it.
    """

    low: float
    high: float
    ticks: list[float]

    def x(self, value: float) -> float:
        """Its place, in pixels from the left; at the edge what lies beyond it."""
        return round(8 + (FOREST_WIDTH - 16) * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 1)


def groups(rows: Sequence[Verdict]) -> list[Group]:
    """The rows by who can try it, nobody's first; every threat model is there, with or without rows."""
    found = []
    for threat, (title, meaning) in HEADINGS.items():
        own = [row for row in rows if row["threat"] == threat]
        if own or threat:
            found.append(Group(title, meaning, _lines(own), own))
    return found


def counted(rows: Sequence[Verdict]) -> str:
    """Such as: 9 pass, 2 fail, 4 not shown."""
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("pass", "fail", "not shown") if counts[verdict])


def why(row: Verdict) -> str:
    """The reason of a verdict, without the numbers that stand beside it."""
    if row["excess"] is None or row["excess"]["ci95"] is None:
        return row["reason"]
    n = row["excess"]["n"]
    few = n < FEWEST and row["excess"]["ci95"][1] <= row["allowed"]
    seen = {
        "pass": "within what is allowed",
        "fail": "beyond what is allowed",
        "not shown": f"n = {n} is too few to pass" if few else f"interval holds both, n = {n}",
    }
    return f"against {row['against']}: {seen[row['verdict']]}"


def signed(value: float) -> str:
    """Three decimals with their sign, as the terminal has them: with two, what fails could look like what is allowed."""
    return f"{value:+.3f}".replace("-0.000", "+0.000").replace("-", "\u2212")


def scale(rows: Sequence[Verdict]) -> Scale:
    """An axis on which all intervals, all that is allowed and zero lie, as far as they are shares: perplexity may rise by more than 1."""
    ends = [0.0]
    for row in rows:
        if row["excess"] is not None:
            ends += [row["allowed"], row["excess"]["value"], *(row["excess"]["ci95"] or ())]
    low = max(min(ends), -1.0)
    high = max(min(max(ends), 1.0), low + 0.1)
    ticks = MaxNLocator(4).tick_values(low, high)
    return Scale(low, high, [float(tick) for tick in ticks if low <= tick <= high])


def _lines(rows: Sequence[Verdict]) -> list[Line]:
    kinds: dict[str, list[Verdict]] = {}
    for row in rows:
        # Named alike up to a colon are one thing in many variants, roundings or sets.
        kinds.setdefault(row["name"].partition(": ")[0], []).append(row)
    lines = []
    for own in kinds.values():
        worst = min(own, key=_order)
        lines.append(Line(worst, f"worst of {len(own)}: {counted(own)}" if len(own) > 1 else ""))
    return sorted(lines, key=lambda line: list(SIGNS).index(line.row["verdict"]))


def _order(row: Verdict) -> tuple[int, float]:
    over = 0.0 if row["excess"] is None else row["excess"]["value"] - row["allowed"]
    return list(SIGNS).index(row["verdict"]), -over
