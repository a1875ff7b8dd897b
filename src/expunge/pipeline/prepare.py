"""Prepare a run: read and check all that a recipe names, load the model, generate missing records; then train."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from accelerate import PartialState

from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.detect_language import Detected, choose_language
from expunge.data.languages import ENGLISH
from expunge.data.long_records import CutCounts, remarks
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, data_hash, read_records
from expunge.data.set_names import AUTO, is_forget
from expunge.documents import read_text
from expunge.edits import check_quantise, check_settings, check_stored_form, edit_of
from expunge.edits.lora import check_module
from expunge.errors import InputError
from expunge.files import write_text
from expunge.models.blocks import context_length
from expunge.models.cache_check import cache_use
from expunge.models.placement import Placement, choose_placement, in_fp32, placement_of
from expunge.models.sources import check_model_exists
from expunge.pipeline.template_checks import check_template_args, template_remarks
from expunge.reveal_release.reveal.select import reveal, search_models
from expunge.runs.cutting import Cutter, make_cutter
from expunge.runs.edit_record import check_edit, record_edit
from expunge.runs.folder import REVEAL, TEMPLATE, Run, run_folder, started
from expunge.runs.generated import discard_generated
from expunge.runs.loaded import LoadedRun, OpenedRun, StartModel, base_facts, check_base, load_start, prompt_builder
from expunge.runs.placed import placement_facts, resumed_placement
from expunge.runs.splits import (
    Splits,
    check_fits,
    check_unchanged,
    cut_and_split,
    document_passages,
    read_audit_sets,
    read_sources,
    read_splits,
)
from expunge.training.checkpoints import delete_checkpoints
from expunge.training.self_generated import drop_alternatives, make_retain, with_document_questions

AnyRun = TypeVar("AnyRun", bound=OpenedRun)


@dataclass(frozen=True)
class PreparedRun(LoadedRun):
    """A run that is ready to train.

    Its `recipe` is the one that was given, which may hold an oracle of the caller's that recipe.yaml cannot hold.

    Attributes:
        splits: the records.
        bare_sha256: hash of the checkpoint, without the requests that the model carries.
    """

    splits: Splits
    bare_sha256: str


@dataclass(frozen=True)
class Sources:
    """What a recipe's files hold: the records (None for a set that the model generates) and the chat template, if it names one."""

    forget: list[Record] | None
    retain: list[Record] | None
    audit_sets: dict[str, list[Record]]
    template: str | None


def prepare_and_train(
    recipe: Recipe, display: Display, train: Callable[[PreparedRun, Display], None], placement: Placement | None = None
) -> Run:
    """Prepare a recipe's run, or resume it, and train it.

    Args:
        recipe: all its files are read and checked before anything is written.
        display: shows progress and remarks.
        train: the training; once it ends with `mark_trained`, the same recipe returns at once.
        placement: of the model; None: chosen for this machine and this model.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: training failed, or another process holds the run folder.
    """
    sources = _read_and_check(recipe)
    placement = _training_placement(recipe, replace(placement or choose_placement(), quantise=recipe.quantise))
    with _started(recipe, placement) as run:
        opened = OpenedRun(run.folder, recipe, run.read_info())
        if opened.info["status"] != "training":
            check_edit(opened, opened.info)
            read_splits(opened)
            clean_up(run)
            display.print(f"{run.folder} is trained already.")
            return run
        with _timed(run), display.step("Loading the model"):
            start = load_start(recipe.model, resumed_placement(opened, placement), sources.template, str(recipe.data.template))
        prepared = _prepare(opened, start, sources, display)
        with _timed(run):
            train(prepared, display)
    return run


@contextmanager
def _started(recipe: Recipe, placement: Placement) -> Iterator[Run]:
    """Start a recipe's run; the main process locks it from before its first write to the end of the body."""
    # Without `cpu` the ranks of a machine that has no GPU would not know of each other.
    ranks = PartialState(cpu=placement.device.type == "cpu")
    with ExitStack() as held:
        with ranks.main_process_first():
            run = held.enter_context(started(recipe)) if ranks.is_main_process else Run(run_folder(recipe))
        yield run


def reveal_only(recipe: Recipe, display: Display, placement: Placement | None = None) -> Run:
    """Run a recipe up to the forget set that the model reveals, and no further; arguments as for `prepare_and_train`.

    Raises:
        InputError: the recipe reveals nothing; otherwise as for `prepare_and_train`.
    """
    if not isinstance(recipe.data.forget, Revealed):
        raise InputError("data.forget: is a file; to have the model reveal, give {reveal: …} with an oracle and topics")
    return prepare_and_train(recipe, display, lambda run, display: None, placement)


def update_info(run: AnyRun, **facts: Any) -> AnyRun:
    """Add facts to run.json, from the main process alone, and return the run with them, in every process."""
    if PartialState().is_main_process:
        return run.updated(**facts)
    return replace(run, info={**run.info, **facts})


def mark_trained(run: Run, manifest: str) -> None:
    """Mark a run as trained, which completes it, and record the manifest of its edit."""
    record_edit(run, manifest, status="trained")


