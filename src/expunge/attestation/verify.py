"""Check a record offline: every hash in it that can be made again from what lies on this machine."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expunge.attestation.canonical import ATTESTATION_ID, SIGNATURE, attestation_id, canonical
from expunge.attestation.check_data import data_checks
from expunge.attestation.check_files import base_checks, edit_checks, measured_checks, round_checks, task_checks
from expunge.attestation.checks import Check, differs, ok, unreachable
from expunge.attestation.merkle import merkle_root
from expunge.attestation.read import fields_of, read_raw
from expunge.attestation.schema import Attestation, Forget, Previous
from expunge.attestation.signature import is_signed, read_public_key
from expunge.attestation.write import EARLIER
from expunge.errors import InputError
from expunge.runs.folder import Run


def verify(path: Path, public_key: Path | None = None) -> list[Check]:
    """Make every hash of a record again.

    A record that is not what its own id says is checked no further: what it names cannot be relied on.

    Args:
        path: of the record; the run's files are looked for beside it, data and models where the record says, from the current folder.
        public_key: PEM of the key that the record must be signed with; none: of a signature only that it is by the key that it names.

    Returns:
        The checks, in the order in which a reader would make them.

    Raises:
        InputError: the file is no attestation, the key is none, or a file as it was recorded is not what a run writes.
    """
    expected = None if public_key is None else read_public_key(public_key)
    raw, said = read_raw(path)
    own = list(_itself(raw, said))
    if any(check.status == "differs" for check in own):
        return own
    record = fields_of(said, path)
    folder = path.parent.parent if path.parent.name == EARLIER else path.parent
    run = Run(folder)
    return [
        *own,
        _signature(said, record, expected),
        *_chain(record, folder),
        _merkle(record.forget),
        *data_checks(record, run),
        *base_checks(record.base),
        *edit_checks(record.edit, run),
        *round_checks(record, run),
        *measured_checks(record, run),
        *task_checks(record.tasks),
    ]


def _itself(raw: bytes, said: dict[str, Any]) -> Iterator[Check]:
    try:
        form, found = canonical(said), attestation_id(said)
    except ValueError:
        # A number or a text that no record can hold.
        form, found = b"", None
    yield ok("canonical form") if form == raw else differs("canonical form", "its bytes are not the canonical form of its content")
    yield (ok("attestation id") if found == said[ATTESTATION_ID] else differs("attestation id", "the id is not the hash of its content"))


def _signature(said: dict[str, Any], record: Attestation, expected: str | None) -> Check:
    if record.signature is None:
        return unreachable(SIGNATURE, "it has none") if expected is None else differs(SIGNATURE, "it has none")
    try:
        signed = is_signed(said)
    except InputError as error:
        return unreachable(SIGNATURE, str(error))
    if not signed:
        return differs(SIGNATURE, "it is not of this record")
    if expected is None:
        return ok(SIGNATURE, f"by the key that the record names, {record.signature.public_key[:12]}…: --key says whether that is theirs")
    return ok(SIGNATURE) if record.signature.public_key == expected else differs(SIGNATURE, "it is by another key than the one given")


def _chain(record: Attestation, folder: Path) -> Iterator[Check]:
    """The records before this one, each by the hash that the one after it names."""
    left = [(previous, root) for previous, root in ((record.previous, folder), (record.follows, Path())) if previous is not None]
    while left:
        previous, root = left.pop()
        name = f"previous attestation {previous.path}"
        found = _found(previous, root)
        if found is None:
            there = (root / previous.path).exists()
            yield differs(name, "it is another one than was followed") if there else unreachable(name, "not there")
            continue
        raw, said = read_raw(found)
        if any(check.status == "differs" for check in _itself(raw, said)):
            yield differs(name, "it is not what its own id says")
            continue
        yield ok(name)
        earlier, home = fields_of(said, found), found.parent.parent if found.parent.name == EARLIER else found.parent
        left += [(one, at) for one, at in ((earlier.previous, home), (earlier.follows, Path())) if one is not None]


def _found(previous: Previous, root: Path) -> Path | None:
    """Where a record lies now: a run that was audited again since keeps its earlier ones in a folder."""
    path = root / previous.path
    candidates = [path, *sorted((path.parent / EARLIER).glob("*.json"))]
    return next((one for one in candidates if one.is_file() and hashlib.sha256(one.read_bytes()).hexdigest() == previous.sha256), None)


def _merkle(forget: Forget) -> Check:
    root = merkle_root([bytes.fromhex(row.hmac) for row in forget.rows]).hex()
    return ok("Merkle root") if root == forget.merkle_root else differs("Merkle root", "it is not that of the rows' HMACs")
