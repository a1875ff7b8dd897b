"""What attacks recovered, arranged for a report: the data of each attack's figure, and the records that leak most."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from expunge.auditing.attacks import ATTACKS, Attack
from expunge.auditing.attacks.base import AttackFigure
from expunge.auditing.attacks.base import Row as AttackRow
from expunge.auditing.record_metrics import Row
from expunge.data.set_names import FORGET
from expunge.metrics.statistics import mean_ci
from expunge.reporting.metric_rows import Interval

MAX_WORST = 10

Series = Mapping[str, Mapping[str, Mapping[int, Interval]]]
"""{panel or bar: {model: {horizontal value: number}}}; the horizontal value of bars is 0."""
ByModel = Mapping[str, Sequence[Row]]
"""{model: its rows of audit.parquet}."""


@dataclass(frozen=True)
class AttackPlot:
    """A figure of one kind of attack.

    Attributes:
        name: of the attack.
        figure: how it is drawn.
        series: what is drawn.
    """

    name: str
    figure: AttackFigure
    series: Series


@dataclass(frozen=True)
class WorstRecord:
    """A record that some attack recovers more of from the unlearned model than from the control.

    Attributes:
        id: of the record.
        attack: the verdict row of the attack that recovers most of it.
        excess: by how much the unlearned model exceeds the control.
        values: what each model reveals.
    """

    id: str
    attack: str
    excess: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class AttackResults:
    """The rows of attacks.parquet and the attacks that made them.

    Attributes:
        attacks: of the suite, by label.
        rows: what the attacks gave, with `model` and `attack` (the label) in each row.
    """

    attacks: Mapping[str, Attack]
    rows: Sequence[AttackRow]

    @property
    def names(self) -> list[str]:
        """The names of the attacks that gave rows, in the order of the suite."""
        used = {row["attack"] for row in self.rows}
        return list(dict.fromkeys(attack.name for label, attack in self.attacks.items() if label in used))

    @property
    def records(self) -> int:
        """The number of records that were attacked in any way."""
        return len({row["id"] for row in self.rows})

    def rows_of(self, name: str) -> list[AttackRow]:
        """Return the rows of all attacks of one name."""
        return [row for row in self.rows if self.attacks[row["attack"]].name == name]

    def plots(self, by_model: ByModel, questions: set[str]) -> list[AttackPlot]:
        """Return the figures of the attacks that have one and gave rows.

        Args:
            by_model: the audit's rows, for bars of the same records before an attack.
            questions: ids of the forget records that are questions: the audit and the attacks expect the same answer to these.
        """
        plots = []
        for name, kind in ATTACKS.items():
            if kind.figure is not None and (rows := self.rows_of(name)):
                values = self._values(rows, kind.figure)
                if kind.figure.baseline:
                    attacked_ids = {row["id"] for row in rows} & questions
                    values = {kind.figure.baseline: _baseline(by_model, attacked_ids), **values}
                plots.append(AttackPlot(name, kind.figure, _numbers(values)))
        return plots

    @property
    def worst(self) -> list[WorstRecord]:
        """The records with the largest excess over the control, each with the attack that recovers most of it; none without a control.

        Attacks that remove the edit are left out: they recover the original, and would be in every line.
        """
        values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            attack = self.attacks[row["attack"]]
            verdict_row = attack.verdict_row(row)
            if verdict_row is not None and not attack.removes_edit:
                values[row["id"], verdict_row][row["model"]].append(row["value"])
        worst: dict[str, WorstRecord] = {}
        for (record, verdict_row), by_model in values.items():
            means = {model: fmean(recovered) for model, recovered in by_model.items()}
            if "control" in means and "unlearned" in means:
                leak = WorstRecord(record, verdict_row, means["unlearned"] - means["control"], means)
                if leak.excess > 0 and (record not in worst or leak.excess > worst[record].excess):
                    worst[record] = leak
        return sorted(worst.values(), key=lambda leak: -leak.excess)[:MAX_WORST]

    def _values(self, rows: Iterable[AttackRow], figure: AttackFigure) -> dict[str, dict[str, dict[int, list[float]]]]:
        values: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        for row in rows:
            x = row[figure.x_column] if figure.x_column else 0
            values[self.attacks[row["attack"]].series][row["model"]][x].append(row["value"])
        return values


def _baseline(by_model: ByModel, attacked_ids: set[str]) -> dict[str, dict[int, list[float]]]:
    """Return what each model reveals of the attacked records before the attack."""
    values = {
        model: [row["rouge"] for row in rows if row["set"] == FORGET and "rouge" in row and row["id"] in attacked_ids]
        for model, rows in by_model.items()
    }
    return {model: {0: recall} for model, recall in values.items() if recall}


def _numbers(values: Mapping[str, Mapping[str, Mapping[int, list[float]]]]) -> Series:
    return {
        name: {model: {x: _number(at_x) for x, at_x in sorted(curve.items())} for model, curve in models.items()}
        for name, models in values.items()
    }


def _number(values: list[float]) -> Interval:
    mean = mean_ci(values)
    return {"value": mean.value, "n": mean.n, "ci95": None if mean.ci95 is None else list(mean.ci95)}
