"""Refuse numbers that are not finite before they are saved: in tensors, and in JSON."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from expunge.errors import ExpungeError
from expunge.models.sharding import gather_shards

LOWER_LR = (
    "lower the learning rate, the weight decay or alpha, and use another run folder: here the training would fail again at the same step"
)
"""What to do about weights that a training has made infinite."""


def check_finite(named: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Raise `ExpungeError` that names the first tensor with an infinite number or NaN.

    Args:
        named: names and tensors, as `named_parameters` returns them. Every rank has to pass the same ones if they are sharded.
        where: the end of the sentence: when it was found, what was not done, and what to do.
    """
    for name, tensor in named:
        if not is_finite(tensor):
            raise ExpungeError(f"{name} holds {_fault(tensor)} {where}")


def is_finite(tensor: Tensor) -> bool:
    """Return whether no number of a tensor is infinite or NaN."""
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        return bool(gather_shards(torch.isfinite(tensor).all()))
    # The bounds are NaN if a number is. A mask of all numbers takes fifteen times as long.
    return not tensor.is_floating_point() or not tensor.numel() or all(bool(bound.isfinite()) for bound in tensor.aminmax())


def _fault(tensor: Tensor) -> str:
    return "NaN" if bool(gather_shards(torch.isnan(tensor.detach()).any())) else "an infinite number"


def json_text(value: Any, where: str, indent: int | None = None, sort_keys: bool = False, ensure_ascii: bool = True) -> str:
    """Return a value as JSON. JSON has no word for an infinite number or NaN, and other programs cannot read Python's.

    Args:
        value: of texts, numbers, booleans, null, lists and mappings.
        where: the beginning of the error's sentence: the file that is not written, or what was measured.
        indent: see `json.dumps`.
        sort_keys: see `json.dumps`.
        ensure_ascii: see `json.dumps`.

    Raises:
        ExpungeError: a number is not finite; the message names its place.
    """
    try:
        return json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=ensure_ascii, allow_nan=False)
    except ValueError as error:
        place, number = next(_not_finite(value, ""), (None, None))
        if place is None:
            raise
        raise ExpungeError(f"{where}: {place or 'the result'} is {number}, not a finite number; nothing was written") from error


def finite_or_none(value: float) -> float | None:
    """Return a number, or None in place of one that is infinite or NaN: null in JSON."""
    return value if math.isfinite(value) else None


def _not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _not_finite(inner, f"{place}.{name}" if place else str(name))
    if isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _not_finite(inner, f"{place}[{i}]")
