"""Export the model of a run as a plain checkpoint: the change is merged into the weights, and expunge is not needed to load it."""

from pathlib import Path
from typing import cast

from peft import PeftModel
from transformers import PreTrainedModel

from expunge.console import Display
from expunge.edits import edit_of
from expunge.errors import InputError
from expunge.files import atomic_folder
from expunge.models.finite import check_finite
from expunge.runs.loaded import OpenedRun, load_run


def export_plain(run: OpenedRun, folder: Path, display: Display) -> Path:
    """Write the model, in fp32, and the tokenizer to a folder, atomically.

    Args:
        run: of a release, or with a `full` or `lora` edit.
        folder: the folder to create; it must not exist yet.
        display: shows progress.

    Raises:
        InputError: the edit depends on its input, so that no plain weights are equal to it, or the folder exists.
    """
    if not edit_of(run.recipe).mergeable:
        edit = run.recipe.edit.name
        raise InputError(f"{run.folder}: a {edit} edit depends on the prompt and cannot be merged into weights; load it as a PEFT adapter")
    if folder.exists():
        raise InputError(f"{folder}: is there already; name another folder with --to")
    with display.step("Loading the model"):
        loaded = load_run(run)
    plain = loaded.model.merge_and_unload() if isinstance(loaded.model, PeftModel) else loaded.model
    check_finite(plain.state_dict().items(), "and the model was not exported; check the base model's weights")
    with display.step("Writing the model"), atomic_folder(folder) as fresh:
        cast(PreTrainedModel, plain).save_pretrained(fresh)
        loaded.builder.tokenizer.save_pretrained(fresh)
    return folder
