"""From a recipe to a trained edit in its run folder: records, prompts, gate, training, each step once."""

import time
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn
from transformers import PreTrainedTokenizerBase

from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, data_hash
from expunge.edits import add_request, apply_edit, check_edit, load_edit, save_edit
from expunge.errors import InputError
from expunge.models.loading import check_there, load, weights_sha256
from expunge.recipe import Recipe
from expunge.run import Run, locked, open_run, start_run
from expunge.self_made import drop_alternatives, make_retain, read_retain, with_alternatives
from expunge.sets import Sets, check_fits, read_audit_sets, read_sets, split
from expunge.training.checkpoints import write_manifest
from expunge.training.gate_first import FittedGate, apply_with_gate, fit_gate
from expunge.training.inputs import encode_rows
from expunge.training.train import drop_checkpoints, train

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
    forget, retain = read_sets(recipe.data)
    others, _ = read_audit_sets(recipe)
    if recipe.audit.control is not None:
        check_there(recipe.audit.control)
    # Without `cpu` the ranks of a machine that has no GPU would not know of each other.
    ranks = PartialState(cpu=not torch.cuda.is_available())
    with ranks.main_process_first():
        run = start_run(recipe)
    with locked(run) if ranks.is_main_process else Display.nothing():
        if run.info["status"] != "training":
            reread_sets(run)
            display.say(f"{run.folder} is trained already.")
            return run
        started = time.monotonic()
        with display.step("Loading the model"):
            model, tokenizer, bare_sha256 = load_start(recipe.model)
            base_sha256 = weights_sha256(model)
        builder = PromptBuilder(tokenizer, recipe.data.system)
        check_fits(model, builder, recipe.data.forget, forget)
        check_fits(model, builder, recipe.data.retain, retain or [])
        for name, records in others.items():
            check_fits(model, builder, recipe.audit.sets[name], records)
        check_edit(model, recipe.edit)
        if retain is None:
            retain = make_retain(run, model, builder, display)
        sets = split(forget, retain, recipe)
        if run.begun:
            _check_same(run, base_sha256, forget, retain)
        _note(run, model={"name": recipe.model, "sha256": base_sha256}, data=_facts(recipe, sets, retain))
        edit = recipe.edit
        gate = _train_gate(run, model, builder, sets, recipe, display) if edit.trains_gate_first else None
        forget = sets.forget
        if recipe.objective.invents:
            forget = with_alternatives(run, model, builder, forget, recipe.training.seed, display)
        # The edit starts from the same numbers in every process that this recipe is given to.
        torch.manual_seed(recipe.training.seed)
        model = apply_edit(model, edit, bare_sha256) if gate is None else apply_with_gate(model, edit, bare_sha256, gate)
        # A gate that is trained already stays closed on retain prompts: suppression cannot touch them and need not see them.
        retained = [] if recipe.edit.trains_gate_first else sets.retain
        rows = encode_rows(builder, forget, retained, recipe.objective, others=sets.retain)
        with display.progress() as progress:
            train(model, recipe, rows, run.folder, builder.pad, progress, "Suppressing" if recipe.edit.trains_gate_first else "Training")
        save_edit(model, run.edit, writes=ranks.is_main_process)
        if ranks.is_main_process:
            write_manifest(run.edit)
            run.note(status="trained", seconds=round(time.monotonic() - started, 1))
            drop_checkpoints(run.folder)
            drop_alternatives(run)
    return run


def reread_sets(run: Run) -> Sets:
    """The records of an existing run, as it was trained with them.

    Raises:
        InputError: a file is gone or has changed.
    """
    recipe = run.recipe
    forget, retain = read_sets(recipe.data)
    if retain is None:
        retain = read_retain(run)
    _check_same(run, run.info["model"]["sha256"], forget, retain)
    return split(forget, retain, recipe)


def load_run(run: Run) -> tuple[nn.Module, PromptBuilder]:
    """A run's model with its edit on, and its prompt builder.

    Raises:
        InputError: the base model is not the one that the edit was trained on.
    """
    model, builder = load_base(run)
    return load_edit(model, run.edit).eval(), builder