def _training_placement(recipe: Recipe, placement: Placement) -> Placement:
    if recipe.release is not None:
        return in_fp32(placement, "a release")
    return placement if edit_of(recipe).removable else in_fp32(placement, f"a {recipe.edit.name} edit")


def clean_up(run: Run) -> None:
    """Delete what only an unfinished training needs. A trained run may still have it, if the command was killed."""
    if PartialState().is_main_process:
        delete_checkpoints(run.folder)
        drop_alternatives(run)


def _read_and_check(recipe: Recipe) -> Sources:
    check_settings(recipe.edit)
    check_quantise(recipe)
    forget, retain = read_sources(recipe)
    audit_sets, _ = read_audit_sets(recipe)
    if recipe.audit.control is not None and recipe.audit.control != AUTO:
        check_model_exists(recipe.audit.control)
    return Sources(forget, retain, audit_sets, None if recipe.data.template is None else read_text(recipe.data.template))


def _prepare(run: OpenedRun, start: StartModel, sources: Sources, display: Display) -> PreparedRun:
    """Check records and settings against the model, and generate the records that no file holds."""
    recipe, model, builder = run.recipe, start.model, prompt_builder(start.tokenizer, run.recipe)
    check_template_args(recipe.data, builder)
    cutter = make_cutter(lambda: builder, recipe.data, context_length(model))
    _check_against_model(recipe, start, builder, sources, cutter)
    if PartialState().is_main_process:
        for remark in template_remarks(recipe.model, model, builder, [*(sources.forget or []), *(sources.retain or [])]):
            display.print(remark)
    base = base_facts(start, recipe)
    if (run.training_started or run.search_started) and "model" in run.info:
        check_base(run, start.identity)
    elif run.info.get("model") != base and PartialState().is_main_process:
        discard_generated(run)
    if sources.template is not None and PartialState().is_main_process:
        write_text(run.folder / TEMPLATE, sources.template)
    run = update_info(run, model=base, placement=placement_facts(placement_of(model)))
    forget, retain = sources.forget, sources.retain
    if isinstance(recipe.data.forget, Revealed):
        settings = recipe.data.forget.reveal
        with _timed(run), PartialState().main_process_first():
            forget = reveal(search_models(model, builder, settings), settings, run.folder / REVEAL, recipe.training.seed, display)
    detected = choose_language(recipe.data.language, forget or [])
    if PartialState().is_main_process and (detected.unknown or detected.language is not ENGLISH):
        display.print(detected.remark)
    if retain is None:
        retain = make_retain(run, recipe, model, builder, display, detected.language, forget or [])
    splits, counts = cut_and_split(cutter, forget or [], retain, recipe, detected.language)
    if run.training_started and "data" in run.info:
        check_unchanged(run, splits.given_forget, retain)
    if PartialState().is_main_process:
        for name, of_set in counts.items():
            for remark in remarks(of_set, name, cutter.size, cutter.max_tokens):
                display.print(remark)
    splits = with_document_questions(run, recipe, model, builder, splits, display)
    run = update_info(run, data=_data_facts(recipe, splits, counts, detected) | {"max_tokens": cutter.max_tokens})
    return PreparedRun(run.folder, recipe, run.info, model, builder, start.identity, splits, start.bare_sha256)


def _check_against_model(recipe: Recipe, start: StartModel, builder: PromptBuilder, sources: Sources, cutter: Cutter) -> None:
    # Refuses a model whose batches would be wrong, before anything is trained.
    check_stored_form(recipe, start.model, start.stored_in)
    cache_use(start.model)
    named = [(recipe.forget_source, sources.forget or [], True), (recipe.retain_source, sources.retain or [], False)]
    named += [(recipe.audit.sets[name], records, is_forget(name)) for name, records in sources.audit_sets.items()]
    if recipe.audit.holdout is not None:
        holdout = read_records(recipe.audit.holdout, recipe.data.map, recipe.data.split)
        named.append((recipe.audit.holdout, holdout, True))
    for source, records, to_forget in named:
        check_fits(start.model, builder, source, cutter(records, to_forget, source).records)
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


def _data_facts(recipe: Recipe, splits: Splits, cut: dict[str, CutCounts], detected: Detected) -> dict[str, dict[str, object]]:
    counts = {"trained": len(splits.retain), "calibration": len(splits.calibration), "held_out": len(splits.held_out)}
    of_cut = {name: {"cut": asdict(of_set)} if of_set != CutCounts() else {} for name, of_set in cut.items()}
    forget, retain = (data_hash(records) for records in (splits.given_forget, splits.given_retain))
    if passages := document_passages(splits, recipe):
        of_cut["forget"]["document_questions"] = {
            "passages": len(passages),
            "known": sum(_is_about_a_document(record) for record in splits.forget),
        }
    return {
        "forget": {"source": recipe.forget_source, "sha256": forget, "rows": len(splits.forget), **of_cut["forget"]},
        "retain": {"source": recipe.retain_source, "sha256": retain, "rows": counts, **of_cut["retain"]},
        "language": {"code": detected.language.code, "rule": detected.rule},
    }


def _is_about_a_document(record: Record) -> bool:
    return record.document is not None and record.is_question
