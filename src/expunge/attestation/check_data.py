"""Checks of a record against the data: files, rows by their HMACs, what the model itself made."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from expunge.attestation.checks import Check, differs, file_check, keyed_check, ok, same, unreachable
from expunge.attestation.hmac_hashes import prompts_hmac, row_hmac
from expunge.attestation.paths import data_files, name_in
from expunge.attestation.read import as_written
from expunge.attestation.schema import Attestation, KeyedFile
from expunge.attestation.schema_parts import File
from expunge.data.fields import quoted
from expunge.data.records import Record, data_hash, read_records
from expunge.pipeline.self_generated import read_retain
from expunge.reveal_release.reveal.private_files import KEY, hash_key
from expunge.reveal_release.reveal.select import read_revealed
from expunge.runs.folder import RETAIN, Run

FORGET_ROWS, RETAIN_ROWS = "forget rows", "retain rows"


def run_key(record: Attestation, run: Run) -> bytes | None:
    """The key of the run's HMACs, if it is there and the one that they were made with."""
    path = run.folder / KEY
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != record.key_sha256:
        return None
    return as_written(path, lambda: hash_key(run.folder))


def data_checks(record: Attestation, run: Run) -> Iterator[Check]:
    """Key, recipe, forget and retain set, and the audit's further sets."""
    key = run_key(record, run)
    if key is not None:
        yield ok(KEY)
    elif (run.folder / KEY).is_file():
        yield differs(KEY, "it is not the one that the HMACs were made with")
    else:
        yield unreachable(KEY, "without it no row to forget can be checked")
    yield keyed_check(record.recipe.path, record.recipe, run.folder / record.recipe.path, key)
    yield from _forget(record, run, key)
    yield from _retain(record, run)
    for source in record.audit_sets:
        for file in source.files:
            yield keyed_check(file.path, file, Path(file.path), key)


def _forget(record: Attestation, run: Run, key: bytes | None) -> Iterator[Check]:
    checks = [keyed_check(file.path, file, Path(file.path), key) for file in record.forget.files]
    checks += [keyed_check(made.file.path, made.file, run.folder / made.file.path, key) for made in record.self_generated]
    yield from checks
    if key is None or not checks or not all(check.status == "ok" for check in checks):
        yield unreachable(FORGET_ROWS, "the run's key, or a file as it was, is not there")
        return
    for made in record.self_generated:
        path = run.folder / made.file.path
        found = as_written(path, lambda path=path: prompts_hmac([one.prompt for one in read_revealed(path.parent)], key))
        yield same(f"prompts of {made.file.path}", found, made.prompts_hmac, "they are not those recorded")
    source = record.forget.rows[0].file
    if record.self_generated:
        path = run.folder / source
        yield as_written(path, lambda: _rows(record, read_revealed(path.parent), key))
    elif _holds(source, record.forget.files):
        yield _rows(record, read_records(source, record.reading.map, record.reading.split), key)
    else:
        yield differs(FORGET_ROWS, "their source has other files than those recorded")


def _rows(record: Attestation, records: list[Record], key: bytes) -> Check:
    rows = record.forget.rows
    if len(rows) != len(records):
        return differs(FORGET_ROWS, f"there are {len(records)}, and {len(rows)} are recorded")
    for row, found in zip(rows, records, strict=True):
        if (row.id, row.line, row.hmac) != (found.id, found.line, row_hmac(found, key)):
            return differs(FORGET_ROWS, f"{quoted(row.file)}: record {quoted(row.id)} is not what its HMAC is of")
    return ok(FORGET_ROWS, f"{len(rows)} rows")


def _retain(record: Attestation, run: Run) -> Iterator[Check]:
    retain = record.retain
    files = [file_check(file.path, file, Path(file.path)) for file in retain.files]
    made = [file_check(file.path, file, run.folder / file.path) for file in record.self_made]
    yield from (*files, *made)
    if files and all(check.status == "ok" for check in files):
        if not _holds(retain.source, retain.files):
            yield differs(RETAIN_ROWS, "their source has other files than those recorded")
            return
        found = _hash_and_count(read_records(retain.source, record.reading.map, record.reading.split))
    elif any(check.name == RETAIN and check.status == "ok" for check in made):
        found = as_written(run.folder / RETAIN, lambda: _hash_and_count(read_retain(run)))
    else:
        yield unreachable(RETAIN_ROWS, "no file of theirs, as it was, is there")
        return
    yield same(RETAIN_ROWS, found, (retain.sha256, retain.count), "they are not those recorded")


def _hash_and_count(records: list[Record]) -> tuple[str, int]:
    return data_hash(records), len(records)


def _holds(source: str, files: Sequence[File | KeyedFile]) -> bool:
    """Whether a source is of these files and no others: a hub data set, which is none of them, is not asked for here."""
    return [name_in(path, None) for path in data_files(source)] == [file.path for file in files]
