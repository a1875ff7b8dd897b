"""Check an attestation offline: recompute every hash whose files are on this machine."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expunge.attestation.canonical import ATTESTATION_ID, SIGNATURE, attestation_id, canonical
from expunge.attestation.check_data import data_checks
from expunge.attestation.check_files import audit_checks, base_checks, control_checks, edit_checks, round_checks, task_file_checks
from expunge.attestation.checks import Check, differs, ok, unreachable
from expunge.attestation.merkle import merkle_root
from expunge.attestation.paths import path_below
from expunge.attestation.read import parse_attestation, read_raw
from expunge.attestation.schema import Attestation, Forget, Previous
from expunge.attestation.signature import is_signed, read_public_key
from expunge.attestation.write import EARLIER
from expunge.errors import InputError
from expunge.files import MAX_DOCUMENT_BYTES, open_regular, refuse_links
from expunge.runs.folder import INFO, Run


def verify(path: Path, public_key: Path | None = None) -> list[Check]:
    """Recompute every hash of an attestation.

    An attestation that does not match its own id is not checked further, because no field of it can be relied on.

    Args:
        path: the attestation. The run's files are searched beside it, data and models at the recorded paths, from the current folder.
        public_key: the public key (PEM file) that must have signed it; None: the key that the attestation names.

    Returns:
        The checks, in the order in which a reader would make them.

    Raises:
        InputError: if the file is not an attestation, the key is not a key, or an unchanged file does not have the form that a run writes.
    """
    expected_key = None if public_key is None else read_public_key(public_key)
    raw, document = read_raw(path)
    form_checks = list(_form_and_id(raw, document))
    if any(check.status == "differs" for check in form_checks):
        return form_checks
    attestation = parse_attestation(document, path)
    folder = _run_folder(path)
    if (folder / INFO).exists():
        refuse_links(folder)
    run = Run(folder)
    return [
        *form_checks,
        _signature(document, attestation, expected_key),
        *_chain(attestation, folder),
        _merkle(attestation.forget),
        *data_checks(attestation, run),
        *base_checks(attestation.base, run),
        *control_checks(attestation.control, attestation.base, run),
        *edit_checks(attestation.edit, run),
        *round_checks(attestation, run),
        *audit_checks(attestation, run),
        *task_file_checks(attestation.lm_eval),
    ]


def _run_folder(path: Path) -> Path:
    """Return the run folder of an attestation, which may be one of the earlier ones."""
    return path.parent.parent if path.parent.name == EARLIER else path.parent


def _form_and_id(raw: bytes, document: dict[str, Any]) -> Iterator[Check]:
    try:
        form, computed_id = canonical(document), attestation_id(document)
    except ValueError:
        # The document holds a number or a text that has no canonical form.
        form, computed_id = b"", None
    yield ok("canonical form") if form == raw else differs("canonical form", "its bytes are not the canonical form of its content")
    if computed_id == document[ATTESTATION_ID]:
        yield ok("attestation id")
    else:
        yield differs("attestation id", "the id is not the hash of its content")


def _signature(document: dict[str, Any], attestation: Attestation, expected_key: str | None) -> Check:
    if attestation.signature is None:
        return unreachable(SIGNATURE, "it has none") if expected_key is None else differs(SIGNATURE, "it has none")
    try:
        signed = is_signed(document)
    except InputError as error:
        return unreachable(SIGNATURE, str(error))
    if not signed:
        return differs(SIGNATURE, "it is not a signature of this attestation")
    public_key = attestation.signature.public_key
    if expected_key is None:
        return ok(SIGNATURE, f"by the key {public_key[:12]}… that the attestation names; check whose key it is with --key")
    return ok(SIGNATURE) if public_key == expected_key else differs(SIGNATURE, "it is by another key than the given one")


def _chain(attestation: Attestation, folder: Path) -> Iterator[Check]:
    """Check each earlier attestation against the hash that its successor names, each once however often it is named."""
    pending, checked = _predecessors(attestation, folder), set[tuple[Path | None, str]]()
    while pending:
        previous, named = pending.pop()
        if (named, previous.sha256) in checked:
            continue
        checked.add((named, previous.sha256))
        name = f"previous attestation {previous.path}"
        if named is None:
            yield differs(name, "its name leads out of the folder")
            continue
        path = _find_previous(previous, named)
        if path is None:
            yield differs(name, "its content has changed") if os.path.lexists(named) else unreachable(name, "not there")
            continue
        raw, document = read_raw(path)
        if any(check.status == "differs" for check in _form_and_id(raw, document)):
            yield differs(name, "it does not match its own id")
            continue
        yield ok(name)
        pending += _predecessors(parse_attestation(document, path), _run_folder(path))


def _predecessors(attestation: Attestation, folder: Path) -> list[tuple[Previous, Path | None]]:
    """Return the attestations that an attestation names, each with its path, or None if the path leads out of the run folder."""
    found: list[tuple[Previous, Path | None]] = []
    if attestation.previous is not None:
        found.append((attestation.previous, path_below(folder, attestation.previous.path)))
    if attestation.follows is not None:
        found.append((attestation.follows, Path(attestation.follows.path)))
    return found


def _find_previous(previous: Previous, path: Path) -> Path | None:
    """Return the current path of an earlier attestation: a later audit of its run moves it to the folder of earlier ones."""
    candidates = [path, *sorted((path.parent / EARLIER).glob("*.json"))]
    return next((file for file in candidates if _has_sha256(file, previous.sha256)), None)


def _has_sha256(path: Path, sha256: str) -> bool:
    try:
        with open_regular(path, MAX_DOCUMENT_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except InputError:
        return False


def _merkle(forget: Forget) -> Check:
    root = merkle_root([bytes.fromhex(record.hmac) for record in forget.records]).hex()
    return ok("Merkle root") if root == forget.merkle_root else differs("Merkle root", "it is not the root of the records' HMACs")
