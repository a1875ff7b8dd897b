"""Run a release from end to end, and undo its rounds."""

from pathlib import Path

from accelerate import PartialState
from torch import nn

from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.edits.save import save_weights
from expunge.errors import Damaged, InputError
from expunge.files import atomic_folder
from expunge.models.placement import Placement, choose_placement
from expunge.pipeline.prepare import PreparedRun, mark_trained, prepare_and_train
from expunge.reveal_release.release.context import RoundContext
from expunge.reveal_release.release.round_results import count_rounds, load_after_round, read_round, round_terms
from expunge.reveal_release.release.rounds import run_rounds
from expunge.reveal_release.reveal.private_files import FORGET_MODULE
from expunge.runs.edit_record import announce_edit, check_edit, edit_record, record_edit
from expunge.runs.folder import RETAIN, ROUNDS, Run, discard_audit, locked
from expunge.runs.loaded import OpenedRun, open_unchecked, recorded_base
from expunge.training.self_generated import neutral_answers
from expunge.training.train import check_batches


def release(recipe: Recipe, display: Display, placement: Placement | None = None) -> Run:
    """Run the rounds of a recipe; after an interruption the same call resumes, after completion it returns at once.

    Args:
        recipe: with a `release` section.
        display: where progress and remarks go.
        placement: of the model; None: chosen for this machine.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: training failed, the model reveals too little, or another process holds the run folder.
    """
    if recipe.release is None:
        raise InputError("release: is not given; write at least `release: {}` to release with the defaults")
    placement = placement or choose_placement()
    if PartialState(cpu=placement.device.type == "cpu").num_processes > 1:
        raise InputError("a release runs in one process; start it without `accelerate launch`")

    section = recipe.release.module

    def finish(run: PreparedRun, display: Display) -> None:
        check_batches(section, 1, "release.module")
        model = run.model
        # A retain set that the run generated consists of such answers already.
        generated = (run.folder / RETAIN).exists()
        neutral = [] if generated else neutral_answers(run, run.recipe, model, run.builder, display)
        context = RoundContext(run, run.recipe, model, run.builder, run.splits, neutral, display)
        number = run_rounds(context)
        with atomic_folder(run.edit) as folder:
            manifest = _save(run, model, folder)
        run.update_info(round=number)
        mark_trained(run, manifest)

    return prepare_and_train(recipe, display, finish, placement)


def undo(run: OpenedRun, to: int, display: Display, placement: Placement | None = None) -> None:
    """Set a released model back to the state after an earlier round, or forward again to a later one; round 0 is the original.

    On another device than that of the release, the last digits of the weights may differ.

    Raises:
        InputError: the run is not a release, has no such round, or its modules were purged.
    """
    with locked(run):
        # Another command may have changed the run before it was locked.
        _undo(open_unchecked(run.folder), to, display, placement or choose_placement())


def _undo(run: OpenedRun, to: int, display: Display, placement: Placement) -> None:
    if run.recipe.release is None:
        raise InputError(f"{run.folder}: is not a release (its recipe has no release section)")
    count = count_rounds(run)
    if not 0 <= to <= count:
        raise InputError(f"{run.folder}: has rounds 0 (the original) to {count}, not {to}")
    for number in range(1, count + 1):
        if read_round(run, number)["lambda_f"] and not (run.folder / ROUNDS / str(number) / FORGET_MODULE).exists():
            raise InputError(f"{run.folder}: the module of round {number} was purged, so no round can be undone or repeated")
    record = edit_record(run.folder, run.info)
    # A folder that is gone, and one that an interrupted undo left, are made anew from the original and the modules.
    if not run.edit.exists():
        display.print(f"{run.edit} is gone; it is computed again.")
    else:
        _check_current(run)
    model, _ = load_after_round(run, to, display, placement)
    with atomic_folder(run.edit) as folder:
        manifest = _save(run, model, folder)
        announce_edit(run, record, manifest, to)
        # An audit goes before the model that it measured: no kill leaves it beside another one.
        discard_audit(run)
    record_edit(run, manifest, round=to)


def _check_current(run: OpenedRun) -> None:
    try:
        check_edit(run, run.info)
    except Damaged as error:
        raise Damaged(f"{error}; or remove the folder {run.edit} and repeat `expunge undo`, which computes the edit again") from error


def _save(run: OpenedRun, model: nn.Module, folder: Path) -> str:
    names = {name for k in range(1, count_rounds(run) + 1) for _, module in round_terms(run, k) for name in module.factors}
    return save_weights(model, names, folder, recorded_base(run))
