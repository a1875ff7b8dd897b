"""Run a recipe up to its trained edit."""

import torch
from accelerate import PartialState
from torch import nn

from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.edits import edit_of
from expunge.edits.apply import apply_edit
from expunge.edits.save import save_edit
from expunge.errors import InputError
from expunge.gating.fit import FittedGate, apply_with_gate, fit_gate
from expunge.pipeline.prepare import Begun, _note, mark_trained, work
from expunge.pipeline.self_generated import drop_alternatives, with_alternatives
from expunge.runs.folder import Run
from expunge.runs.splits import Sets
from expunge.training.checkpoints import delete_checkpoints, write_manifest
from expunge.training.inputs import encode_records
from expunge.training.train import train

COVERAGE_WORTH_A_WORD = 0.95


def unlearn(recipe: Recipe, display: Display) -> Run:
    """Run a recipe up to the trained edit; the same call after an interruption resumes, after completion returns at once.

    Args:
        recipe: what to do; all its files are read and checked before anything is written.
        display: where progress and remarks go.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: training failed, or another process holds the run folder.
    """
    if recipe.release is not None:
        raise InputError(
            "release: is for `expunge release` and `expunge run`, or expunge.release from Python; leave it out to train an edit"
        )
    return work(recipe, display, _train)


def _train(begun: Begun, display: Display) -> None:
    run, model, builder, sets = begun.run, begun.model, begun.builder, begun.sets
    recipe, edit, forget = begun.recipe, begun.recipe.edit, begun.sets.forget
    gate_first = edit_of(recipe).trains_gate_first(edit)
    gate = _train_gate(run, model, builder, sets, recipe, display) if gate_first else None
    if recipe.objective.generates_alternatives:
        forget = with_alternatives(run, model, builder, forget, recipe.training.seed, display)
    # The edit starts from the same numbers in every process that this recipe is given to.
    torch.manual_seed(recipe.training.seed)
    model = apply_edit(model, edit, begun.bare_sha256) if gate is None else apply_with_gate(model, edit, begun.bare_sha256, gate)
    # A gate that is trained already stays closed on retain prompts: suppression cannot touch them and need not see them.
    retained = [] if gate_first else sets.retain
    rows = encode_records(builder, forget, retained, recipe.objective, others=sets.retain)
    with display.progress() as progress:
        train(model, recipe, rows, run.folder, builder.pad, progress, "Suppressing" if gate_first else "Training")
    writes = PartialState().is_main_process
    save_edit(model, run.edit, run.info["model"]["sha256"], writes=writes)
    if writes:
        write_manifest(run.edit)
        mark_trained(run)
        delete_checkpoints(run.folder)
        drop_alternatives(run)


def _train_gate(run: Run, model: nn.Module, builder: PromptBuilder, sets: Sets, recipe: Recipe, display: Display) -> FittedGate:
    with display.bar("Training the gate", None) as bar:
        fitted = fit_gate(model, builder, sets, recipe.edit, recipe.training.seed, bar, bar.expect)
    threshold, coverage, alpha = fitted.threshold, fitted.coverage, recipe.edit.false_positive_rate
    stated = {"threshold": threshold.logit, "calibration_n": threshold.n, "alpha": threshold.alpha, "guaranteed": threshold.guaranteed}
    stated |= {"rate_bound": threshold.rate_bound, "calibration_rate": threshold.calibration_rate, "lowered": threshold.lowered}
    _note(run, gate={"blocks": list(fitted.gate), **stated, "forget_coverage": coverage})
    if coverage < COVERAGE_WORTH_A_WORD:
        display.print(f"The gate opens for only {coverage:.0%} of the forget prompts: the answers to the others will not change.")
    if threshold.lowered:
        display.print(
            f"The gate cannot separate the forget set from the retain set at a false-positive rate of {alpha:.0%}. Its threshold was "
            f"lowered, and it also opens for {threshold.calibration_rate:.0%} of {threshold.n} held-out prompts: add --retain records."
        )
    elif not threshold.guaranteed:
        display.print(f"The gate was calibrated on {threshold.n} held-out prompts: too few for a false-positive rate of {alpha:.0%}.")
    return fitted
