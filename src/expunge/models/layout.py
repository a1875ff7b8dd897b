"""`Layout`: which file of a model folder holds which tensor, in which dtype; and the files that go with the weights."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from expunge.errors import InputError, quoted
from expunge.models.checkpoint import INDEX, SINGLE, weight_files
from expunge.models.tensor_files import StoredTensor, stored_tensors

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Floating-point types of safetensors that a weight can be rounded to."""
_COPIED = re.compile(
    r"(tokenizer|special_tokens_map|added_tokens|vocab|merges|chat_template|generation_config|preprocessor_config|processor_config"
    r"|video_preprocessor_config|tekken|spiece|sentencepiece|LICEN[CS]E|NOTICE)[\w.-]*|[\w.-]+\.(model|tiktoken)"
)
"""Names of files that belong to a model and are not its weights or its configuration. Others beside them may hold anything."""
_COPIED_FOLDER = "additional_chat_templates"
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors")


@dataclass(frozen=True)
class Layout:
    """How a model folder stores its tensors.

    Attributes:
        folder: where it is.
        has_index: whether an index says which file holds which tensor.
        files: name of each tensor -> the file, by its name in the folder.
        tensors: by name.
    """

    folder: Path
    has_index: bool
    files: dict[str, str]
    tensors: dict[str, StoredTensor]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of most of the bytes; fp32 if there is none that a weight can be rounded to."""
        sizes = Counter[str]()
        for tensor in self.tensors.values():
            sizes[tensor.dtype] += tensor.end - tensor.begin if tensor.dtype in DTYPES else 0
        return DTYPES.get(max(sizes, key=sizes.__getitem__, default="F32"), torch.float32)

    def find(self, name: str, prefix: str) -> str | None:
        """Return the name of the tensor that a weight was loaded from, None if there is none.

        Args:
            name: in the model.
            prefix: of the model without its head; many checkpoints of GPT-2 leave it out.
        """
        known = (name, name.removeprefix(prefix), f"{prefix}{name}")
        return next((other for other in known if other in self.tensors), None)

    def read(self, name: str) -> torch.Tensor:
        """Read a tensor."""
        with safe_open(self.folder / self.files[name], "pt") as file:
            return file.get_tensor(name)


def read_layout(folder: Path) -> Layout:
    """Read how a model folder stores its tensors, from the headers of its files alone.

    Raises:
        InputError: a file is missing or damaged, or is not in the folder itself.
    """
    files: dict[str, str] = {}
    tensors: dict[str, StoredTensor] = {}
    paths = weight_files(folder)
    for path in paths:
        file = path.relative_to(folder).as_posix()
        if not _SHARD.fullmatch(file):
            raise InputError(f"{folder}: its weights are in {quoted(file)}, which is not a safetensors file in this folder")
        for tensor in stored_tensors(path):
            files[tensor.name], tensors[tensor.name] = file, tensor
    has_index = [path.name for path in paths] != [SINGLE] and (folder / INDEX).exists()
    return Layout(folder, has_index, files, tensors)


def files_to_copy(folder: Path) -> list[Path]:
    """Return the files of a model folder that go with the weights unchanged: tokenizer, templates, generation defaults, licences."""
    paths = [path for path in folder.iterdir() if _COPIED.fullmatch(path.name)]
    return sorted(path for path in (*paths, *(folder / _COPIED_FOLDER).glob("*.jinja")) if path.is_file())
