"""Write a run's attestation: collect the facts, link the earlier attestation, compute the id, sign."""

import hashlib
from pathlib import Path

from expunge.attestation.canonical import ATTESTATION_ID, SIGNATURE, attestation_id, canonical
from expunge.attestation.details import NO_DETAILS, AttestationDetails
from expunge.attestation.facts import collect_facts
from expunge.attestation.read import parse_attestation, read_raw
from expunge.attestation.schema import Previous, Request
from expunge.attestation.signature import signature
from expunge.files import write_text
from expunge.reveal_release.reveal.private_files import hash_key
from expunge.runs.folder import Run
from expunge.runs.loaded import OpenedRun
from expunge.runs.splits import Splits

ATTESTATION, EARLIER = "attestation.json", "attestations"
"""The file of a run's newest attestation, and the folder of the earlier ones."""


def write_attestation(run: OpenedRun, splits: Splits, details: AttestationDetails = NO_DETAILS) -> Path:
    """Write `attestation.json` of a run that was just audited, and return its path. An earlier one moves to `attestations/`.

    The attestation contains text to forget only as HMACs. Their key is in the run folder, see `expunge.attestation.hashes`.

    Args:
        run: an audited run; the caller holds its lock.
        splits: the run's records, as the audit read them.
        details: what the user adds, read before the audit.

    Raises:
        InputError: if the earlier attestation cannot be read.
    """
    path, key = run.folder / ATTESTATION, hash_key(run.folder)
    earlier = parse_attestation(read_raw(path)[1], path) if path.exists() else None
    request = details.request or (Request.model_validate({}) if earlier is None else earlier.request)
    document = collect_facts(run, splits, key, request, _archive(run), details).model_dump(mode="json")
    document[ATTESTATION_ID] = attestation_id(document)
    document[SIGNATURE] = None if details.sign_with is None else signature(document, details.sign_with)
    write_text(path, canonical(document).decode())
    return path


def _archive(run: Run) -> Previous | None:
    """Copy the run's attestation to a numbered file, unless an interrupted call already did so."""
    path, folder = run.folder / ATTESTATION, run.folder / EARLIER
    if not path.exists():
        return None
    folder.mkdir(exist_ok=True)
    text = path.read_text(encoding="utf-8")
    archived = sorted(folder.glob("*.json"))
    if not archived or archived[-1].read_text(encoding="utf-8") != text:
        archived.append(folder / f"{len(archived) + 1:04d}.json")
        write_text(archived[-1], text)
    return Previous(path=f"{EARLIER}/{archived[-1].name}", sha256=hashlib.sha256(text.encode()).hexdigest())
