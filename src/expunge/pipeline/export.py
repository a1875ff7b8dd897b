"""Export the model of a run as a plain checkpoint: the change is merged into the weights, and expunge is not needed to load it."""

import json
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from expunge.console import Display
from expunge.documents import read_json
from expunge.edits import edit_of
from expunge.edits.merge import MergedModel, merge
from expunge.errors import ExpungeError, InputError, quoted
from expunge.files import atomic_folder, make_folder, open_regular, write_bytes, write_text
from expunge.models.finite import check_finite
from expunge.models.gguf import read_tokenizer
from expunge.models.identity import part_name
from expunge.models.layout import Layout, files_to_copy, read_layout
from expunge.models.loading import parts_without_weights
from expunge.models.placement import DTYPES, choose_placement
from expunge.models.sources import local_model
from expunge.pipeline.export_weights import UNUSABLE, Rounding, write_like
from expunge.pipeline.model_card import CARD, model_card
from expunge.runs.folder import INFO, locked
from expunge.runs.loaded import LoadedRun, OpenedRun, base_of, load_run

MODEL, CONFIG = "model", "config.json"
"""The folder in a run folder that a model is exported to; and the configuration in it."""
MOST_LOST, LOST_TO_REPORT = 0.5, 0.02
"""Share of the edit, by norm, that rounding may take away; and the share from which on a line says so."""


def export_plain(run: OpenedRun, folder: Path, display: Display, device: str = "auto", dtype: str = "auto") -> Path:
    """Write the model to a folder, atomically, with the tokenizer, template and generation files of the model that it was trained from.

    Args:
        run: of a release, or with a `full` or `lora` edit.
        folder: the folder to create; it must not exist yet. In a run folder its name must be `MODEL`.
        display: shows progress and remarks.
        device: to merge the edit on; in fp32, because rounding before the merge would lose more of the edit.
        dtype: of the written weights, one of `DTYPES`; `auto` keeps that of the source, tensor by tensor, and fp32 for a GGUF file.

    Raises:
        InputError: the edit depends on its input, so that no plain weights are equal to it, the folder exists, a run has its own
            files there, or the dtype is too narrow for the edit.
        ExpungeError: another process is at work there, or the folder cannot be written.
    """
    if not edit_of(run.recipe).mergeable:
        edit = run.recipe.edit.name
        raise InputError(f"{run.folder}: a {edit} edit depends on the prompt and cannot be merged into weights; load it as a PEFT adapter")
    _check_unquantised(run)
    if dtype not in DTYPES:
        raise InputError(f"dtype {quoted(dtype)}: is not one of {', '.join(DTYPES)}")
    _check_target(folder)
    with _locked(run, folder), atomic_folder(folder, replace=False) as fresh:
        with display.step("Loading the model"):
            loaded = load_run(run, choose_placement(device, "fp32"))
        merged = merge(loaded.model)
        with display.step("Writing the model"):
            rounding = _write(merged, run, DTYPES[dtype], fresh)
            write_text(fresh / CARD, model_card(run, rounding))
        _check_written(fresh, loaded, merged)
    if rounding.lost >= LOST_TO_REPORT:
        display.print(f"{_sentence(rounding)}; --dtype fp32 keeps the whole edit.")
    return folder


def _check_unquantised(run: OpenedRun) -> None:
    """Refuse a run on a quantised model: with the edit, the unquantised weights would be a model that no audit has measured."""
    form = run.recipe.quantise or run.info["model"].get("stored_in")
    if form is not None:
        why = f"was trained on the model in {form}, and merged into other weights it would be a model that nobody has measured"
        raise InputError(f"{run.folder}: its edit {why}; load the edit as a PEFT adapter, or train without quantisation")


def _write(merged: MergedModel, run: OpenedRun, dtype: torch.dtype | None, folder: Path) -> Rounding:
    source = local_model(base_of(run.recipe.model)[0])
    if source.suffix == ".gguf":
        return _write_gguf(merged, source, dtype, folder)
    layout = read_layout(source)
    _write_config(merged, layout, dtype, folder)
    rounding = write_like(merged, layout, dtype, folder)
    if rounding.lost > MOST_LOST:
        raise InputError(f"dtype: {_sentence(rounding)}, so that much of what was unlearned would come back; give --dtype fp32")
    for path in files_to_copy(source):
        target = folder / path.relative_to(source)
        make_folder(target.parent)
        with open_regular(path, follow=True) as file:
            write_bytes(target, file.read())
    return rounding


def _write_gguf(merged: MergedModel, path: Path, dtype: torch.dtype | None, folder: Path) -> Rounding:
    """Write what transformers makes of a GGUF file: there are no other files to copy."""
    if dtype not in (None, torch.float32):
        raise InputError(f"dtype: {path} holds no weights to compare rounded ones with; leave it out, which writes fp32")
    check_finite(merged.model.state_dict().items(), UNUSABLE)
    # Loading has reset some generation defaults, and has given the tokenizer a padding token.
    merged.model.generation_config = GenerationConfig.from_model_config(merged.model.config)
    merged.model.save_pretrained(folder)
    read_tokenizer(path).save_pretrained(folder)
    return Rounding()


def _write_config(merged: MergedModel, source: Layout, dtype: torch.dtype | None, folder: Path) -> None:
    """Write the source's configuration, byte for byte where nothing in it changes."""
    path, config = source.folder / CONFIG, merged.model.config
    with open_regular(path, follow=True) as file:
        content = file.read()
    fields = read_json(path, dict[str, Any])
    if fields.get("model_type") != config.model_type:
        # The model is the language model of a checkpoint with more parts.
        fields = {**config.to_dict(), "architectures": [type(merged.model).__name__], "dtype": _name(source.dtype)}
    if merged.untied:
        for part in (fields, fields.get("text_config")):
            if isinstance(part, dict):
                part["tie_word_embeddings"] = False
    if dtype is not None:
        fields.pop("torch_dtype", None)
        fields["dtype"] = _name(dtype)
    changed = fields != read_json(path, dict[str, Any])
    write_bytes(folder / CONFIG, f"{json.dumps(fields, indent=2)}\n".encode() if changed else content)


def _check_written(folder: Path, run: LoadedRun, merged: MergedModel) -> None:
    """Check that everything but the weights is as the run's model has it: another process may have changed the source meanwhile."""
    expected = {name for name, ours in (("configuration", merged.untied), ("chat_template", run.recipe.data.template)) if ours}
    for part, sha256 in parts_without_weights(folder).items():
        if sha256 != run.identity.parts[part] and part not in expected:
            raise ExpungeError(f"{folder}: its {part_name(part)} is not that of the run's model; was the base model changed meanwhile?")


def _sentence(rounding: Rounding) -> str:
    return f"Rounding the weights changes the edit by {rounding.lost:.0%} of its norm"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _locked(run: OpenedRun, folder: Path) -> AbstractContextManager[None]:
    inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(run.folder))
    return locked(run) if inside else nullcontext()


def _check_target(folder: Path) -> None:
    if os.path.lexists(folder):
        raise InputError(f"{folder}: is there already; name another folder with --to")
    path = Path(os.path.realpath(folder))
    for parent in path.parents:
        if (parent / INFO).exists() and path != parent / MODEL:
            raise InputError(f"{folder}: is in the run folder {parent}; name {parent / MODEL}, or a folder outside, with --to")
