"""Write the weights of a model as its source stores them: in the same files, each tensor in the dtype that it has there."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from expunge.edits.merge import MergedModel
from expunge.errors import InputError
from expunge.files import write_text
from expunge.models.checkpoint import INDEX, SINGLE
from expunge.models.finite import check_finite
from expunge.models.layout import DTYPES, Layout

UNUSABLE = "and the model was not exported; check the base model's weights"


@dataclass
class Rounding:
    """What is lost when weights are rounded to a narrower dtype.

    An edit may change a weight by less than the distance to the next number of the dtype: then the old weight comes back.

    Attributes:
        change: sum of the squared differences between the edited weights and the source's.
        error: sum of the squared differences between the edited weights and the rounded ones, where the source has such a tensor.
    """

    change: float = 0.0
    error: float = 0.0

    @property
    def lost(self) -> float:
        """The norm of the error as a share of the norm of the change; 0 if nothing is rounded."""
        return math.sqrt(self.error / self.change) if self.change else 0.0 if not self.error else math.inf

    def add(self, edited: Tensor, rounded: Tensor, source: Tensor) -> None:
        """Add a tensor."""
        edited = edited.double()
        self.change += float((edited - source.double()).square().sum())
        self.error += float((edited - rounded.double()).square().sum())


def write_like(merged: MergedModel, source: Layout, dtype: torch.dtype | None, folder: Path) -> Rounding:
    """Write weights into the folder, in files with the source's names.

    Args:
        merged: the model, in a dtype that holds the edit.
        source: of the checkpoint that the model was loaded from.
        dtype: of all weights; None: each has the dtype of the tensor in the source.
        folder: exists, and has no weights yet.

    Returns:
        What the rounding to the dtype loses.

    Raises:
        InputError: the source's dtype is one that an edited weight cannot be rounded to.
        ExpungeError: a number is not finite.
    """
    names = _Names(merged, source)
    tensors = revert_weight_conversion(merged.model, remove_tied_weights_from_state_dict(merged.model.state_dict(), merged.model))
    rounding, files = Rounding(), _by_file(tensors, names, source)
    for file, members in files.items():
        rounded = {name: _rounded(tensors.pop(name), name, names, dtype, rounding) for name in members}
        check_finite(rounded.items(), UNUSABLE)
        save_file(rounded, folder / file, metadata={"format": "pt"})
        files[file] = {name: tensor.nbytes for name, tensor in rounded.items()}
    if source.has_index or len(files) > 1:
        _write_index(files, folder)
    return rounding


class _Names:
    """Find the tensor of a source that a weight was loaded from."""

    def __init__(self, merged: MergedModel, source: Layout):
        self.source = source
        self.prefix = f"{merged.model.base_model_prefix}."
        self.untied = merged.untied

    def find(self, name: str) -> str | None:
        """Return the name of the tensor in the source; None if there is none."""
        found = self.source.find(name, self.prefix)
        return self.find(self.untied[name]) if found is None and name in self.untied else found


def _by_file(tensors: Mapping[str, Tensor], names: _Names, source: Layout) -> dict[str, dict[str, int]]:
    """Return the names of the tensors of each file; one that the source does not have goes where the one before it goes."""
    file = min(source.files.values(), default=SINGLE)
    files: dict[str, dict[str, int]] = {}
    for name in tensors:
        found = names.find(name)
        file = file if found is None else source.files[found]
        files.setdefault(file, {})[name] = 0
    return dict(sorted(files.items()))


def _rounded(tensor: Tensor, name: str, names: _Names, dtype: torch.dtype | None, rounding: Rounding) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    found, source = names.find(name), names.source
    stored = None if found is None else source.tensors[found].dtype
    if dtype is None and stored is not None and stored not in DTYPES:
        raise InputError(f"{source.folder}: {name} is stored as {stored}, which cannot hold an edit; give --dtype bf16 or fp32")
    target = dtype or (source.dtype if stored is None else DTYPES[stored])
    rounded = tensor.to(target)
    if found is not None and torch.finfo(target).eps > torch.finfo(tensor.dtype).eps:
        original = source.read(found)
        if original.shape == tensor.shape:
            rounding.add(tensor, rounded, original)
    return rounded


def _write_index(files: Mapping[str, Mapping[str, int]], folder: Path) -> None:
    weight_map = {name: file for file, sizes in files.items() for name in sizes}
    total = sum(size for sizes in files.values() for size in sizes.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_text(folder / INDEX, json.dumps(index, indent=2) + "\n")
