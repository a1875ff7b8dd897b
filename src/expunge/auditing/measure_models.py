"""Measure the original, the unlearned and the control model of an audit, and run the probes on each."""

from dataclasses import asdict, dataclass

from torch import nn

from expunge.auditing.measure import AuditSets, measure, measure_both, with_paraphrases
from expunge.auditing.plan import AuditPlan
from expunge.auditing.probes import ProbedModel
from expunge.auditing.record_metrics import Row, Settings
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.set_names import FORGET
from expunge.edits import edit_of
from expunge.edits.active import edits_off
from expunge.edits.requests import REQUEST
from expunge.models.identified import load_identified, with_template
from expunge.models.identity import ModelIdentity
from expunge.models.placement import Placement, placement_of
from expunge.runs.cache import Measurement
from expunge.runs.folder import TEMPLATE
from expunge.runs.loaded import LoadedRun, chat_template, load_base, prompt_builder
from expunge.runs.splits import check_fits, draw

MODELS = ORIGINAL, UNLEARNED, CONTROL = "original", "unlearned", "control"
"""The models of an audit, in the order of its results."""


@dataclass(frozen=True)
class MeasuredModels:
    """What an audit measured.

    Attributes:
        rows: of each model.
        control: the model that was the control; None without one.
        placement: device and dtype of all of them.
        control_is_original: whether the control has the weights of the original, which saw the forget set, and answers the same records.
    """

    rows: dict[str, list[Row]]
    control: ModelIdentity | None
    placement: Placement
    control_is_original: bool


def measure_models(plan: AuditPlan) -> MeasuredModels:
    """Measure and probe the run's model without and with its edit, and the control.

    Raises:
        WrongBase: the base model is not the one that the edit was trained on.
    """
    rows, original, placement = _measure_run(plan)
    control, is_original = (original if CONTROL in rows else None), False
    if plan.control is not None and control is None:
        # Models are compared in one dtype and on one device, whatever the control's checkpoint is in.
        rows[CONTROL], control = _measure_control(plan, placement)
        is_original = control.checkpoint == original.checkpoint
    return MeasuredModels({name: rows[name] for name in MODELS if name in rows}, control, placement, is_original)


def _measure_run(plan: AuditPlan) -> tuple[dict[str, list[Row]], ModelIdentity, Placement]:
    """Measure the original, the unlearned model and the control `auto`, for which the original is loaded already."""
    with plan.display.step("Loading the model"):
        loaded = load_base(plan.run, plan.placement)
    placement = placement_of(loaded.model)
    # Changed weights take the place of the original's, so the original comes first.
    removable = edit_of(plan.recipe).removable
    rows = {} if removable else _measure_original(plan, loaded)
    loaded = loaded.with_edit()
    unlearned_identity = f"{loaded.identity.sha256}/{loaded.edit_manifest}"
    if removable:
        _measure_both(plan, loaded, unlearned_identity)
        with edits_off(loaded.model, REQUEST):
            rows = _measure_original(plan, loaded)
    rows[UNLEARNED] = measured_once(
        loaded.model, unlearned_identity, loaded.builder, plan.sets, plan.settings, plan.display, "Auditing the unlearned model"
    )
    _run_probes(plan, ProbedModel(UNLEARNED, loaded.model, loaded.builder, unlearned_identity))
    return rows, loaded.identity, placement


def _measure_original(plan: AuditPlan, loaded: LoadedRun) -> dict[str, list[Row]]:
    """Measure and probe the original; with the control `auto` also on records that no model saw instead of the forget set."""
    model, builder, identity = loaded.model, loaded.builder, loaded.identity.sha256
    rows = {ORIGINAL: measured_once(model, identity, builder, plan.sets, plan.settings, plan.display, "Auditing the original")}
    _run_probes(plan, ProbedModel(ORIGINAL, model, builder, identity))
    if plan.never_seen:
        drawn = draw(plan.never_seen, len(plan.sets.records[FORGET]), plan.recipe.training.seed)
        sets = AuditSets(with_paraphrases({FORGET: drawn}))
        rows[CONTROL] = measured_once(model, identity, builder, sets, plan.settings, plan.display, "Auditing the control")
        _run_probes(plan, ProbedModel(CONTROL, model, builder, identity, plan.never_seen))
    return rows


def _measure_control(plan: AuditPlan, placement: Placement) -> tuple[list[Row], ModelIdentity]:
    """Load, measure and probe the control model."""
    with plan.display.step("Loading the control"):
        control = with_template(load_identified(str(plan.control), placement), chat_template(plan.run), plan.run.folder / TEMPLATE)
    model, identity = control.model, control.identity
    builder = prompt_builder(control.tokenizer, plan.recipe)
    for name, records in plan.sets.records.items():
        check_fits(model, builder, f"audit.control {plan.control}: {name}", records)
    rows = measured_once(model, identity.sha256, builder, plan.sets, plan.settings, plan.display, "Auditing the control")
    _run_probes(plan, ProbedModel(CONTROL, model, builder, identity.sha256))
    return rows, identity


def measured_once(
    model: nn.Module, identity: str, builder: PromptBuilder, sets: AuditSets, settings: Settings, display: Display, title: str
) -> list[Row]:
    """Return a model's rows from the cache, or measure them now; for `identity` see `expunge.auditing.probes.base.ProbedModel`."""

    def measured() -> list[Row]:
        with display.bar(title, 2 * sets.rows) as advance:
            return measure(model, builder, sets, settings, advance)

    return _measurement(identity, model, builder, sets, settings).load_or(measured)


def _measure_both(plan: AuditPlan, loaded: LoadedRun, unlearned_identity: str) -> None:
    """Measure with the edit off and on in one pass, which shares what an edit does not change, unless the original is cached.

    The original is stored last: after a kill between the two both are measured again, and have the same last bits as without it.
    """
    identities = (loaded.identity.sha256, unlearned_identity)
    original, unlearned = (_measurement(identity, loaded.model, loaded.builder, plan.sets, plan.settings) for identity in identities)
    if original.is_cached:
        return
    with plan.display.bar("Auditing the original and the unlearned model", 4 * plan.sets.rows) as advance:
        of_original, of_unlearned = measure_both(loaded.model, loaded.builder, plan.sets, plan.settings, advance)
    unlearned.store(of_unlearned)
    original.store(of_original)


def _run_probes(plan: AuditPlan, probed: ProbedModel) -> None:
    for probe in plan.probes:
        if probed.stand_ins is None or probe.takes_stand_ins:
            probe.run(probed)


def _measurement(identity: str, model: nn.Module, builder: PromptBuilder, sets: AuditSets, settings: Settings) -> Measurement:
    return Measurement("sets", identity, model, builder, {**sets.records, **sets.questions}, **asdict(settings))
