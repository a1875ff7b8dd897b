"""Save an edit to a folder and load it again, checked against its base model."""

import json
from collections.abc import Collection
from pathlib import Path

from peft import PeftConfig, PeftModel
from torch import nn

from expunge.edits.full import FULL_WEIGHTS, load_weights, write_weights
from expunge.edits.grun import ReftConfig
from expunge.edits.requests import REQUEST, add_request
from expunge.errors import InputError, WrongBase
from expunge.models.identity import ModelIdentity, check_same_base
from expunge.models.sharding import gather_shards

CARD = """# An unlearning edit

Made by expunge. A PEFT adapter: `import expunge.edits.grun`, then `PeftModel.from_pretrained(base, "this folder")`.
The folder above holds the settings (`recipe.yaml`), the base model and the data (`run.json`), and the audit (`report.html`).
Whoever can switch the adapter off has the original model.
"""
BASE = "base.json"
"""Holds the identity of the base model, part by part."""


def save_edit(model: nn.Module, folder: Path, base: ModelIdentity, writes: bool = True) -> None:
    """Save an adapter as PEFT does, or the changed weights of a `full` edit as safetensors.

    Args:
        model: with its edit.
        folder: created if it does not exist.
        base: the model that the edit was applied to.
        writes: whether this rank writes; all ranks must call the function, because each may hold a part of the weights.
    """
    adapter = isinstance(model, PeftModel)
    edited = {name: p for name, p in model.named_parameters() if (f".{REQUEST}." in f"{name}." if adapter else p.requires_grad)}
    weights = {name: gather_shards(p.detach()).cpu().contiguous() for name, p in edited.items()}
    if not writes:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not adapter:
        write_weights(weights, folder)
        _write_base(folder, base)
        return
    model.save_pretrained(str(folder), selected_adapters=[REQUEST], state_dict=weights)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    _write_base(folder, base)


def save_weights(model: nn.Module, names: Collection[str], folder: Path, base: ModelIdentity) -> None:
    """Save some weights of a model like a `full` edit; `load_edit` applies them to the original, whose identity is `base`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights({name: model.get_parameter(name).detach().cpu().contiguous() for name in sorted(names)}, folder)
    _write_base(folder, base)


def load_edit(model: nn.Module, folder: Path, base: ModelIdentity) -> nn.Module:
    """Apply a saved edit to its base model, or to one that carries earlier requests.

    Args:
        model: the base model; changed in place.
        folder: as `save_edit` wrote it.
        base: identity of the model, as computed when it was loaded.

    Raises:
        InputError: the folder holds no edit, or one with weights that this model does not have.
        WrongBase: the edit was trained on another base model, or its base model is not recorded.
    """
    if (folder / FULL_WEIGHTS).exists():
        _check_base(folder, base)
        load_weights(model, folder)
        return model
    if not (folder / "adapter_config.json").exists():
        raise InputError(f"{folder}: no edit there (neither adapter_config.json nor {FULL_WEIGHTS})")
    _check_base(folder, base)
    if isinstance(model, PeftModel):
        return add_request(model, folder, REQUEST)
    config = PeftConfig.from_pretrained(str(folder))
    # Others load an adapter without base.json and rely on this hash.
    if isinstance(config, ReftConfig) and config.base_sha256 != base.weights:
        raise WrongBase(f"{folder}: was trained on another base model, by base_sha256 in its adapter_config.json")
    return PeftModel.from_pretrained(model, str(folder))


def _write_base(folder: Path, base: ModelIdentity) -> None:
    (folder / BASE).write_text(json.dumps({"sha256": base.sha256, "parts": base.parts}, indent=1) + "\n", encoding="utf-8")


def _check_base(folder: Path, base: ModelIdentity) -> None:
    trained_on = _read_base(folder)
    if trained_on is None:
        raise WrongBase(f"{folder}: does not record the base model that it was trained on, or an earlier version of expunge trained it")
    check_same_base(str(folder), trained_on, base)


def _read_base(folder: Path) -> ModelIdentity | None:
    try:
        return ModelIdentity.from_parts(json.loads((folder / BASE).read_text(encoding="utf-8"))["parts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
