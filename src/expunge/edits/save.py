"""Save an edit to a folder and load it again, checked against its base model."""

import json
from collections.abc import Collection
from pathlib import Path

from peft import PeftConfig, PeftModel
from safetensors.torch import load_file, save_file
from torch import nn

from expunge.edits.grun import ReftConfig
from expunge.edits.requests import REQUEST, add_request
from expunge.errors import InputError, WrongBase
from expunge.models.loading import weights_sha256
from expunge.models.sharding import gather_shards

CARD = """# An unlearning edit

Made by expunge. A PEFT adapter: `import expunge.edits.grun`, then `PeftModel.from_pretrained(base, "this folder")`. What it was
trained on, for what, and what its audit found is said beside this folder, in `recipe.yaml`, `run.json` and `report.html`.
Whoever can switch it off has the model as it was.
"""


FULL_WEIGHTS = "weights.safetensors"


BASE = "base.json"
"""Says of an edit whose configuration has no place for it (`full`, `lora`) which weights it was trained on."""


def save_edit(model: nn.Module, folder: Path, base_sha256: str, writes: bool = True) -> None:
    """Save an adapter as PEFT does, or the changed weights of a `full` edit, as safetensors.

    Args:
        model: with its edit.
        folder: made where it is not there.
        base_sha256: hash of the weights of the model that the edit was put on.
        writes: whether this rank is the one that writes; all have to call, as each may hold a part of the weights.
    """
    adapter = isinstance(model, PeftModel)
    mine = {name: p for name, p in model.named_parameters() if (f".{REQUEST}." in f"{name}." if adapter else p.requires_grad)}
    weights = {name: gather_shards(p.detach()).cpu().contiguous() for name, p in mine.items()}
    if not writes:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not adapter:
        save_file(weights, folder / FULL_WEIGHTS)
        _name_base(folder, base_sha256)
        return
    model.save_pretrained(str(folder), selected_adapters=[REQUEST], state_dict=weights)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    if not isinstance(model.peft_config[REQUEST], ReftConfig):
        _name_base(folder, base_sha256)


def save_weights(model: nn.Module, names: Collection[str], folder: Path, base_sha256: str) -> None:
    """Save some weights of a model as a `full` edit's are saved, so that `load_edit` puts them on the original, whose hash is given."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: model.get_parameter(name).detach().cpu().contiguous() for name in sorted(names)}, folder / FULL_WEIGHTS)
    _name_base(folder, base_sha256)


def load_edit(model: nn.Module, folder: Path) -> nn.Module:
    """Put a saved edit on its base model, or on one that carries earlier requests.

    Raises:
        InputError: the folder holds none, or more than this model has.
        WrongBase: it was trained on another base model, or does not say on which.
    """
    if (folder / FULL_WEIGHTS).exists():
        _check_base(model, folder, _named_base(folder))
        weights = load_file(folder / FULL_WEIGHTS)
        if unknown := set(weights) - {name for name, _ in model.named_parameters()}:
            raise InputError(f"{folder}: this model has no {sorted(unknown)[0]}")
        model.load_state_dict(weights, strict=False)
        return model
    if not (folder / "adapter_config.json").exists():
        raise InputError(f"{folder}: no edit there (neither adapter_config.json nor {FULL_WEIGHTS})")
    if isinstance(model, PeftModel):
        return add_request(model, folder, REQUEST)
    config = PeftConfig.from_pretrained(str(folder))
    _check_base(model, folder, config.base_sha256 if isinstance(config, ReftConfig) else _named_base(folder))
    return PeftModel.from_pretrained(model, str(folder))


def _name_base(folder: Path, base_sha256: str) -> None:
    (folder / BASE).write_text(json.dumps({"base_sha256": base_sha256}) + "\n", encoding="utf-8")


def _named_base(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / BASE).read_text(encoding="utf-8"))["base_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_base(model: nn.Module, folder: Path, trained_on: str | None) -> None:
    if trained_on is None:
        raise WrongBase(f"{folder}: does not say which base model it was trained on")
    if trained_on != (found := weights_sha256(model)):
        raise WrongBase(f"{folder}: was trained on another base model (weights {trained_on[:4]}…, this one {found[:4]}…)")
