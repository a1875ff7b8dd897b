"""Rows of records as a verdict needs them: the values of one metric, and how well the metric sees each record."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from expunge.auditing.blindness import Sensitivities, Sensitivity, sensitivity_of, worst_of
from expunge.auditing.verdict import BLIND, Reference, Values, VerdictRow, not_shown, verdict_row

Row = dict[str, Any]
ByModel = Mapping[str, Sequence[Row]]
"""The rows of each model, as `expunge.auditing.measure` or an attack gives them."""


@dataclass(frozen=True)
class Measured:
    """One metric of some records.

    Attributes:
        by_model: the rows of each model; those without the metric do not count.
        column: of the metric.
        sensitivity: the metric's name in the columns `reach_…` and `blind_…`; empty: the columns are `reach` and `blind`.
    """

    by_model: ByModel
    column: str
    sensitivity: str = ""

    @classmethod
    def of_sets(cls, by_model: ByModel, sets: Collection[str], column: str, sensitivity: str = "") -> Self:
        """Return a metric of the records of some sets; without `sensitivity` its name is that of the column."""
        return cls({model: [row for row in rows if row["set"] in sets] for model, rows in by_model.items()}, column, sensitivity or column)

    def values(self) -> dict[str, Values]:
        """Return the values of each record and model."""
        values: dict[str, dict[str, list[float]]] = {model: defaultdict(list) for model in self.by_model}
        for model, id_, row in self._rows():
            values[model][id_].append(float(row[self.column]))
        return dict(values)

    def sensitivities(self) -> Sensitivities:
        """Return how well the metric sees each record, at worst over its rows and the models."""
        sensitivities: dict[str, list[Sensitivity]] = defaultdict(list)
        for _, id_, row in self._rows():
            sensitivities[id_].append(sensitivity_of(row, self.sensitivity))
        return {id_: worst_of(of_record) for id_, of_record in sensitivities.items()}

    def judge(
        self, name: str, value: str, against: Reference, tolerance: float, threat: str = "", lower_is_worse: bool = False
    ) -> VerdictRow:
        """Return the verdict row, see `expunge.auditing.verdict.verdict_row`; not shown if no record was measured."""
        values = self.values()
        if not values.get("unlearned"):
            return not_shown(name, value, f"{BLIND}: no record was measured", against, tolerance, threat)
        return verdict_row(name, value, values, against, tolerance, self.sensitivities(), threat, lower_is_worse)

    def _rows(self) -> Iterable[tuple[str, str, Row]]:
        """Yield the model, the record and the row of each value."""
        for model, rows in self.by_model.items():
            for row in rows:
                if row.get(self.column) is not None:
                    # Two sets may use the same ids.
                    yield model, f"{row['set']}/{row['id']}" if "set" in row else row["id"], row
