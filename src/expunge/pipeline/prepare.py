"""From a recipe to a trained edit in its run folder: records, prompts, gate, training, each step once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import PartialState
from torch import nn

from expunge.config import Revealed, RevealSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, data_hash
from expunge.data.set_names import AUTO
from expunge.edits import check_settings, edit_of
from expunge.edits.lora import check_module
from expunge.errors import InputError
from expunge.models.loading import check_model_exists, weights_sha256
from expunge.pipeline.self_generated import make_retain, read_retain
from expunge.reveal_release.reveal.select import read_revealed, reveal, search_models
from expunge.runs.folder import REVEAL, REVEALED, Run, locked, start_run
from expunge.runs.load import _check_base, load_start
from expunge.runs.splits import Sets, check_fits, read_audit_sets, read_sets, split


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


def work(recipe: Recipe, display: Display, finish: Callable[[Begun, Display], None]) -> Run:
    """Read and check all that a recipe names, start its run or go on with it, and have the work itself done.

    Args:
        recipe: as for `unlearn`, whose errors it raises.
        display: likewise.
        finish: the work; where it ends with `mark_trained`, the same recipe returns at once from then on.
    """
    check_settings(recipe.edit)
    forget, retain = read_sets(recipe)
    others, _ = read_audit_sets(recipe)
    if recipe.audit.control is not None and recipe.audit.control != AUTO:
        check_model_exists(recipe.audit.control)
    # Without `cpu` the ranks of a machine that has no GPU would not know of each other.
    ranks = PartialState(cpu=not torch.cuda.is_available())
    with ranks.main_process_first():
        run = start_run(recipe)
    with locked(run) if ranks.is_main_process else Display.nothing():
        if run.info["status"] != "training":
            reread_sets(run)
            display.print(f"{run.folder} is trained already.")
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
            edit_of(recipe).check(model, recipe.edit)
        else:
            check_module(model, recipe.release.module)
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


def _revealed(run: Run, settings: RevealSection, seed: int, model: nn.Module, builder: PromptBuilder, display: Display) -> list[Record]:
    """The forget set that the model itself reveals, for a recipe that has no file; once made it is read back."""
    with PartialState().main_process_first():
        return reveal(search_models(model, builder, settings), settings, run.folder / REVEAL, seed, display)


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


def _check_same(run: Run, base_sha256: str, forget: list[Record], retain: list[Record]) -> None:
    _check_base(run, base_sha256)
    for name, records in (("forget", forget), ("retain", retain)):
        if data_hash(records) != run.info["data"][name]["sha256"]:
            raise InputError(f"{run.info['data'][name]['source']}: has changed since {run.folder} was trained on it")


def _note(run: Run, **facts: object) -> None:
    # Every rank comes here, one writes.
    if PartialState().is_main_process:
        run.note(**facts)


def _facts(recipe: Recipe, sets: Sets, retain: list[Record]) -> dict[str, dict[str, object]]:
    return {
        "forget": {"source": recipe.forget_source, "sha256": data_hash(sets.forget), "rows": len(sets.forget)},
        "retain": {
            "source": recipe.retain_source,
            "sha256": data_hash(retain),
            "rows": {"trained": len(sets.retain), "calibration": len(sets.calibration), "held_out": len(sets.exam)},
        },
    }
