"""Read whole documents: files of plain text, Markdown and HTML, and folders of them."""

import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from expunge.data.html_text import visible_text
from expunge.data.text_lines import blocks, open_text, unpacked_name
from expunge.data.values import MAX_LINE_BYTES
from expunge.errors import InputError

log = logging.getLogger(__name__)

TEXTS, PAGES = (".txt", ".md"), (".html", ".htm")
SUFFIXES = (*TEXTS, *PAGES)
"""Ends of the names of documents; `.gz` or `.zst` may follow."""
DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
"""A folder with such a file is a data set."""
SHOWN = 3
"""Most files of other forms that a remark names."""


def is_documents(source: str | Path) -> bool:
    """Return whether a source is a document, or a folder of documents with no file of a data set in it."""
    path = Path(source)
    if not path.is_dir():
        return _suffix(path) in SUFFIXES
    suffixes = {_suffix(inner) for inner in _files(path)}
    return not suffixes & {*DATA_SUFFIXES} and bool(suffixes & {*SUFFIXES})


def documents(source: str | Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a document, or of each document in a folder and the folders in it, in the order of their names.

    The name is the path below the folder. Files and folders whose names begin with a dot are left out. Of a page in HTML the visible text
    is read; Markdown stays as it is.

    Raises:
        InputError: a file cannot be read, is longer than 8 MiB, is not UTF-8, or has no text.
    """
    path = Path(source)
    if not path.is_dir():
        yield path.name, _text(path)
        return
    files = _files(path)
    others = [file.relative_to(path).as_posix() for file in files if _suffix(file) not in SUFFIXES]
    if others:
        _report(str(source), len(others), ", ".join(others[:SHOWN]) + (", …" if len(others) > SHOWN else ""))
    for file in files:
        if _suffix(file) in SUFFIXES:
            yield file.relative_to(path).as_posix(), _text(file)


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder and the folders in it, without hidden ones; links to folders are not followed."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".")]
        found += [Path(place) / name for name in folders if (Path(place) / name).is_symlink()]
    return sorted(found, key=lambda file: file.relative_to(folder).parts)


def _suffix(path: Path) -> str:
    return unpacked_name(path).suffix.lower()


def _text(path: Path) -> str:
    with open_text(path) as file:
        read, size = list[str](), 0
        for block in blocks(str(path), file):
            size += len(block.encode())
            if size > MAX_LINE_BYTES:
                raise InputError(f"{path}: the document is longer than {MAX_LINE_BYTES} bytes; split it into several files")
            read.append(block)
    text = "".join(read).replace("\r\n", "\n")
    text = (visible_text(text) if _suffix(path) in PAGES else text).strip()
    if not text:
        raise InputError(f"{path}: there is no text in it; remove the file")
    return text


# A run reads its files several times.
@lru_cache
def _report(source: str, count: int, names: str) -> None:
    log.warning("%s: %d files are not read, because their names do not end in %s: %s", source, count, ", ".join(SUFFIXES), names)
