"""Reveal and release from end to end: a recipe with a `release` section, its run, and the way back to any round."""

import torch
from accelerate import PartialState
from torch import nn

from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.edits.save import save_weights
from expunge.errors import InputError
from expunge.files import atomic_folder
from expunge.models.loading import best_device
from expunge.pipeline.prepare import Begun, mark_trained, work
from expunge.reveal_release.release.rounds import Bench, read_round, released, rounds, rounds_taken, terms
from expunge.reveal_release.reveal.private_files import FORGET_MODULE
from expunge.runs.folder import ROUNDS, Run, discard_audit, locked
from expunge.training.checkpoints import write_manifest


def release(recipe: Recipe, display: Display) -> Run:
    """Run a recipe's rounds; the same call after an interruption goes on in the phase it was in, after completion returns at once.

    Args:
        recipe: with a `release` section.
        display: where progress and remarks go.

    Raises:
        InputError: a file or a setting is wrong.
        ExpungeError: training failed, the model tells too little, or another process holds the run folder.
    """
    if recipe.release is None:
        raise InputError("release: is not given; write at least `release: {}` to release with the defaults")
    if PartialState(cpu=not torch.cuda.is_available()).num_processes > 1:
        raise InputError("a release runs in one process; start it without `accelerate launch`")

    def finish(begun: Begun, display: Display) -> None:
        # Once and for all: what is measured on another device comes out otherwise in its last bits.
        model = begun.model.to(best_device())
        _save(begun.run, model, rounds(Bench(begun.run, begun.recipe, model, begun.builder, begun.sets, display)))
        mark_trained(begun.run)

    return work(recipe, display, finish)


def undo(run: Run, to: int, display: Display) -> None:
    """Make a run's released model what it was after an earlier (or again a later) round; with 0 the original.

    Raises:
        InputError: this is no release, it has no such round, or its modules were purged.
    """
    taken = rounds_taken(run)
    if not 0 <= to <= taken:
        raise InputError(f"{run.folder}: has rounds 0 (the original) to {taken}, not {to}")
    for number in range(1, taken + 1):
        if read_round(run, number)["lambda_f"] and not (run.folder / ROUNDS / str(number) / FORGET_MODULE).exists():
            raise InputError(f"{run.folder}: the module of round {number} was purged, so no round can be taken back or forth")
    with locked(run):
        model, _ = released(run, to, display)
        _save(run, model, to)
        discard_audit(run)


def _save(run: Run, model: nn.Module, number: int) -> None:
    names = {name for k in range(1, rounds_taken(run) + 1) for _, pem in terms(run, k) for name in pem.factors}
    with atomic_folder(run.edit) as fresh:
        save_weights(model, names, fresh, run.info["model"]["sha256"])
        write_manifest(fresh)
    run.note(round=number)
