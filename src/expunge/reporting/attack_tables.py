"""What attacks found, put in order for a report: curves of relearning, quantisation beside what was told before, the worst records."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from expunge.auditing.attacks import Attack, Lens, Quantise, Relearn, SwitchOff
from expunge.auditing.attacks.base import Row as Hit
from expunge.auditing.attacks.relearn import SOURCES
from expunge.auditing.record_metrics import Row
from expunge.data.set_names import FORGET
from expunge.metrics.statistics import mean_ci
from expunge.reporting.metric_rows import Interval

BEFORE = "before"
AT_MOST = 10

Curves = Mapping[str, Mapping[str, Mapping[int, Interval]]]
"""{what was trained on: {model: {step: number}}}"""
ByBlock = Mapping[str, Mapping[int, Interval]]
"""{model: {block: number}}"""
Bars = Mapping[str, Mapping[str, Interval]]
"""{kind of quantisation: {model: number}}"""
ByModel = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Worst:
    """A record that some attack gets more of from the unlearned model than from the control.

    Attributes:
        id: of the record.
        tried: the attack that gets most.
        excess: by how much.
        values: what each model told.
    """

    id: str
    tried: str
    excess: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """The rows of attacks.parquet with the attacks that they are of.

    Attributes:
        attacks: of the suite, by title.
        hits: rows with `model` and `attack` beside what the attack gives.
    """

    attacks: Mapping[str, Attack]
    hits: Sequence[Hit]

    @property
    def names(self) -> set[str]:
        """The names of the attacks that had a hold."""
        return {self.attacks[hit["attack"]].name for hit in self.hits}

    @property
    def records(self) -> int:
        """How many records were attacked in any way."""
        return len({hit["id"] for hit in self.hits})

    @property
    def curves(self) -> Curves:
        """Of each relearning what each model tells on the way."""
        values: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        for hit in self.hits:
            if isinstance(attack := self.attacks[hit["attack"]], Relearn):
                values[SOURCES[attack.source]][hit["model"]][hit["step"]].append(hit["value"])
        return {
            source: {model: {step: _number(values) for step, values in sorted(curve.items())} for model, curve in models.items()}
            for source, models in values.items()
        }

    @property
    def lens(self) -> ByBlock:
        """How likely each model's blocks find the answer."""
        values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for hit in self.hits:
            if isinstance(self.attacks[hit["attack"]], Lens):
                values[hit["model"]][hit["block"]].append(hit["value"])
        return {model: {block: _number(told) for block, told in sorted(blocks.items())} for model, blocks in values.items()}

    def bars(self, by_model: ByModel, questions: set[str]) -> Bars:
        """What each model tells before and after each quantisation.

        Args:
            by_model: rows of what was measured.
            questions: ids of the forget records that are questions: the audit and the attack want the same of them.
        """
        values: dict[str, dict[str, list[float]]] = {BEFORE: defaultdict(list)}
        rounded = set()
        for hit in self.hits:
            if isinstance(attack := self.attacks[hit["attack"]], Quantise):
                values.setdefault(attack.kind, defaultdict(list))[hit["model"]].append(hit["value"])
                rounded.add(hit["id"])
        for model, rows in by_model.items():
            told = [row["rouge"] for row in rows if row["set"] == FORGET and "rouge" in row and row["id"] in rounded & questions]
            if told:
                values[BEFORE][model] = told
        return {kind: {model: _number(told) for model, told in models.items()} for kind, models in values.items()} if rounded else {}

    @property
    def worst(self) -> list[Worst]:
        """The records of the largest excesses over the control, each with the attack that gets most of it; none without a control.

        Switching off is not among them: it gives back the original, and would stand in every line.
        """
        values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for hit in self.hits:
            attack = self.attacks[hit["attack"]]
            tried = attack.tried(hit)
            if tried is not None and not isinstance(attack, SwitchOff):
                values[hit["id"], tried][hit["model"]].append(hit["value"])
        best: dict[str, Worst] = {}
        for (name, tried), models in values.items():
            means = {model: fmean(own) for model, own in models.items()}
            if "control" in means and "unlearned" in means:
                one = Worst(name, tried, means["unlearned"] - means["control"], means)
                if one.excess > 0 and (name not in best or one.excess > best[name].excess):
                    best[name] = one
        return sorted(best.values(), key=lambda one: -one.excess)[:AT_MOST]


def _number(values: Iterable[float]) -> Interval:
    found = mean_ci(list(values))
    return {"value": found.value, "n": found.n, "ci95": None if found.ci95 is None else list(found.ci95)}
