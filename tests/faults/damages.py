"""What may happen to the edit of a run: every damage of the matrix, as a function that damages a folder and returns the file's name."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from expunge.edits.manifest import MANIFEST, write_manifest

Damage = Callable[[Path], str]
CONFIG, BASE = "adapter_config.json", "base.json"


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def flip(path: Path, offset: int, bit: int = 0) -> str:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)
    return path.name


def header_bytes(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def resave(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> str:
    """Save the weights again with a change; the file is a valid one."""
    # Copies, because tensors that are mapped from a file change, or end, with it.
    tensors = {name: tensor.clone() for name, tensor in load_file(weights(folder)).items()}
    change(tensors)
    save_file(tensors, weights(folder), {"format": "pt"})
    return weights(folder).name


def middle(tensors: dict[str, torch.Tensor]) -> str:
    return sorted(tensors)[len(tensors) // 2]


def zero(tensors: dict[str, torch.Tensor]) -> None:
    tensors[middle(tensors)].zero_()


def drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[middle(tensors)]


def set_first(value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda tensors: tensors[middle(tensors)].view(-1)[:1].fill_(value)


def truncated(folder: Path) -> str:
    path = weights(folder)
    path.write_bytes(path.read_bytes()[:-10])
    return path.name


def emptied(folder: Path) -> str:
    weights(folder).write_bytes(b"")
    return weights(folder).name


def removed(folder: Path) -> str:
    path = weights(folder)
    path.unlink()
    return path.name


def pickled(folder: Path) -> str:
    path = weights(folder)
    torch.save({name: tensor.clone() for name, tensor in load_file(path).items()}, path)
    return path.name


def with_pickle(name: str) -> Damage:
    def add(folder: Path) -> str:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pickle.dumps({"weights": [1.0]}))
        return name

    return add


def bin_instead(folder: Path) -> str:
    """Put pickled weights into the place that PEFT falls back to."""
    path = weights(folder)
    torch.save(load_file(path), folder / "adapter_model.bin")
    path.unlink()
    return path.name


def without_manifest(folder: Path) -> str:
    (folder / MANIFEST).unlink()
    return MANIFEST


def rewritten(damage: Damage) -> Damage:
    """Damage a folder and write a manifest that fits the damage."""

    def both(folder: Path) -> str:
        damage(folder)
        write_manifest(folder)
        return MANIFEST

    return both


def manifest_of_nothing(folder: Path) -> str:
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**content, "files": {}, "tensors": {}}), encoding="utf-8")
    return MANIFEST


def manifest_cut(folder: Path) -> str:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-40])
    return MANIFEST


def setting(file: str, **values: object) -> Damage:
    def change(folder: Path) -> str:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        assert all(content[name] != value for name, value in values.items())
        (folder / file).write_text(json.dumps({**content, **values}, indent=2), encoding="utf-8")
        return file

    return change


def folder_gone(folder: Path) -> str:
    shutil.rmtree(folder)
    return MANIFEST


EVERY: dict[str, Damage] = {
    "bit of the data": lambda folder: flip(weights(folder), -3),
    "first bit of the data": lambda folder: flip(weights(folder), header_bytes(weights(folder))),
    "sign bit": lambda folder: flip(weights(folder), -1, 7),
    "bit of the header": lambda folder: flip(weights(folder), header_bytes(weights(folder)) // 2),
    "bit of the header's length": lambda folder: flip(weights(folder), 0, 3),
    "truncated": truncated,
    "emptied": emptied,
    "removed": removed,
    "zeroed tensor": lambda folder: resave(folder, zero),
    "missing tensor": lambda folder: resave(folder, drop),
    "extra tensor": lambda folder: resave(folder, lambda tensors: tensors.update(more=torch.ones(2))),
    "NaN": lambda folder: resave(folder, set_first(torch.nan)),
    "Inf": lambda folder: resave(folder, set_first(torch.inf)),
    "pickle in its place": pickled,
    "extra adapter_model.bin": with_pickle("adapter_model.bin"),
    "extra .pt": with_pickle("weights.pt"),
    "extra .pkl in a folder": with_pickle("more/weights.pkl"),
    "pickle where PEFT falls back to": bin_instead,
    "base.json": setting(BASE, sha256="0" * 64),
    "no manifest": without_manifest,
    "manifest of nothing": manifest_of_nothing,
    "manifest cut": manifest_cut,
    "manifest rewritten for zeros": rewritten(lambda folder: resave(folder, zero)),
    "manifest rewritten for a missing tensor": rewritten(lambda folder: resave(folder, drop)),
    "manifest rewritten for base.json": rewritten(setting(BASE, sha256="0" * 64)),
    "folder gone": folder_gone,
}
"""Damages of the folder of any edit."""
SETTINGS: dict[str, dict[str, Damage]] = {
    "grun": {
        "threshold": setting(CONFIG, threshold=-1e9),
        "no threshold": setting(CONFIG, threshold=None),
        "positions": setting(CONFIG, positions="last_prompt"),
        "gate_pool": setting(CONFIG, gate_pool="attention"),
        "gate_layer_norm": setting(CONFIG, gate_layer_norm=False),
        "gate_blocks": setting(CONFIG, gate_blocks=[3]),
        "composition": setting(CONFIG, composition="paper"),
        "rewritten for the threshold": rewritten(setting(CONFIG, threshold=-1e9)),
    },
    "reft": {
        "positions": setting(CONFIG, positions="all_prompt"),
        "blocks": setting(CONFIG, blocks=[0, 1, 2, 3]),
        "composition": setting(CONFIG, composition="paper"),
        "base_sha256": setting(CONFIG, base_sha256="0" * 64),
    },
    "lora": {
        "lora_alpha": setting(CONFIG, lora_alpha=0),
        "r": setting(CONFIG, r=1),
        "target_modules": setting(CONFIG, target_modules=["q_proj"]),
        "use_rslora": setting(CONFIG, use_rslora=True),
        "peft_type": setting(CONFIG, peft_type="IA3"),
        "rewritten for lora_alpha": rewritten(setting(CONFIG, lora_alpha=0)),
    },
}
"""Damages of the configuration of an adapter."""
MODULES: dict[str, Damage] = {
    **{
        name: EVERY[name]
        for name in ("bit of the data", "bit of the header", "zeroed tensor", "missing tensor", "NaN", "pickle in its place")
    },
    **{name: EVERY[name] for name in ("extra adapter_model.bin", "removed", "no manifest", "manifest rewritten for zeros")},
    "lora_alpha": setting(CONFIG, lora_alpha=0),
    "rewritten for lora_alpha": rewritten(setting(CONFIG, lora_alpha=0)),
}
"""Damages of the module of a release's round."""


def of_kind(kind: str) -> dict[str, Damage]:
    """Return all damages of the edit of a kind of run. `undo` computes the edit of a release again if its folder is gone."""
    damages = {**EVERY, **SETTINGS.get(kind, {})}
    return damages if kind != "release" else {what: damage for what, damage in damages.items() if what != "folder gone"}
