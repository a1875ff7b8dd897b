"""From a recipe to a trained edit in its run folder: records, prompts, gate, training, each step once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn
from transformers import PreTrainedTokenizerBase

from expunge.audit.names import AUTO
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, data_hash
from expunge.edits import add_request, apply_edit, check_edit, load_edit, save_edit
from expunge.errors import InputError, WrongBase
from expunge.models.loading import check_there, load, weights_sha256
from expunge.recipe import Recipe
from expunge.release.train_pem import check_pem
from expunge.reveal.harvest import models_of, read_revealed, reveal
from expunge.run import REVEAL, REVEALED, Run, locked, open_run, start_run
from expunge.sections import Revealed, RevealSection
from expunge.self_made import drop_alternatives, make_retain, read_retain, with_alternatives
from expunge.sets import Sets, check_fits, read_audit_sets, read_sets, split
from expunge.training.checkpoints import write_manifest
from expunge.training.gate_first import FittedGate, apply_with_gate, fit_gate
from expunge.training.inputs import encode_rows
from expunge.training.train import drop_checkpoints, train

COVERAGE_WORTH_A_WORD = 0.95


@dataclass(frozen=True)
class Begun:
    """A run under way.

    Attributes:
        run: its folder.
        recipe: as it was given: an oracle of the caller's own is in it, which the run's file cannot hold.
        model: before any edit of this run, in fp32.
        builder: of its tokenizer.
        sets: the records.
        bare_sha256: hash of the weights without the requests that the model carries.
    """

    run: Run
    recipe: Recipe
    model: nn.Module
    builder: PromptBuilder
    sets: Sets
    bare_sha256: str


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


def work(recipe: Recipe, display: Display, finish: Callable[[Begun, Display], None]) -> Run:
    """Read and check all that a recipe names, start its run or go on with it, and have the work itself done.

    Args:
        recipe: as for `unlearn`, whose errors it raises.
        display: likewise.
        finish: the work; where it ends with `mark_trained`, the same recipe returns at once from then on.
    """
    forget, retain = read_sets(recipe)
    others, _ = read_audit_sets(recipe)
    if recipe.audit.control is not None and recipe.audit.control != AUTO:
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
        with _timed(run), display.step("Loading the model"):
            model, tokenizer, bare_sha256 = load_start(recipe.model)
            base_sha256 = weights_sha256(model)
        builder = PromptBuilder(tokenizer, recipe.data.system)
        check_fits(model, builder, recipe.forget_source, forget or [])
        check_fits(model, builder, recipe.retain_source, retain or [])
        for name, records in others.items():
            check_fits(model, builder, recipe.audit.sets[name], records)
        if recipe.release is None:
            check_edit(model, recipe.edit)
        else:
            check_pem(model, recipe.release.pem)
        if (run.begun or run.asking) and "model" in run.info:
            _check_base(run, base_sha256)
        _note(run, model={"name": recipe.model, "sha256": base_sha256})
        if isinstance(recipe.data.forget, Revealed):
            with _timed(run):
                forget = _revealed(run, recipe.data.forget.reveal, recipe.training.seed, model, builder, display)
        if retain is None:
            retain = make_retain(run, recipe, model, builder, display)
        sets = split(forget or [], retain, recipe)
        if run.begun and "data" in run.info:
            _check_same(run, base_sha256, sets.forget, retain)
        _note(run, data=_facts(recipe, sets, retain))
        with _timed(run):
            finish(Begun(run, recipe, model, builder, sets, bare_sha256), display)
    return run


def reveal_only(recipe: Recipe, display: Display) -> Run:
    """Run a recipe up to the forget set that the model reveals, and no further; arguments and errors as for `unlearn`.

    Raises:
        InputError: also where the recipe reveals nothing.
    """
    if not isinstance(recipe.data.forget, Revealed):
        raise InputError("data.forget: is a file; to have the model reveal, give {reveal: …} with an oracle and what is wanted")
    return work(recipe, display, lambda begun, display: None)


def mark_trained(run: Run) -> None:
    """Note that a run's model is what it is to be."""
    run.note(status="trained")


