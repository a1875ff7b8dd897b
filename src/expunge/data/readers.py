"""Read rows one at a time from files of JSON, CSV and Parquet, and from data sets of the `datasets` library."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow
from pyarrow import parquet

from expunge import hub
from expunge.data.document_files import SUFFIXES as DOCUMENTS
from expunge.data.json_rows import json_rows
from expunge.data.table_rows import distinct_columns, table_rows
from expunge.data.text_lines import open_text, unpacked_name
from expunge.data.values import Row
from expunge.errors import InputError, quoted
from expunge.files import open_regular

JSON, TABLES, PARQUET = (".jsonl", ".ndjson", ".json"), {".csv": ",", ".tsv": "\t"}, ".parquet"
SUFFIXES = (*JSON, *TABLES, PARQUET)
"""Ends of the names of files; before them all but Parquet may be packed, as in `.jsonl.gz` and `.csv.zst`."""
PARQUET_BATCH = 256
FORMS = f"files end in {', '.join(SUFFIXES)} (documents in {', '.join(DOCUMENTS)})"


def read_rows(source: str | Path, split: str, lists: set[str], split_option: str = "--split") -> Iterator[tuple[int, Row]]:
    """Yield (number, row) of a source. The number counts from 1: lines in files of text, rows in Parquet and data sets.

    Args:
        source: a file with one of `SUFFIXES`, a folder that `datasets` can load, or a hub id `name` or `name:config`.
        split: the split of a data set; ignored for a file.
        lists: the columns whose CSV cells may hold a JSON list.
        split_option: the option that an error suggests for another split.

    Raises:
        InputError: the source cannot be opened, or a row is not well-formed.
    """
    path, name = Path(source), str(source)
    if not name:
        raise InputError("'': give a file or a hub id")
    suffix = _suffix(path)
    if suffix is None:
        # A hub id is `name` or `owner/name`. A dot in a bare name marks a file suffix; after an owner it may belong to a version.
        bare = len(path.parts) == 1 and ":" not in name and not path.is_dir()
        if path.is_file() or (bare and path.suffix):
            raise InputError(f"{name}: {FORMS}, not in {quoted(path.suffix)}")
        yield from _dataset_rows(name, split, split_option)
    elif suffix == PARQUET:
        with open_regular(path, follow=True) as file:
            yield from _parquet_rows(name, file)
    else:
        with open_text(path) as file:
            yield from json_rows(name, file) if suffix in JSON else table_rows(name, file, TABLES[suffix], lists)


def _suffix(path: Path) -> str | None:
    """Return the suffix that says how a file is read, without that of its packing, or None."""
    unpacked = unpacked_name(path)
    suffix = unpacked.suffix.lower()
    return suffix if suffix in SUFFIXES and (unpacked == path or suffix != PARQUET) else None


def _parquet_rows(name: str, file: BinaryIO) -> Iterator[tuple[int, Row]]:
    number = 0
    try:
        table = parquet.ParquetFile(file)
        columns = table.schema_arrow.names
        distinct_columns(name, columns)
        for batch in table.iter_batches(PARQUET_BATCH):
            for i in range(batch.num_rows):
                number += 1
                yield number, {column: values[i].as_py() for column, values in zip(columns, batch.columns, strict=True)}
    except UnicodeDecodeError as error:
        raise InputError(f"{name}:{number}: bad UTF-8") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{name}:{number + 1}: not a Parquet file, or a damaged one") from error


def _dataset_rows(name: str, split: str, split_option: str) -> Iterator[tuple[int, Row]]:
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
        if Path(path).is_dir() and isinstance(error, FileNotFoundError):
            raise InputError(f"{name}: no file in this folder can be read; {FORMS}") from error
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"{name}: neither a file nor a data set that can be loaded here ({reason}){_other_split(reason, split_option)}"
        ) from error
    # A folder of pictures is a data set too. To read a row would decode them.
    media = (datasets.Audio, datasets.Image, datasets.Pdf, datasets.Video)
    dataset = dataset.remove_columns([column for column, feature in dataset.features.items() if isinstance(feature, media)])
    if not dataset.column_names:
        raise InputError(f"{name}: has no text; {FORMS}")
    for number, row in enumerate(dataset, 1):
        yield number, cast(Row, row)


def _other_split(reason: str, option: str) -> str:
    """Return "; choose a split with --split …" if the library lists the splits of a data set that lacks the given one."""
    listed = re.search(r"Unknown split .*Should be one of \[(.*)\]", reason)
    splits = re.findall(r"'([^']+)'", listed[1]) if listed else []
    # MUSE has splits such as forget and retain1.
    fitting = [split for split in splits if any(word in split for word in ("forget", "retain") if word in option)]
    return f"; choose a split with {option} {shlex.quote((fitting or splits)[0])}" if splits else ""
