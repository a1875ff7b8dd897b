"""Check an attestation against the data: key, recipe, data files, and the HMAC of each forget record."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from expunge.attestation.checks import Check, differs, file_check, hmac_check, ok, same, unreachable
from expunge.attestation.hashes import prompts_hmac, record_hmac
from expunge.attestation.paths import has_exactly, path_below
from expunge.attestation.read import read_untrusted
from expunge.attestation.schema import Attestation
from expunge.attestation.schema_parts import File, KeyedFile
from expunge.data.records import Record, data_hash, read_records
from expunge.errors import InputError, quoted
from expunge.files import open_regular
from expunge.reveal_release.reveal.private_files import KEY, hash_key
from expunge.runs.folder import RETAIN, Run
from expunge.runs.generated import read_answers, read_revealed

FORGET_RECORDS, RETAIN_RECORDS = "forget records", "retain records"
MAX_KEY_BYTES = 1000


def run_key(attestation: Attestation, run: Run) -> bytes | None:
    """Return the key of the HMACs, or None if the run folder does not have it."""
    path = run.folder / KEY
    try:
        with open_regular(path, MAX_KEY_BYTES) as file:
            content = file.read()
    except InputError:
        return None
    if hashlib.sha256(content).hexdigest() != attestation.key_sha256:
        return None
    return read_untrusted(path, lambda: hash_key(run.folder))


def data_checks(attestation: Attestation, run: Run) -> Iterator[Check]:
    """Check key, recipe, forget set, retain set and the further audit sets."""
    key = run_key(attestation, run)
    if key is not None:
        yield ok(KEY)
    elif (run.folder / KEY).is_file():
        yield differs(KEY, "it is not the key of the HMACs")
    else:
        yield unreachable(KEY, "without it no forget record can be checked")
    yield hmac_check(attestation.recipe.path, attestation.recipe, path_below(run.folder, attestation.recipe.path), key)
    yield from _forget(attestation, run, key)
    yield from _retain(attestation, run)
    for source in attestation.audit_sets:
        for file in source.files:
            yield hmac_check(file.path, file, Path(file.path), key)


def _forget(attestation: Attestation, run: Run, key: bytes | None) -> Iterator[Check]:
    checks = [hmac_check(file.path, file, Path(file.path), key) for file in attestation.forget.files]
    revealed_files = [revealed.file for revealed in attestation.revealed]
    checks += [hmac_check(file.path, file, path_below(run.folder, file.path), key) for file in revealed_files]
    yield from checks
    if key is None or not checks or not all(check.status == "ok" for check in checks):
        yield unreachable(FORGET_RECORDS, "the run's key or an unchanged data file is missing")
        return
    for revealed in attestation.revealed:
        path = run.folder / revealed.file.path
        hmac = read_untrusted(path, lambda path=path: prompts_hmac([record.prompt for record in read_revealed(path.parent)], key))
        yield same(f"prompts of {revealed.file.path}", hmac, revealed.prompts_hmac, "they are not the recorded ones")
    source = attestation.forget.records[0].file
    if attestation.revealed:
        if source not in {file.path for file in revealed_files}:
            yield differs(FORGET_RECORDS, "their source is not one of the revealed files")
            return
        path = run.folder / source
        yield read_untrusted(path, lambda: _forget_records(attestation, read_revealed(path.parent), key))
    elif _has_exactly(source, attestation.forget.files):
        reading = attestation.reading
        field_map = reading.map if reading.forget_map is None else reading.forget_map
        yield _forget_records(attestation, read_records(source, field_map, reading.forget_split or reading.split), key)
    else:
        yield differs(FORGET_RECORDS, "their source has other files than the recorded ones")


def _forget_records(attestation: Attestation, records: list[Record], key: bytes) -> Check:
    recorded = attestation.forget.records
    if len(recorded) != len(records):
        return differs(FORGET_RECORDS, f"there are {len(records)}, the attestation has {len(recorded)}")
    for expected, record in zip(recorded, records, strict=True):
        if (expected.id, expected.line, expected.hmac) != (record.id, record.line, record_hmac(record, key)):
            return differs(FORGET_RECORDS, f"{quoted(expected.file)}: record {quoted(expected.id)} does not match its HMAC")
    return ok(FORGET_RECORDS, f"{len(recorded)} records")


def _retain(attestation: Attestation, run: Run) -> Iterator[Check]:
    retain = attestation.retain
    files = [file_check(file.path, file, Path(file.path)) for file in retain.files]
    generated = [file_check(file.path, file, path_below(run.folder, file.path)) for file in attestation.self_generated]
    yield from (*files, *generated)
    if files and all(check.status == "ok" for check in files):
        if not _has_exactly(retain.source, retain.files):
            yield differs(RETAIN_RECORDS, "their source has other files than the recorded ones")
            return
        reading = attestation.reading
        field_map = reading.map if reading.retain_map is None else reading.retain_map
        actual = _hash_and_count(read_records(retain.source, field_map, reading.retain_split or reading.split))
    elif any(check.name == RETAIN and check.status == "ok" for check in generated):
        actual = read_untrusted(run.folder / RETAIN, lambda: _hash_and_count(read_answers(run.folder / RETAIN)))
    else:
        yield unreachable(RETAIN_RECORDS, "no unchanged file with them is there")
        return
    yield same(RETAIN_RECORDS, actual, (retain.sha256, retain.count), "they are not the recorded ones")


def _hash_and_count(records: list[Record]) -> tuple[str, int]:
    return data_hash(records), len(records)


def _has_exactly(source: str, files: Sequence[File | KeyedFile]) -> bool:
    return has_exactly(source, [file.path for file in files])
