"""Membership inference on the models of an audit, where there are records that no model was trained on."""

from dataclasses import dataclass, field, replace

from torch import nn

from expunge.auditing.probes.nonmembers import NonMembers, nonmembers
from expunge.auditing.summary import SetSummary
from expunge.auditing.verdict import Judged, Verdict, decided
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, read_records
from expunge.data.set_names import FORGET
from expunge.errors import InputError
from expunge.metrics.membership import Row, membership_rows, membership_summary, privleak
from expunge.metrics.statistics import Summary
from expunge.runs.cache import Measurement
from expunge.runs.splits import Splits, draw

NAME = "recognised among records that no model saw (PrivLeak)"
VALUE = "AUROC of forget records against those, by Min-K %"


@dataclass
class Inference:
    """Scores of forget records and of records that no model saw, on one model after the other.

    Attributes:
        members: forget records.
        others: the records that no model saw, and where they come from; nothing is scored where there are none.
        gradients: score by the gradient's norm too, a record at a time.
        batch_size: records at once without.
        display: where progress goes.
        found: of each model scored so far, its rows.
    """

    members: list[Record]
    others: NonMembers
    gradients: bool
    batch_size: int
    display: Display
    found: dict[str, list[Row]] = field(default_factory=dict)

    def examine(self, name: str, model: nn.Module, builder: PromptBuilder, identity: str) -> None:
        """Score a model; see `expunge.auditing.probes.base.Examination`."""
        if not self.members or not self.others.records:
            return
        records = {"members": self.members, "nonmembers": self.others.records}
        measurement = Measurement("membership", identity, builder, records, gradients=self.gradients, batch_size=self.batch_size)

        def measured() -> list[Row]:
            with self.display.bar(f"Membership inference, {name}", len(self.members) + len(self.others.records)) as advance:
                return membership_rows(
                    model, builder, self.members, self.others.records, gradients=self.gradients, batch_size=self.batch_size, advance=advance
                )

        self.found[name] = measurement.load_or(measured)

    def summary(self, name: str) -> dict[str, SetSummary]:
        """AUROC by each score of a model, and of the unlearned one PrivLeak where there is a control."""
        if name not in self.found:
            return {}
        leak = self._privleak()[0] if name == "unlearned" else None
        return {FORGET: membership_summary(self.found[name]) | ({} if leak is None else {"privleak": leak})}

    def judged(self, allowed: float) -> list[Judged]:
        """The verdict's row, if it was asked for."""
        if not self.members:
            return []
        if not self.others.records:
            return [Judged(NAME, "API only", VALUE, None, None, None, "control", None, allowed, "not shown", self.others.why)]
        by_min_k = {name: membership_summary(rows)["mia_min_k"] for name, rows in self.found.items()}
        control, original = by_min_k.get("control"), by_min_k.get("original")
        excess, why_none = self._privleak()
        verdict, reason = ("not shown", why_none) if excess is None else _verdict(excess, allowed)
        return [Judged(NAME, "API only", VALUE, by_min_k["unlearned"], control, original, "control", excess, allowed, verdict, reason)]

    def _privleak(self) -> tuple[Summary | None, str]:
        """PrivLeak, or why there is none."""
        try:
            return privleak(self.found["unlearned"], self.found.get("control")), ""
        except InputError as error:
            return None, str(error)


def never_seen(recipe: Recipe, sets: Splits) -> NonMembers:
    """The records of a run that no model saw, or why it has none.

    Raises:
        InputError: the holdout is faulty, or holds a record that was trained on.
    """
    settings = recipe.audit
    holdout = None if settings.holdout is None else read_records(settings.holdout, recipe.data.map, recipe.data.split)
    self_made = recipe.data.retain is None and recipe.task is None
    seen = [*sets.forget, *sets.retain, *sets.calibration]
    taught = None if recipe.task is None else recipe.task.taught_records()
    return nonmembers(seen, [] if self_made else sets.held_out, holdout, taught)


def stand_ins(recipe: Recipe, sets: Splits) -> list[Record]:
    """Never-seen records for the forget set's, at most as many, each under an id that no forget record has: `control: auto`.

    Raises:
        InputError: there are none.
    """
    others = never_seen(recipe, sets)
    if not others.records:
        raise InputError(f"--control auto: {others.why}")
    drawn = draw(others.records, len(sets.forget), recipe.training.seed)
    return [replace(record, id=f"never seen/{record.id}") for record in drawn]


def inference_of(recipe: Recipe, sets: Splits, records: int | None, gradients: bool, display: Display) -> Inference:
    """What membership inference is made of in a run.

    Args:
        recipe: of the run.
        sets: its records.
        records: of each sort, at most; none: nothing is scored.
        gradients: see `Inference`.
        display: where progress goes.

    Raises:
        InputError: the holdout is faulty, or holds a record that was trained on.
    """
    if records is None:
        return Inference([], NonMembers([], "It was not asked for."), gradients, 1, display)
    others, seed = never_seen(recipe, sets), recipe.training.seed
    drawn = NonMembers(draw(others.records, records, seed), others.why)
    return Inference(draw(sets.forget, records, seed), drawn, gradients, recipe.audit.batch_size, display)


def _verdict(excess: Summary, allowed: float) -> tuple[Verdict, str]:
    if excess.ci95 is None:
        return "not shown", "it has no interval"
    low, high = excess.ci95
    said = f"{excess.value:+.3f} from the control's, relatively, 95 % interval {low:+.3f} to {high:+.3f}, allowed {allowed:.3f} either way"
    return decided((low, high), (-allowed, allowed), said)
