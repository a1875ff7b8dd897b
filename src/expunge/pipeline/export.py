"""Export the model of a run as a plain checkpoint: the change is merged into the weights, and expunge is not needed to load it."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import cast

from peft import PeftModel
from transformers import PreTrainedModel

from expunge.console import Display
from expunge.edits import edit_of
from expunge.errors import InputError
from expunge.files import atomic_folder
from expunge.models.finite import check_finite
from expunge.models.placement import Placement
from expunge.runs.folder import INFO, locked
from expunge.runs.loaded import OpenedRun, load_run

MODEL = "model"
"""The folder in a run folder that a model is exported to."""


def export_plain(run: OpenedRun, folder: Path, display: Display, placement: Placement | None = None) -> Path:
    """Write the model, in fp32, and the tokenizer to a folder, atomically.

    Args:
        run: of a release, or with a `full` or `lora` edit.
        folder: the folder to create; it must not exist yet. In a run folder its name must be `MODEL`.
        display: shows progress.
        placement: of the model; None: chosen for this machine and this model.

    Raises:
        InputError: the edit depends on its input, so that no plain weights are equal to it, the folder exists, or a run has its
            own files there.
        ExpungeError: another process is at work there, or the folder cannot be written.
    """
    if not edit_of(run.recipe).mergeable:
        edit = run.recipe.edit.name
        raise InputError(f"{run.folder}: a {edit} edit depends on the prompt and cannot be merged into weights; load it as a PEFT adapter")
    _check_target(folder)
    inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(run.folder))
    with locked(run) if inside else nullcontext(), atomic_folder(folder, replace=False) as fresh:
        with display.step("Loading the model"):
            loaded = load_run(run, placement)
        plain = loaded.model.merge_and_unload() if isinstance(loaded.model, PeftModel) else loaded.model
        check_finite(plain.state_dict().items(), "and the model was not exported; check the base model's weights")
        with display.step("Writing the model"):
            cast(PreTrainedModel, plain).save_pretrained(fresh)
            loaded.builder.tokenizer.save_pretrained(fresh)
    return folder


def _check_target(folder: Path) -> None:
    if os.path.lexists(folder):
        raise InputError(f"{folder}: is there already; name another folder with --to")
    path = Path(os.path.realpath(folder))
    for parent in path.parents:
        if (parent / INFO).exists() and path != parent / MODEL:
            raise InputError(f"{folder}: is in the run folder {parent}; name {parent / MODEL}, or a folder outside, with --to")