@contextmanager
def _timed(run: Run) -> Iterator[None]:
    """Add the time that this takes to that of the calls before: a run may have been stopped and gone on."""
    began = time.monotonic()
    try:
        yield
    finally:
        _note(run, seconds=round(run.info.get("seconds", 0.0) + time.monotonic() - began, 1))


def _train(begun: Begun, display: Display) -> None:
    run, model, builder, sets = begun.run, begun.model, begun.builder, begun.sets
    recipe, edit, forget = begun.recipe, begun.recipe.edit, begun.sets.forget
    gate = _train_gate(run, model, builder, sets, recipe, display) if edit.trains_gate_first else None
    if recipe.objective.invents:
        forget = with_alternatives(run, model, builder, forget, recipe.training.seed, display)
    # The edit starts from the same numbers in every process that this recipe is given to.
    torch.manual_seed(recipe.training.seed)
    model = apply_edit(model, edit, begun.bare_sha256) if gate is None else apply_with_gate(model, edit, begun.bare_sha256, gate)
    # A gate that is trained already stays closed on retain prompts: suppression cannot touch them and need not see them.
    retained = [] if edit.trains_gate_first else sets.retain
    rows = encode_rows(builder, forget, retained, recipe.objective, others=sets.retain)
    with display.progress() as progress:
        train(model, recipe, rows, run.folder, builder.pad, progress, "Suppressing" if edit.trains_gate_first else "Training")
    writes = PartialState().is_main_process
    save_edit(model, run.edit, run.info["model"]["sha256"], writes=writes)
    if writes:
        write_manifest(run.edit)
        mark_trained(run)
        drop_checkpoints(run.folder)
        drop_alternatives(run)


def _revealed(run: Run, settings: RevealSection, seed: int, model: nn.Module, builder: PromptBuilder, display: Display) -> list[Record]:
    """The forget set that the model itself reveals, for a recipe that has no file; once made it is read back."""
    with PartialState().main_process_first():
        return reveal(models_of(model, builder, settings), settings, run.folder / REVEAL, seed, display)


def reread_sets(run: Run) -> Sets:
    """The records of an existing run, as it was trained with them.

    Raises:
        InputError: a file is gone or has changed, or the revealed data was purged.
    """
    recipe = run.recipe
    forget, retain = read_sets(recipe)
    if forget is None:
        if not (run.folder / REVEAL / REVEALED).exists():
            raise InputError(
                f"{run.folder}: what was revealed is no longer there (`expunge purge` deletes it), so its audit cannot be repeated"
            )
        forget = read_revealed(run.folder / REVEAL)
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
    name, earlier = below(name)
    model, tokenizer = load(name)
    bare_sha256 = weights_sha256(model)
    for number, run in enumerate(reversed(earlier), 1):
        _check_base(run, weights_sha256(model))
        model = add_request(model, run.edit, f"request{number}").eval()
    return model, tokenizer, bare_sha256


def below(name: str) -> tuple[str, list[Run]]:
    """The model below all requests that a recipe's `model` carries, and the runs of these, the latest first; errors as for `load_start`."""
    earlier: list[Run] = []
    while (Path(name) / "run.json").exists():
        earlier.append(open_run(name))
        name = earlier[-1].recipe.model
    return name, earlier


def _check_same(run: Run, base_sha256: str, forget: list[Record], retain: list[Record]) -> None:
    _check_base(run, base_sha256)
    for name, records in (("forget", forget), ("retain", retain)):
        if data_hash(records) != run.info["data"][name]["sha256"]:
            raise InputError(f"{run.info['data'][name]['source']}: has changed since {run.folder} was trained on it")


def _check_base(run: Run, found: str) -> None:
    was = run.info["model"]["sha256"]
    if found != was:
        raise WrongBase(f'"{run.folder}" was trained on another base model (weights {was[:4]}…, this one {found[:4]}…)')


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
    return {
        "forget": {"source": recipe.forget_source, "sha256": data_hash(sets.forget), "rows": len(sets.forget)},
        "retain": {
            "source": recipe.retain_source,
            "sha256": data_hash(retain),
            "rows": {"trained": len(sets.retain), "calibration": len(sets.calibration), "held_out": len(sets.exam)},
        },
    }