def load_base(run: Run) -> tuple[nn.Module, PromptBuilder]:
    """A run's model without its edit, and its prompt builder.

    Raises:
        InputError: it is not the model that the edit was trained on.
    """
    recipe = run.recipe
    model, tokenizer, _ = load_start(recipe.model)
    _check_base(run, weights_sha256(model))
    return model, PromptBuilder(tokenizer, recipe.data.system)


def load_start(name: str) -> tuple[nn.Module, PreTrainedTokenizerBase, str]:
    """The model that a recipe names, its tokenizer, and the hash of its weights without requests.

    Args:
        name: as `expunge.models.loading.load` takes it, or the folder of a run, whose model carries that run's request and
            those before it.

    Raises:
        InputError: a run is not trained yet, or is not of an edit that others can be added to.
    """
    earlier: list[Run] = []
    while (Path(name) / "run.json").exists():
        earlier.append(open_run(name))
        name = earlier[-1].recipe.model
    model, tokenizer = load(name)
    bare_sha256 = weights_sha256(model)
    for number, run in enumerate(reversed(earlier), 1):
        _check_base(run, weights_sha256(model))
        model = add_request(model, run.edit, f"request{number}").eval()
    return model, tokenizer, bare_sha256


def _check_same(run: Run, base_sha256: str, forget: list[Record], retain: list[Record]) -> None:
    _check_base(run, base_sha256)
    for name, records in (("forget", forget), ("retain", retain)):
        if data_hash(records) != run.info["data"][name]["sha256"]:
            raise InputError(f"{run.info['data'][name]['source']}: has changed since {run.folder} was trained on it")


def _check_base(run: Run, found: str) -> None:
    was = run.info["model"]["sha256"]
    if found != was:
        raise InputError(f'"{run.folder}" was trained on another base model (weights {was[:4]}…, this one {found[:4]}…)')


def _note(run: Run, **facts: object) -> None:
    # Every rank comes here, one writes.
    if PartialState().is_main_process:
        run.note(**facts)


def _train_gate(run: Run, model: nn.Module, builder: PromptBuilder, sets: Sets, recipe: Recipe, display: Display) -> FittedGate:
    with display.bar("Training the gate", None) as advance:
        fitted = fit_gate(model, builder, sets, recipe.edit, recipe.training.seed, advance)
    threshold, coverage, alpha = fitted.threshold, fitted.coverage, recipe.edit.false_positives
    stated = {"threshold": threshold.logit, "calibration_n": threshold.n, "alpha": threshold.alpha, "guaranteed": threshold.guaranteed}
    stated |= {"bound": threshold.bound, "passed": threshold.passed, "given_up": threshold.given_up}
    _note(run, gate={"blocks": list(fitted.gate), **stated, "open_on_forget": coverage})
    if coverage < COVERAGE_WORTH_A_WORD:
        display.say(f"The gate opens for {coverage:.0%} of the forget prompts only: the others will be answered as before.")
    if threshold.given_up:
        display.say(
            f"The gate cannot tell what to forget from what to keep at {alpha:.0%} false positives. It is set to open for what is to be "
            f"forgotten, and opens for {threshold.passed:.0%} of {threshold.n} held-out prompts too: give (more) --retain records."
        )
    elif not threshold.guaranteed:
        display.say(f"The gate's threshold rests on {threshold.n} held-out prompts: too few to promise {alpha:.0%} false positives.")
    return fitted


def _facts(recipe: Recipe, sets: Sets, retain: list[Record]) -> dict[str, dict[str, object]]:
    made = "the model's own answers to neutral instructions"
    return {
        "forget": {"source": recipe.data.forget, "sha256": data_hash(sets.forget), "rows": len(sets.forget)},
        "retain": {
            "source": recipe.data.retain or made,
            "sha256": data_hash(retain),
            "rows": {"trained": len(sets.retain), "calibration": len(sets.calibration), "held_out": len(sets.exam)},
        },
    }
