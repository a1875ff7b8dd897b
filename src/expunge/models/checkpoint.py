"""The checkpoint that a model is loaded from: its files of weights, and the hash of the tensors that they hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from expunge.documents import read_json
from expunge.errors import InputError
from expunge.models.file_hashes import Stamp, stamp, tensors_sha256_once
from expunge.models.merged_adapter import with_adapter
from expunge.models.sources import ADAPTER_WEIGHTS, INDEX, SINGLE, base_of_adapter, is_adapter


class _Index(BaseModel):
    """The part of an index of shards that is read here."""

    weight_map: dict[str, str]


def weight_files(model: Path) -> list[Path]:
    """Return the files of weights that loading a model reads, in the order of their names.

    Args:
        model: a folder with safetensors, a GGUF file, or the folder of an adapter, without its base model.

    Raises:
        InputError: its configuration or its index of shards cannot be read.
    """
    if model.suffix == ".gguf":
        return [model]
    if is_adapter(model):
        return [model / ADAPTER_WEIGHTS]
    # The order of transformers: a file that the configuration names, then one file, then shards.
    named = read_json(model / "config.json", dict[str, Any]).get("transformers_weights")
    name = named if isinstance(named, str) else SINGLE if (model / SINGLE).is_file() else INDEX
    if not name.endswith(".index.json"):
        return [model / name]
    return [model / shard for shard in sorted(set(read_json(model / name, _Index).weight_map.values()))]


def stamps(model: Path) -> dict[Path, Stamp]:
    """Return the stamp of each file of weights in or below a model's folder, and of an adapter's base model, to compare after loading."""
    below = stamps(base_of_adapter(model)) if is_adapter(model) else {}
    files = [model] if model.suffix == ".gguf" else [path for path in model.rglob("*.safetensors") if path.is_file()]
    return {**below, **{path: stamp(path) for path in files}}


def checkpoint_sha256(model: Path, before: Mapping[Path, Stamp]) -> str:
    """Return the hash of the tensors that a model was loaded from: names, shapes, dtypes and bytes as they are stored.

    It depends neither on the dtype nor on the device that the model is loaded to, nor on how the tensors are spread over files.

    Args:
        model: a folder with safetensors, a GGUF file, or the folder of an adapter, whose base model is hashed too.
        before: the `stamps` of its files from before it was loaded.

    Raises:
        InputError: a file is damaged, or was changed while the model was loaded.
    """
    files = weight_files(model)
    sha256 = tensors_sha256_once(model, files)
    if changed := next((path for path in files if stamp(path) != before.get(path)), None):
        raise InputError(f"{changed}: was changed while the model was loaded; start the command again")
    return with_adapter(checkpoint_sha256(base_of_adapter(model), before), model, sha256) if is_adapter(model) else sha256
