"""Where each tensor lies in a safetensors or a GGUF file: name, shape, dtype and the place of its bytes."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from expunge.documents import parse_json
from expunge.errors import InputError, quoted
from expunge.files import MAX_DOCUMENT_BYTES, open_regular


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        name: as the file has it.
        shape: as the file has it; GGUF files reverse it.
        dtype: as the file names it, such as `BF16`, or `Q4_1` for quantised numbers.
        begin: of its bytes, from the start of the file.
        end: of its bytes, exclusive.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    begin: int
    end: int


def stored_tensors(path: Path) -> list[StoredTensor]:
    """Return the tensors of a safetensors or GGUF file in the order of their bytes, from its header alone.

    Raises:
        InputError: the header is damaged, or two tensors share bytes.
    """
    tensors = sorted(_gguf(path) if path.suffix == ".gguf" else _safetensors(path), key=lambda tensor: (tensor.begin, tensor.end))
    size, end = path.stat().st_size, 0
    for tensor in tensors:
        if not end <= tensor.begin <= tensor.end <= size:
            raise InputError(f"{path}: has a damaged header: the bytes of tensor {quoted(tensor.name)} are not in the file, or another's")
        end = tensor.end
    return tensors


def _safetensors(path: Path) -> list[StoredTensor]:
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
    tensors = facts.items() if isinstance(facts, dict) else ()
    return [_tensor(path, name, tensor, 8 + length) for name, tensor in tensors if name != "__metadata__"]


def _tensor(path: Path, name: str, tensor: Any, data: int) -> StoredTensor:
    facts = tensor if isinstance(tensor, dict) else {}
    shape, dtype, offsets = facts.get("shape"), facts.get("dtype"), facts.get("data_offsets")
    if not _are_sizes(shape):
        raise InputError(f"{path}: has a damaged header: tensor {quoted(name)} has no shape")
    if not isinstance(dtype, str) or not _are_sizes(offsets) or len(offsets) != 2:
        raise InputError(f"{path}: has a damaged header: tensor {quoted(name)} has no dtype or no place in the file")
    begin, end = offsets
    return StoredTensor(name, tuple(shape), dtype, data + begin, data + end)


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(isinstance(size, int) and size >= 0 for size in value)


def _gguf(path: Path) -> list[StoredTensor]:
    # Only models in GGUF files need the package.
    from gguf import GGUFReader

    try:
        tensors = GGUFReader(path).tensors
    # A damaged file may raise whatever the library did not expect to fail.
    except Exception as error:
        raise InputError(f"{path}: could not be read as a GGUF file: {error}") from error
    facts = [(tensor, [int(size) for size in tensor.shape], int(tensor.data_offset)) for tensor in tensors]
    return [StoredTensor(one.name, tuple(shape), one.tensor_type.name, begin, begin + int(one.n_bytes)) for one, shape, begin in facts]
