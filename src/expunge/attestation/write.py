"""Write a run's attestation: collect the facts, link the earlier attestation, compute the id, sign."""

import hashlib
from pathlib import Path

from expunge.attestation.canonical import ATTESTATION_ID, SIGNATURE, attestation_id, canonical
from expunge.attestation.details import NO_DETAILS, AttestationDetails
from expunge.attestation.facts import collect_facts
from expunge.attestation.read import parse_attestation, read_raw
from expunge.attestation.schema import Attestation, Previous, Request
from expunge.attestation.signature import signature
from expunge.errors import Damaged
from expunge.files import make_folder, write_text
from expunge.reveal_release.reveal.private_files import hash_key
from expunge.runs.edit_record import check_edit, edit_record
from expunge.runs.folder import INFO, Run
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
        InputError: if the edit is damaged, or the earlier attestation cannot be read or is of another edit; see `check_chain`.
    """
    path, key = run.folder / ATTESTATION, hash_key(run.folder)
    earlier = check_chain(run)
    # The audit took a while, and the attestation must not name files that changed meanwhile.
    check_edit(run, run.info)
    request = details.request or (Request.model_validate({}) if earlier is None else earlier.request)
    document = collect_facts(run, splits, key, request, _archive(run), details).model_dump(mode="json")
    document[ATTESTATION_ID] = attestation_id(document)
    document[SIGNATURE] = None if details.sign_with is None else signature(document, details.sign_with)
    write_text(path, canonical(document).decode())
    return path


def check_chain(run: OpenedRun) -> Attestation | None:
    """Return the run's last attestation, if there is one. Call it before an audit, whose attestation will follow that one.

    Raises:
        InputError: it cannot be read; or it names another edit, although nothing wrote a new edit since.
    """
    path = run.folder / ATTESTATION
    if not path.exists():
        return None
    earlier = parse_attestation(read_raw(path)[1], path)
    record = edit_record(run.folder, run.info)
    if earlier.edit.written == record.written and earlier.edit.manifest != record.manifest:
        raise Damaged(
            f"{run.folder / INFO}: records another edit (manifest {record.manifest[:8]}…) than {ATTESTATION} names "
            f"({earlier.edit.manifest[:8]}…), although no training and no undo wrote one since; restore the run from a copy"
        )
    return earlier


def _archive(run: Run) -> Previous | None:
    """Copy the run's attestation to a numbered file, unless an interrupted call already did so."""
    path, folder = run.folder / ATTESTATION, run.folder / EARLIER
    if not path.exists():
        return None
    make_folder(folder)
    text = path.read_text(encoding="utf-8")
    archived = sorted(folder.glob("*.json"))
    if not archived or archived[-1].read_text(encoding="utf-8") != text:
        archived.append(folder / f"{len(archived) + 1:04d}.json")
        write_text(archived[-1], text)
    return Previous(path=f"{EARLIER}/{archived[-1].name}", sha256=hashlib.sha256(text.encode()).hexdigest())
