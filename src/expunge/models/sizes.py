"""Compare the sizes in a model's configuration with its weights, before anything is built of these sizes and fills the memory."""

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

from expunge.errors import InputError
from expunge.models.tensor_files import stored_tensors

MOST_PARTS = 4096
"""Most experts, heads or parts of another kind in one layer."""
_LAYERS = re.compile(r"(num|n)_(\w+_)?layers?")
_PARTS = re.compile(r"(num|n)_\w*(heads?|experts?|groups?|codebooks?)\w*")
_TEXTS = re.compile(r"(general|tokenizer|split)\.")
"""Fields of a GGUF file that are no sizes of the model."""
_GGUF_WIDTHS = ("embedding_length", "feed_forward_length", "key_length", "value_length", "vocab_size")
_WIDTH = re.compile(r"((moe_)?intermediate|hidden|vocab)_size|head_dim|n_(embd|inner)|d_(model|ff)")


def check_sizes(folder: Path, config: dict[str, Any]) -> None:
    """Check that a configuration calls for no more layers, parts and widths than the weights beside it can have.

    Args:
        folder: of a model, with safetensors.
        config: its configuration, as plain values.

    Raises:
        InputError: it does, or a file of weights has a damaged header.
    """
    sizes = [prod(tensor.shape) for path in sorted(folder.glob("*.safetensors")) for tensor in stored_tensors(path)]
    for name, value in _numbers(config):
        most = len(sizes) if _LAYERS.fullmatch(name) else MOST_PARTS if _PARTS.fullmatch(name) else max(sizes, default=0)
        if value > most and (_LAYERS.fullmatch(name) or _PARTS.fullmatch(name) or _WIDTH.fullmatch(name)):
            raise InputError(f"{folder / 'config.json'}: {name} is {value}, but the weights in this folder allow at most {most}")


def check_gguf_sizes(path: Path) -> None:
    """Check that the metadata of a GGUF file call for no more layers, parts and widths than its tensors can have.

    Raises:
        InputError: they do, or the file cannot be read.
    """
    try:
        metadata, _ = read_gguf_metadata(str(path))
        sizes = _gguf_tensor_sizes(path)
    except InputError:
        raise
    # A damaged file may raise whatever the library did not expect to fail.
    except Exception as error:
        raise InputError(f"{path}: could not be read as a GGUF model: {next(iter(str(error).strip().splitlines()), 'damaged')}") from error
    for name, value in metadata.items():
        if _TEXTS.match(name):
            continue
        kind = name.rpartition(".")[2]
        most = len(sizes) if kind == "block_count" else MOST_PARTS if kind.endswith("_count") else max(sizes, default=0)
        if isinstance(value, int) and value > most and (kind.endswith("_count") or kind in _GGUF_WIDTHS):
            raise InputError(f"{path}: {name} is {value}, but the tensors in this file allow at most {most}")


def _gguf_tensor_sizes(path: Path) -> list[int]:
    try:
        return [prod(tensor.shape) for tensor in GgufHeader.from_file(str(path)).tensors]
    except ValueError:
        # This reader does not know every quantised type (Q5_0, for one). The other one does, but takes seconds with a large vocabulary.
        return [prod(tensor.shape) for tensor in stored_tensors(path)]


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, value
