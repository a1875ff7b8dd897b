"""Read rows one at a time from JSONL, CSV and Parquet files, and from data sets of the `datasets` library."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow
from pyarrow import parquet

from expunge import hub
from expunge.data.fields import MAX_LINE_BYTES, Row, kind
from expunge.documents import parse_json
from expunge.errors import InputError, quoted
from expunge.files import open_regular

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
PARQUET_BATCH = 256
MAX_ID_DIGITS = 100
"""Most digits of an integer: ids may be longer than 64 bits."""
BOM = b"\xef\xbb\xbf"


def read_rows(source: str | Path, split: str, lists: set[str]) -> Iterator[tuple[int, Row]]:
    """Yield (number, row) of a source. The number counts from 1: lines in JSONL and CSV files, rows in Parquet and data sets.

    Args:
        source: a file with one of `SUFFIXES`, a folder that `datasets` can load, or a hub id `name` or `name:config`.
        split: the split of a data set; ignored for a file.
        lists: the columns whose CSV cells may hold a JSON list.

    Raises:
        InputError: the source cannot be opened, or a row is not well-formed.
    """
    path, name = Path(source), str(source)
    if not name:
        raise InputError("'': give a file or a hub id")
    if path.suffix.lower() not in SUFFIXES:
        # A hub id is `name` or `owner/name`. A dot in a bare name marks a file suffix; after an owner it may belong to a version.
        bare = len(path.parts) == 1 and ":" not in name and not path.is_dir()
        if path.is_file() or (bare and path.suffix):
            raise InputError(f"{name}: files end in {', '.join(SUFFIXES)}, not in {quoted(path.suffix)}")
        yield from _dataset_rows(name, split)
        return
    with open_regular(path, follow=True) as file:
        if path.suffix.lower() == ".csv":
            yield from _csv_rows(name, file, lists)
        elif path.suffix.lower() == ".parquet":
            yield from _parquet_rows(name, file)
        else:
            yield from _json_rows(name, file)


def _lines(name: str, file: BinaryIO) -> Iterator[tuple[int, str]]:
    number = 0
    # Reading stops one byte after the limit, so that a line without an end cannot fill the memory.
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"{name}:{number}: the line is longer than {MAX_LINE_BYTES} bytes")
        if number == 1:
            line = line.removeprefix(BOM)
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{name}:{number}: bad UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8") from error


def _json_rows(name: str, file: BinaryIO) -> Iterator[tuple[int, Row]]:
    for number, line in _lines(name, file):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        row = parse_json(line, where, "the line" if line.endswith("\n") else "the last line is cut off or", MAX_ID_DIGITS)
        if not isinstance(row, dict):
            raise InputError(f"{where}: the line is {kind(row)}; each line must be one JSON object")
        yield number, row


def _csv_rows(name: str, file: BinaryIO, lists: set[str]) -> Iterator[tuple[int, Row]]:
    reader = csv.reader((line for _, line in _lines(name, file)), strict=True)
    header: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{name}:{start}: not valid CSV ({error})") from error
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            _distinct(f"{name}:{start}", header)
            continue
        if len(cells) != len(header):
            raise InputError(f"{name}:{start}: the number of cells is {len(cells)}, the header has {len(header)}")
        yield start, {column: _cell(f"{name}:{start}", cell, column in lists) for column, cell in zip(header, cells, strict=True)}


def _cell(where: str, cell: str, may_be_list: bool) -> object:
    if not cell:
        return None
    # CSV has no types; pandas and numpy write a missing value in these two ways.
    if cell in ("nan", "NaN"):
        return math.nan
    if may_be_list and cell.startswith("["):
        return parse_json(cell, where, "a list in a cell", MAX_ID_DIGITS)
    return cell


def _parquet_rows(name: str, file: BinaryIO) -> Iterator[tuple[int, Row]]:
    number = 0
    try:
        table = parquet.ParquetFile(file)
        columns = table.schema_arrow.names
        _distinct(name, columns)
        for batch in table.iter_batches(PARQUET_BATCH):
            for i in range(batch.num_rows):
                number += 1
                yield number, {column: values[i].as_py() for column, values in zip(columns, batch.columns, strict=True)}
    except UnicodeDecodeError as error:
        raise InputError(f"{name}:{number}: bad UTF-8") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{name}:{number + 1}: not a Parquet file, or a damaged one") from error


def _distinct(where: str, header: list[str]) -> None:
    for i, column in enumerate(header):
        if column in header[:i]:
            # The name is left out: in a file without a header it is a text to forget.
            raise InputError(f"{where}: columns {header.index(column) + 1} and {i + 1} have the same name")


def _dataset_rows(name: str, split: str) -> Iterator[tuple[int, Row]]:
    # Imported here because `datasets` takes over a second to import and most runs read plain files.
    import datasets
    from datasets.exceptions import DatasetBuildError, DatasetsError

    path, _, config = name.partition(":")
    if not Path(path).is_dir() and not hub.is_reachable():
        # The library still finds cached data sets, but does not wait half a minute for the hub.
        datasets.config.HF_HUB_OFFLINE = True
    try:
        dataset = datasets.load_dataset(path, config or None, split=split)
    except (DatasetBuildError, pyarrow.ArrowException) as error:
        # The library's reason is left out, because it may quote the text to forget.
        raise InputError(f"{name}: a file of the data set is not well-formed; give that file itself to see the line") from error
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"{name}: neither a file nor a data set that can be loaded here ({reason})") from error
    for number, row in enumerate(dataset, 1):
        yield number, dict(row)
