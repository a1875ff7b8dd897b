"""Rows of the verdict table: grouped by threat model, failures first, with a common scale for the excess."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import MaxNLocator

from expunge.auditing.control_check import UNFIT
from expunge.auditing.cross_checks import CROSS_CHECK
from expunge.auditing.verdict import BLIND, MIN_RECORDS
from expunge.data.threats import THREATS

# Signs make a verdict readable without colours.
SIGNS = {"fail": "\u2717", "not shown": "?", "pass": "\u2713"}
HEADINGS = {
    "": ("No attack: side effects", "nobody attacks; the edit itself may do harm"),
    **{threat: (threat[0].upper() + threat[1:], meaning) for threat, meaning in THREATS.items()},
}
"""{threat model: (heading, explanation)}."""
FOREST_WIDTH = 220

Verdict = Mapping[str, Any]
"""A row, as `expunge.auditing.verdict.VerdictRow.as_dict` gives it."""


@dataclass(frozen=True)
class Line:
    """The worst of several similar verdict rows.

    Attributes:
        row: the worst row.
        stands_for: how many rows it stands for, in words; empty if it is the only one.
    """

    row: Verdict
    stands_for: str


@dataclass(frozen=True)
class Group:
    """The verdict rows of one threat model.

    Attributes:
        title: the threat model.
        meaning: what such an attacker has and does.
        lines: the worst row of each kind, failures first.
        rows: all rows.
    """

    title: str
    meaning: str
    lines: list[Line]
    rows: list[Verdict]


@dataclass(frozen=True)
class Scale:
    """The axis of the forest plot.

    Attributes:
        low, high: ends of the axis.
        ticks: round numbers on it.
    """

    low: float
    high: float
    ticks: list[float]

    def x(self, value: float) -> float:
        """Return the position of an excess, in pixels from the left; values beyond the axis are put at its edge."""
        return round(8 + (FOREST_WIDTH - 16) * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 1)


def groups(rows: Sequence[Verdict]) -> list[Group]:
    """Return the rows by threat model, side effects first. Every threat model has a group, even without rows."""
    result = []
    for threat, (title, meaning) in HEADINGS.items():
        threat_rows = [row for row in rows if row["threat"] == threat]
        if threat_rows or threat:
            result.append(Group(title, meaning, _lines(threat_rows), threat_rows))
    return result


def count_verdicts(rows: Sequence[Verdict]) -> str:
    """Return the number of rows by verdict, such as: 9 pass, 2 fail, 4 not shown."""
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("pass", "fail", "not shown") if counts[verdict])


def short_reason(row: Verdict) -> str:
    """Return the reason of a verdict, without the numbers that the table shows anyway."""
    in_words = row["name"].startswith(CROSS_CHECK) or row["reason"].startswith((BLIND, UNFIT))
    if in_words or row["excess"] is None or row["excess"]["ci95"] is None:
        return row["reason"]
    n = row["excess"]["n"] if row["unlearned"] is None else min(row["excess"]["n"], row["unlearned"]["n"])
    too_few = n < MIN_RECORDS and row["excess"]["ci95"][1] <= row["tolerance"]
    reasons = {
        "pass": "within the tolerance",
        "fail": "beyond the tolerance",
        "not shown": f"n = {n} is too few to pass" if too_few else f"the interval includes the tolerance, n = {n}",
    }
    return f"compared with the {row['against']}: {reasons[row['verdict']]}"


def signed(value: float) -> str:
    """Format with a sign and three decimals: with two, a failing value could look equal to the tolerance."""
    return f"{value:+.3f}".replace("-0.000", "+0.000").replace("-", "\u2212")


def scale(rows: Sequence[Verdict]) -> Scale:
    """Return an axis that holds zero, all intervals and all tolerances, within ±1: only perplexity can rise by more."""
    ends = [0.0]
    for row in rows:
        if row["excess"] is not None:
            ends += [row["tolerance"], row["excess"]["value"], *(row["excess"]["ci95"] or ())]
    low = max(min(ends), -1.0)
    high = max(min(max(ends), 1.0), low + 0.1)
    ticks = MaxNLocator(4).tick_values(low, high)
    return Scale(low, high, [float(tick) for tick in ticks if low <= tick <= high])


def _lines(rows: Sequence[Verdict]) -> list[Line]:
    kinds: dict[str, list[Verdict]] = {}
    for row in rows:
        # Rows with the same name up to a colon are one test in several variants, quantisations or sets.
        kinds.setdefault(row["name"].partition(": ")[0], []).append(row)
    lines = []
    for similar in kinds.values():
        worst = min(similar, key=_order)
        lines.append(Line(worst, f"worst of {len(similar)}: {count_verdicts(similar)}" if len(similar) > 1 else ""))
    return sorted(lines, key=lambda line: list(SIGNS).index(line.row["verdict"]))


def _order(row: Verdict) -> tuple[int, float]:
    over = 0.0 if row["excess"] is None else row["excess"]["value"] - row["tolerance"]
    return list(SIGNS).index(row["verdict"]), -over
