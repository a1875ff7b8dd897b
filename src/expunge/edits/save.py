"""Save an edit to a folder and load it again, checked against its manifest and its base model."""

import json
from collections.abc import Collection
from pathlib import Path

from peft import LoraConfig, PeftModel
from torch import Tensor, nn

from expunge.documents import Closed, read_json
from expunge.edits.adapter import put_on, read_adapter
from expunge.edits.full import FULL_WEIGHTS, load_weights, write_weights
from expunge.edits.grun import ReftConfig
from expunge.edits.manifest import ADAPTER_CONFIG, BASE, check_manifest, write_manifest
from expunge.edits.requests import REQUEST, add_request
from expunge.errors import WrongBase
from expunge.files import atomic_folder, make_folder, write_text
from expunge.models.finite import LOWER_LR, check_finite
from expunge.models.identity import ModelIdentity, check_same_base
from expunge.models.sharding import gather_shards


class _Base(Closed):
    sha256: str
    parts: dict[str, str]


CARD = """# An unlearning edit

Made by expunge. A PEFT adapter: `import expunge.edits.grun`, then `PeftModel.from_pretrained(base, "this folder")`.
The folder above holds the settings (`recipe.yaml`), the base model and the data (`run.json`), and the audit (`report.html`).
Whoever can switch the adapter off has the original model.
"""

NOT_SAVED = f"and the edit was not saved; {LOWER_LR}"


def save_edit(model: nn.Module, folder: Path, base: ModelIdentity, writes: bool = True) -> str:
    """Save an adapter as PEFT does, or the changed weights of a `full` edit as safetensors, in place of an earlier edit.

    Args:
        model: with its edit.
        folder: the folder to create or replace.
        base: the model that the edit was applied to.
        writes: whether this rank writes; all ranks must call the function, because each may hold a part of the weights.

    Returns:
        The SHA-256 of the folder's manifest; empty if this rank does not write.

    Raises:
        ExpungeError: a weight is not finite.
    """
    adapter = isinstance(model, PeftModel)
    edited = {name: p for name, p in model.named_parameters() if (f".{REQUEST}." in f"{name}." if adapter else p.requires_grad)}
    weights = {name: gather_shards(p.detach()).cpu().contiguous() for name, p in edited.items()}
    if not writes:
        return ""
    check_finite(weights.items(), NOT_SAVED)
    with atomic_folder(folder) as fresh:
        if adapter:
            _save_adapter(model, weights, fresh)
        else:
            write_weights(weights, fresh)
        _write_base(fresh, base)
        return write_manifest(fresh)


def save_weights(model: nn.Module, names: Collection[str], folder: Path, base: ModelIdentity) -> str:
    """Save some weights of a model like a `full` edit, and return the SHA-256 of the folder's manifest.

    `load_edit` applies them to the original, whose identity is `base`.
    """
    weights = {name: model.get_parameter(name).detach().cpu().contiguous() for name in sorted(names)}
    check_finite(weights.items(), NOT_SAVED)
    make_folder(folder)
    write_weights(weights, folder)
    _write_base(folder, base)
    return write_manifest(folder)


def load_edit(model: nn.Module, folder: Path, base: ModelIdentity, recorded: str | None = None) -> nn.Module:
    """Apply a saved edit to its base model, or to one that carries earlier requests.

    Args:
        model: the base model; changed in place.
        folder: as `save_edit` wrote it.
        base: identity of the model, as computed when it was loaded.
        recorded: the SHA-256 of the edit's manifest, from the run's run.json; None where there is no run.

    Raises:
        InputError: the folder holds no edit, a damaged one, or one with weights that this model does not have.
        WrongBase: the edit was trained on another base model, or its base model is not recorded.
    """
    check_manifest(folder, recorded)
    _check_base(folder, base)
    if (folder / FULL_WEIGHTS).exists():
        load_weights(model, folder)
        # The weights were read from the file when they were copied, so only now is it known that they are the recorded ones.
        check_manifest(folder, recorded)
        return model
    if isinstance(model, PeftModel):
        return add_request(model, folder, REQUEST, recorded=recorded)
    adapter = read_adapter(folder, recorded)
    # Others load an adapter without base.json and rely on this hash.
    if isinstance(adapter.config, ReftConfig) and adapter.config.base_sha256 != base.checkpoint:
        raise WrongBase(f"{folder}: was trained on another base model, by base_sha256 in its {ADAPTER_CONFIG}")
    return put_on(model, adapter, REQUEST)


def _save_adapter(model: PeftModel, weights: dict[str, Tensor], folder: Path) -> None:
    config = model.peft_config[REQUEST]
    if isinstance(config, LoraConfig) and isinstance(config.target_modules, set):
        # PEFT writes a set in another order in each process; the same training should give the same manifest.
        config.target_modules = sorted(config.target_modules)
    model.save_pretrained(str(folder), selected_adapters=[REQUEST], state_dict=weights)
    write_text(folder / "README.md", CARD)


def _write_base(folder: Path, base: ModelIdentity) -> None:
    write_text(folder / BASE, json.dumps({"sha256": base.sha256, "parts": base.parts}, indent=1) + "\n")


def _check_base(folder: Path, base: ModelIdentity) -> None:
    trained_on = _read_base(folder)
    if trained_on is None:
        raise WrongBase(f"{folder}: does not record the base model that it was trained on, or an earlier version of expunge trained it")
    check_same_base(str(folder), trained_on, base)


def _read_base(folder: Path) -> ModelIdentity | None:
    if not (folder / BASE).exists():
        return None
    recorded = read_json(folder / BASE, _Base)
    base = ModelIdentity.from_parts(recorded.parts)
    return None if base is None or base.sha256 != recorded.sha256 else base
