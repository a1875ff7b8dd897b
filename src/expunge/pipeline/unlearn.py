"""Unlearn: run a recipe up to its trained edit."""

from typing import Any

import torch
from accelerate import PartialState

from expunge.config import EditSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.edits import edit_of
from expunge.edits.apply import apply_edit
from expunge.edits.save import save_edit
from expunge.errors import InputError
from expunge.gating.calibrate import Threshold
from expunge.gating.choose import OF_SUBJECTS, trains_on_evasions
from expunge.gating.fit import FittedGate, apply_with_gate, fit_gate
from expunge.models.placement import Placement
from expunge.models.sources import local_model
from expunge.pipeline.prepare import PreparedRun, clean_up, mark_trained, prepare_and_train, update_info
from expunge.runs.folder import Run
from expunge.runs.loaded import base_of
from expunge.training.alternatives import names_remark
from expunge.training.inputs import encode_records
from expunge.training.self_generated import with_alternatives
from expunge.training.train import check_batches, train

COVERAGE_TO_WARN_BELOW = 0.95


def unlearn(recipe: Recipe, display: Display, placement: Placement | None = None) -> Run:
    """Run a recipe up to the trained edit. After an interruption the same call resumes; after completion it returns at once.

    Args:
        recipe: without a `release` section.
        display: shows progress and remarks.
        placement: of the model; None: chosen for this machine and this model.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: training failed, or another process holds the run folder.
    """
    if recipe.release is not None:
        raise InputError(
            "release: is for `expunge release` and `expunge run`, or expunge.release from Python; leave it out to train an edit"
        )
    return prepare_and_train(recipe, display, _train, placement)


def _train(run: PreparedRun, display: Display) -> None:
    recipe, edit, model, builder, splits = run.recipe, run.recipe.edit, run.model, run.builder, run.splits
    check_batches(recipe.training, PartialState().num_processes, "training")
    if recipe.objective.generates_alternatives and (remark := names_remark(splits)) and PartialState().is_main_process:
        display.print(remark)
    gate_first = edit_of(recipe).trains_gate_first(edit)
    gate = _train_gate(run, display) if gate_first else None
    forget = splits.forget
    if recipe.objective.generates_alternatives:
        forget = with_alternatives(run, model, builder, splits, recipe.training.seed, display)
    # Every process that runs this recipe must initialise the edit with the same numbers.
    torch.manual_seed(recipe.training.seed)
    model = apply_edit(model, edit, run.bare_sha256) if gate is None else apply_with_gate(model, edit, run.bare_sha256, gate)
    # A gate that is trained already stays closed on retain prompts: suppression cannot change them and need not train on them.
    retained = [] if gate_first else splits.retain
    rows = encode_records(builder, forget, retained, recipe.objective, others=splits.retain, language=splits.language)
    with display.progress() as progress:
        source = local_model(base_of(recipe.model)[0])
        title = "Suppressing" if gate_first else "Training"
        train(model, recipe, rows, run.folder, builder.pad, progress, title, source=source if source.is_dir() else None)
    writes = PartialState().is_main_process
    manifest = save_edit(model, run.edit, run.identity, writes=writes)
    if writes:
        mark_trained(run, manifest)
        clean_up(run)


def _train_gate(run: PreparedRun, display: Display) -> FittedGate:
    with display.bar("Training the gate", None) as bar:
        fitted = fit_gate(run.model, run.builder, run.splits, run.recipe.edit, run.recipe.training.seed, bar, bar.expect)
    threshold, answers = fitted.threshold, fitted.answers
    facts: dict[str, Any] = {
        "threshold": threshold.logit,
        **_rates(threshold),
        "lowered": threshold.lowered,
        "in_variants": threshold.in_variants,
    }
    facts |= {"recall": threshold.recall, "recall_n": threshold.recall_n, "forget_coverage": fitted.coverage}
    if answers is not None:
        facts["answers"] = {**_rates(answers.threshold), "forget_coverage": answers.coverage}
    update_info(run, gate={"blocks": list(fitted.gate), **fitted.kind._asdict(), **facts})
    _remark_on_gate(fitted, run.recipe.edit, display)
    return fitted


def _rates(threshold: Threshold) -> dict[str, float]:
    rates = {"calibration_n": threshold.n, "alpha": threshold.alpha, "guaranteed": threshold.guaranteed}
    return rates | {"rate_bound": threshold.rate_bound, "calibration_rate": threshold.calibration_rate}


def _remark_on_gate(fitted: FittedGate, edit: EditSection, display: Display) -> None:
    threshold, rate = fitted.threshold, edit.false_positive_rate
    if edit.gate_pool is None and fitted.kind == OF_SUBJECTS and not trains_on_evasions(edit):
        display.print(
            "A gate that looks for names missed records that it was not trained on. The gate weighs all tokens instead "
            f"(edit.gate={fitted.kind.gate}, edit.gate_pool={fitted.kind.pool})."
        )
    if fitted.answers is not None and fitted.answers.coverage < COVERAGE_TO_WARN_BELOW:
        display.print(f"In the answers the gate recognises only {fitted.answers.coverage:.0%} of what must go in time.")
    if fitted.coverage < COVERAGE_TO_WARN_BELOW:
        display.print(f"The gate opens for only {fitted.coverage:.0%} of the forget prompts: the answers to the others will not change.")
    if threshold.lowered:
        display.print(
            f"The gate cannot separate the forget set from the retain set at a false-positive rate of {rate:.0%}. Its threshold was "
            f"lowered, and it also opens for {threshold.calibration_rate:.0%} of {threshold.n} held-out prompts: add --retain records."
        )
    elif not threshold.guaranteed:
        display.print(f"The gate was calibrated on {threshold.n} held-out prompts: too few for a false-positive rate of {rate:.0%}.")
