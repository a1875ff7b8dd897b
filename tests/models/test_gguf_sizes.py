"""A crafted GGUF file is refused before anything is built of its sizes or read of its lengths."""

import struct
import time

import pytest

from expunge.errors import InputError
from expunge.models.loading import load
from expunge.models.sizes import check_gguf_sizes

TEXT, ARRAY, NUMBER, BYTE = 8, 9, 4, 0
MANY = 2**40


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def field(name: str, value: int | str) -> bytes:
    of_type = struct.pack("<I", TEXT) + text(value) if isinstance(value, str) else struct.pack("<II", NUMBER, value)
    return text(name) + of_type


def gguf(*fields: bytes, tensors: bytes = b"", tensor_count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensor_count, len(fields)) + b"".join(fields) + tensors + bytes(4096)


LLAMA = field("general.architecture", "llama")
TENSOR = text("token_embd.weight") + struct.pack("<IQQ", 2, 8, 16) + struct.pack("<IQ", 0, 0)
"""Of 128 numbers."""
Q5_0 = text("token_embd.weight") + struct.pack("<IQQ", 2, 32, 16) + struct.pack("<IQ", 6, 0)
"""Of 512 numbers in blocks of a type that one of the two readers does not know."""
CASES = {
    "blocks": (
        gguf(LLAMA, field("llama.block_count", 10**9), tensors=TENSOR, tensor_count=1),
        "block_count is 1000000000, but the tensors in this file allow at most 1",
    ),
    "width": (
        gguf(LLAMA, field("llama.embedding_length", 10**6), tensors=TENSOR, tensor_count=1),
        "embedding_length is 1000000, but the tensors in this file allow at most 128",
    ),
    "width of a rare type": (
        gguf(LLAMA, field("llama.embedding_length", 10**6), tensors=Q5_0, tensor_count=1),
        "embedding_length is 1000000, but the tensors in this file allow at most 512",
    ),
    "heads": (
        gguf(LLAMA, field("llama.attention.head_count", 10**6), tensors=TENSOR, tensor_count=1),
        "head_count is 1000000, but the tensors",
    ),
    "a long list": (gguf(LLAMA, text("x") + struct.pack("<IIQ", ARRAY, BYTE, MANY)), "could not be read as a GGUF model"),
    "a long list of texts": (gguf(LLAMA, text("x") + struct.pack("<IIQ", ARRAY, TEXT, MANY)), "could not be read as a GGUF model"),
    "a long text": (gguf(LLAMA, struct.pack("<Q", 2**60)), "could not be read as a GGUF model"),
    "many tensors": (gguf(LLAMA, tensor_count=MANY)[:64], "could not be read as a GGUF model"),
    "half a header": (b"GGUF\3\0", "could not be read as a GGUF model"),
    "nothing": (b"", "could not be read as a GGUF model"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_crafted_file_is_one_sentence_at_once(tmp_path, name):
    content, problem = CASES[name]
    path = tmp_path / "crafted.gguf"
    path.write_bytes(content)
    started = time.monotonic()
    with pytest.raises(InputError, match=problem) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert time.monotonic() - started < 5


def test_a_file_with_tensors_of_a_rare_type_passes(tmp_path):
    path = tmp_path / "rare.gguf"
    path.write_bytes(gguf(LLAMA, field("llama.embedding_length", 32), tensors=Q5_0, tensor_count=1))
    check_gguf_sizes(path)
