"""Compare the sizes in a model's configuration with its weights, before anything is built of these sizes and fills the memory."""

import re
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

from expunge.documents import parse_json
from expunge.errors import InputError, quoted
from expunge.files import MAX_DOCUMENT_BYTES, open_regular

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
    sizes = [size for path in sorted(folder.glob("*.safetensors")) for size in tensor_sizes(path)]
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
        sizes = [prod(tensor.shape) for tensor in GgufHeader.from_file(str(path)).tensors]
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


def tensor_sizes(path: Path) -> Iterator[int]:
    """Yield the number of elements of each tensor in a safetensors file, from its header.

    Raises:
        InputError: the header is damaged.
    """
    with open_regular(path, follow=True) as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= MAX_DOCUMENT_BYTES:
            raise InputError(f"{path}: has a damaged header; it says that it has {length} bytes")
        header = file.read(length)
    try:
        facts = parse_json(header.decode(), str(path), "its header")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: has a damaged header") from error
    for name, tensor in facts.items() if isinstance(facts, dict) else ():
        if name != "__metadata__":
            yield _elements(path, name, tensor)


def _elements(path: Path, name: str, tensor: Any) -> int:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise InputError(f"{path}: has a damaged header: tensor {quoted(name)} has no shape")
    elements = 1
    for size in shape:
        elements *= size
    return elements


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, value
