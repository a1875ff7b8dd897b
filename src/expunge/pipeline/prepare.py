"""Prepare a run: read and check all that a recipe names, load the model, generate missing records; then train."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from accelerate import PartialState

from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, data_hash, read_records
from expunge.data.set_names import AUTO
from expunge.edits import check_settings, edit_of
from expunge.edits.lora import check_module
from expunge.errors import InputError
from expunge.models.loading import check_model_exists
from expunge.reveal_release.reveal.select import reveal, search_models
from expunge.runs.edit_record import check_edit, record_edit
from expunge.runs.folder import REVEAL, Run, run_folder, started
from expunge.runs.generated import discard_generated
from expunge.runs.loaded import LoadedRun, OpenedRun, StartModel, base_facts, check_base, load_start
from expunge.runs.splits import Splits, check_fits, check_unchanged, read_audit_sets, read_sources, read_splits, split
from expunge.training.checkpoints import delete_checkpoints
from expunge.training.self_generated import drop_alternatives, make_retain

AnyRun = TypeVar("AnyRun", bound=OpenedRun)


@dataclass(frozen=True)
class PreparedRun(LoadedRun):
    """A run that is ready to train.

    Its `recipe` is the one that was given, which may hold an oracle of the caller's that recipe.yaml cannot hold.

    Attributes:
        splits: the records.
        bare_sha256: hash of the weights without the requests that the model carries.
    """

    splits: Splits
    bare_sha256: str


@dataclass(frozen=True)
class Sources:
    """The records that a recipe's files hold; None for a set that the model generates."""

    forget: list[Record] | None
    retain: list[Record] | None
    audit_sets: dict[str, list[Record]]


def prepare_and_train(recipe: Recipe, display: Display, train: Callable[[PreparedRun, Display], None]) -> Run:
    """Prepare a recipe's run, or resume it, and train it.

    Args:
        recipe: all its files are read and checked before anything is written.
        display: shows progress and remarks.
        train: the training; once it ends with `mark_trained`, the same recipe returns at once.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: training failed, or another process holds the run folder.
    """
    sources = _read_and_check(recipe)
    with _started(recipe) as run:
        opened = OpenedRun(run.folder, recipe, run.read_info())
        if opened.info["status"] != "training":
            check_edit(opened, opened.info)
            read_splits(opened)
            clean_up(run)
            display.print(f"{run.folder} is trained already.")
            return run
        with _timed(run), display.step("Loading the model"):
            start = load_start(recipe.model)
        prepared = _prepare(opened, start, sources, display)
        with _timed(run):
            train(prepared, display)
    return run


@contextmanager
def _started(recipe: Recipe) -> Iterator[Run]:
    """Start a recipe's run; the main process locks it from before its first write to the end of the body."""
    # Without `cpu` the ranks of a machine that has no GPU would not know of each other.
    ranks = PartialState(cpu=not torch.cuda.is_available())
    with ExitStack() as held:
        with ranks.main_process_first():
            run = held.enter_context(started(recipe)) if ranks.is_main_process else Run(run_folder(recipe))
        yield run


def reveal_only(recipe: Recipe, display: Display) -> Run:
    """Run a recipe up to the forget set that the model reveals, and no further.

    Raises:
        InputError: the recipe reveals nothing; otherwise as for `prepare_and_train`.
    """
    if not isinstance(recipe.data.forget, Revealed):
        raise InputError("data.forget: is a file; to have the model reveal, give {reveal: …} with an oracle and topics")
    return prepare_and_train(recipe, display, lambda run, display: None)


def update_info(run: AnyRun, **facts: Any) -> AnyRun:
    """Add facts to run.json, from the main process alone, and return the run with them, in every process."""
    if PartialState().is_main_process:
        return run.updated(**facts)
    return replace(run, info={**run.info, **facts})


def mark_trained(run: Run, manifest: str) -> None:
    """Mark a run as trained, which completes it, and record the manifest of its edit."""
    record_edit(run, manifest, status="trained")


def clean_up(run: Run) -> None:
    """Delete what only an unfinished training needs. A trained run may still have it, if the command was killed."""
    if PartialState().is_main_process:
        delete_checkpoints(run.folder)
        drop_alternatives(run)


def _read_and_check(recipe: Recipe) -> Sources:
    check_settings(recipe.edit)
    forget, retain = read_sources(recipe)
    audit_sets, _ = read_audit_sets(recipe)
    if recipe.audit.control is not None and recipe.audit.control != AUTO:
        check_model_exists(recipe.audit.control)
    return Sources(forget, retain, audit_sets)


def _prepare(run: OpenedRun, start: StartModel, sources: Sources, display: Display) -> PreparedRun:
    """Check records and settings against the model, and generate the records that no file holds."""
    recipe, model, builder = run.recipe, start.model, PromptBuilder(start.tokenizer, run.recipe.data.system)
    _check_against_model(recipe, start, builder, sources)
    base = base_facts(recipe.model, start.identity, recipe.data.system)
    if (run.training_started or run.search_started) and "model" in run.info:
        check_base(run, start.identity)
    elif run.info.get("model") != base and PartialState().is_main_process:
        discard_generated(run)
    run = update_info(run, model=base)
    forget, retain = sources.forget, sources.retain
    if isinstance(recipe.data.forget, Revealed):
        settings = recipe.data.forget.reveal
        with _timed(run), PartialState().main_process_first():
            forget = reveal(search_models(model, builder, settings), settings, run.folder / REVEAL, recipe.training.seed, display)
    if retain is None:
        retain = make_retain(run, recipe, model, builder, display)
    splits = split(forget or [], retain, recipe)
    if run.training_started and "data" in run.info:
        check_unchanged(run, splits.forget, retain)
    run = update_info(run, data=_data_facts(recipe, splits, retain))
    return PreparedRun(run.folder, recipe, run.info, model, builder, start.identity, splits, start.bare_sha256)


def _check_against_model(recipe: Recipe, start: StartModel, builder: PromptBuilder, sources: Sources) -> None:
    check_fits(start.model, builder, recipe.forget_source, sources.forget or [])
    check_fits(start.model, builder, recipe.retain_source, sources.retain or [])
    for name, records in sources.audit_sets.items():
        check_fits(start.model, builder, recipe.audit.sets[name], records)
    if recipe.audit.holdout is not None:
        holdout = read_records(recipe.audit.holdout, recipe.data.map, recipe.data.split)
        check_fits(start.model, builder, recipe.audit.holdout, holdout)
    if recipe.release is None:
        edit_of(recipe).check(start.model, recipe.edit)
    else:
        check_module(start.model, recipe.release.module)


@contextmanager
def _timed(run: Run) -> Iterator[None]:
    """Add the seconds that the body takes to the run's, which sum over all calls of an interrupted run."""
    started = time.monotonic()
    try:
        yield
    finally:
        if PartialState().is_main_process:
            run.update_info(seconds=round(run.read_info()["seconds"] + time.monotonic() - started, 1))


def _data_facts(recipe: Recipe, splits: Splits, retain: list[Record]) -> dict[str, dict[str, object]]:
    counts = {"trained": len(splits.retain), "calibration": len(splits.calibration), "held_out": len(splits.held_out)}
    return {
        "forget": {"source": recipe.forget_source, "sha256": data_hash(splits.forget), "rows": len(splits.forget)},
        "retain": {"source": recipe.retain_source, "sha256": data_hash(retain), "rows": counts},
    }
