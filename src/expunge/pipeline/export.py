"""A run's model as a plain checkpoint: the change in the weights, no code of ours needed to load it."""

from pathlib import Path
from typing import cast

from peft import PeftModel
from transformers import PreTrainedModel

from expunge.console import Display
from expunge.edits import edit_of
from expunge.errors import InputError
from expunge.files import atomic_folder
from expunge.runs.loaded import OpenedRun, load_run


def export_plain(run: OpenedRun, folder: Path, display: Display) -> Path:
    """Write model and tokenizer, fp32, whole or not at all.

    Args:
        run: of a release, or with a `full` or `lora` edit.
        folder: made; must not be there yet.
        display: where progress goes.

    Raises:
        InputError: the edit depends on its input, so that no plain weights are equal to it, or the folder is there.
    """
    if not edit_of(run.recipe).mergeable:
        edit = run.recipe.edit.name
        raise InputError(f"{run.folder}: a {edit} edit depends on the prompt and cannot be merged into weights; load it as a PEFT adapter")
    if folder.exists():
        raise InputError(f"{folder}: is there already; name another folder with --to")
    with display.step("Loading the model"):
        loaded = load_run(run)
    plain = loaded.model.merge_and_unload() if isinstance(loaded.model, PeftModel) else loaded.model
    with display.step("Writing the model"), atomic_folder(folder) as fresh:
        cast(PreTrainedModel, plain).save_pretrained(fresh)
        loaded.builder.tokenizer.save_pretrained(fresh)
    return folder
