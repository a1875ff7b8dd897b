"""Compare the sizes in a model's configuration with its weights, before anything is built of these sizes and fills the memory."""

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from expunge.errors import InputError
from expunge.models.tensor_files import stored_tensors

MOST_PARTS = 4096
"""Most experts, heads or parts of another kind in one layer."""
_LAYERS = re.compile(r"(num|n)_(\w+_)?layers?")
_PARTS = re.compile(r"(num|n)_\w*(heads?|experts?|groups?|codebooks?)\w*")
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


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, value
