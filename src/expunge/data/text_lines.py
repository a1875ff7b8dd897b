"""Read files of text as lines or blocks of decoded text, also from .gz and .zst, within limits on lines and on unpacked bytes."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow

from expunge.data.values import MAX_LINE_BYTES
from expunge.errors import InputError
from expunge.files import open_regular

Packing = Literal["gzip", "zstd"]
PACKED: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd"}
MAX_UNPACKED_BYTES = 2**30
"""Most bytes that a packed file may unpack to: a few kilobytes can hold terabytes."""
BLOCK_BYTES = 2**16
BOM = codecs.BOM_UTF8
# A byte order mark, or the null byte beside every ASCII character.
UTF16_STARTS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
OTHER_FILES = {b"\x1f\x8b": 'packed by gzip; let its name end in ".gz"', b"\x28\xb5\x2f\xfd": 'packed by zstd; let its name end in ".zst"'}
OTHER_FILES |= {
    b"PK\x03\x04": "a zip archive or an Excel workbook; save it as CSV UTF-8",
    b"PAR1": 'Parquet; let its name end in ".parquet"',
}


def unpacked_name(path: Path) -> Path:
    """Return the path of a file without the end that names its packing."""
    return path.with_suffix("") if path.suffix.lower() in PACKED else path


@contextmanager
def open_text(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file of text, unpacked if its name ends in .gz or .zst, at its first byte after a byte order mark.

    Raises:
        InputError: it cannot be opened, or its first bytes are not those of text in UTF-8.
    """
    packing = PACKED.get(path.suffix.lower())
    with open_regular(path, follow=True) as file:
        text = file if packing is None else io.BufferedReader(_Unpacked(str(path), packing, file), BLOCK_BYTES)
        _check_start(str(path), text.peek(4)[:4])
        if text.peek(len(BOM)).startswith(BOM):
            text.read(len(BOM))
        yield text


def lines(name: str, file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line with its end) of a file from `open_text`.

    Raises:
        InputError: a line is longer than `MAX_LINE_BYTES`, or is not UTF-8.
    """
    number = 0
    # Reading stops one byte after the limit, so that a line without an end cannot fill the memory.
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"{name}:{number}: the line is longer than {MAX_LINE_BYTES} bytes")
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            raise _not_utf8(name, number, f"at byte {error.start + 1} of the line") from error


def blocks(name: str, file: BinaryIO) -> Iterator[str]:
    """Yield the text of a file from `open_text` in blocks of about `BLOCK_BYTES`.

    Raises:
        InputError: it is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    number = 1
    while True:
        content = file.read(BLOCK_BYTES)
        try:
            text = decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            raise _not_utf8(name, number + error.object.count(b"\n", 0, error.start), "in the line") from error
        if not content:
            return
        number += text.count("\n")
        yield text


def _check_start(name: str, start: bytes) -> None:
    if start.startswith(UTF16_STARTS) or (len(start) == 4 and 0 in start[:2]):
        raise InputError(f"{name}: the file is UTF-16; save it as UTF-8, or convert it with `iconv -f UTF-16 -t UTF-8`")
    for signature, what in OTHER_FILES.items():
        if start.startswith(signature):
            raise InputError(f"{name}: the file is {what}")


def _not_utf8(name: str, number: int, place: str) -> InputError:
    convert = "if it is Windows-1252, `iconv -f WINDOWS-1252 -t UTF-8` converts it"
    return InputError(f"{name}:{number}: bad UTF-8 {place}; save the file as UTF-8 ({convert})")


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a file, at most `MAX_UNPACKED_BYTES`."""

    def __init__(self, name: str, packing: Packing, file: BinaryIO):
        self.name, self.packing = name, packing
        self.stream = pyarrow.CompressedInputStream(file, packing)
        self.left = MAX_UNPACKED_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            content = self.stream.read(len(buffer))
        except OSError as error:
            raise InputError(f"{self.name}: the file is damaged, cut off or not packed by {self.packing}; pack it again") from error
        self.left -= len(content)
        if self.left < 0:
            raise InputError(f"{self.name}: the file unpacks to more than {MAX_UNPACKED_BYTES} bytes; unpack it, and give that file")
        buffer[: len(content)] = content
        return len(content)
