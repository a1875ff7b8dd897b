"""Write a run's record: facts, id, chain, signature."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from expunge.attestation import facts, facts_generated
from expunge.attestation.canonical import ATTESTATION_ID, SIGNATURE, attestation_id, canonical
from expunge.attestation.paths import hashed
from expunge.attestation.read import fields_of, read_raw
from expunge.attestation.schema import SCHEMA_VERSION, Facts, Previous, Request
from expunge.attestation.schema_parts import Tasks
from expunge.attestation.signature import read_private_key, signature
from expunge.errors import InputError
from expunge.files import read_yaml, utc_now, write_text
from expunge.pipeline.prepare import reread_sets
from expunge.reveal_release.reveal.private_files import KEY, hash_key
from expunge.runs.folder import AUDIT, AUDIT_ROWS, VERDICT, Run

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ATTESTATION, EARLIER = "attestation.json", "attestations"
"""The newest record of a run, and the folder of those before it."""


@dataclass(frozen=True)
class AttestationDetails:
    """What a record says beside what was found.

    Attributes:
        request: the demand to forget; none: as the run's last record has it.
        follows: a record of another run that this one comes after.
        sign_with: the key of whoever stands for the record.
        tasks: of lm-evaluation-harness, that each model was asked.
    """

    request: Request | None = None
    follows: Previous | None = None
    sign_with: Ed25519PrivateKey | None = field(default=None, repr=False)
    tasks: Tasks | None = None


NO_DETAILS = AttestationDetails()


def read_details(request: Path | None = None, previous: Path | None = None, sign: Path | None = None) -> AttestationDetails:
    """Read and check what a user gives for a record, before anything is measured for it.

    Args:
        request: YAML with any of `id`, `received`, `legal_basis`, `reference`, `deadline`.
        previous: the record of another run.
        sign: an Ed25519 private key in PEM.

    Raises:
        InputError: a file is not what it should be.
    """
    return AttestationDetails(
        None if request is None else read_request(request),
        None if previous is None else Previous(path=str(previous), sha256=hashlib.sha256(read_raw(previous)[0]).hexdigest()),
        None if sign is None else read_private_key(sign),
    )


def read_request(path: Path) -> Request:
    """The request of a YAML file.

    Raises:
        InputError: it cannot be read, or a field is unknown or no text.
    """
    try:
        return Request.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = ", ".join(Request.model_fields)
        said = f"there is no such field; there are {known}" if first["type"] == "extra_forbidden" else "give a text, a date or a number"
        raise InputError(f"{path}: {name}: {said}") from error


def write_attestation(run: Run, details: AttestationDetails = NO_DETAILS) -> Path:
    """Write `attestation.json` into the folder of a run that was just audited; an earlier one moves to `attestations/`.

    The rows to forget are in it by HMACs only, whose key the run's folder holds, see `expunge.attestation.hmac_hashes`.

    Args:
        run: audited; whoever calls holds its lock.
        details: what was read before the audit.

    Returns:
        The record's path.

    Raises:
        InputError: the data has changed, or an earlier record there is none.
    """
    path, key = run.folder / ATTESTATION, hash_key(run.folder)
    earlier = fields_of(read_raw(path)[1], path) if path.exists() else None
    request = details.request or (Request.model_validate({}) if earlier is None else earlier.request)
    said = _facts(run, key, request, _kept(run), details).model_dump(mode="json")
    said[ATTESTATION_ID] = attestation_id(said)
    said[SIGNATURE] = None if details.sign_with is None else signature(said, details.sign_with)
    write_text(path, canonical(said).decode())
    return path


def _facts(run: Run, key: bytes, request: Request, previous: Previous | None, details: AttestationDetails) -> Facts:
    recipe, sets = run.recipe, reread_sets(run)
    metrics, attacks = facts.metrics(run.folder / AUDIT), facts.attacks(run.folder / VERDICT)
    measured = [path for path in (run.folder / AUDIT, run.folder / VERDICT) if path.exists()]
    files = {file.path: file for file in hashed(measured, run.folder)}
    return Facts(
        schema_version=SCHEMA_VERSION,
        created_utc=utc_now(),
        tool=facts.tool(),
        environment=facts.environment(run),
        request=request,
        not_given=[f"request.{name}" for name, value in request if value is None],
        key_sha256=hashed([run.folder / KEY])[0].sha256,
        recipe=facts.keyed([run.folder / "recipe.yaml"], key, run.folder)[0],
        reading=facts.reading(recipe),
        forget=facts.forget(recipe, sets.forget, key),
        counts=facts.counts(recipe, sets),
        excluded=facts.excluded(run, sets),
        retain=facts.retain(run, sets),
        self_generated=facts_generated.self_generated(run, key),
        self_made=hashed(facts_generated.self_made(run), run.folder),
        audit_sets=facts.audit_sets(recipe, key),
        base=facts.base(run),
        edit=facts.edit(run),
        method=facts_generated.method(recipe),
        hyperparameters=facts_generated.hyperparameters(recipe),
        seeds={"training": recipe.training.seed},
        rounds=facts_generated.rounds(run),
        stop_reason=facts_generated.stop_reason(run),
        threat_model=sorted({row.threat for row in attacks.rows if row.threat}) if attacks else [],
        audit=files[AUDIT],
        audit_rows=facts.keyed([path for name in AUDIT_ROWS if (path := run.folder / name).exists()], key, run.folder),
        verdict=files.get(VERDICT),
        metrics=metrics,
        attacks=attacks,
        tasks=details.tasks,
        not_tested=facts.not_tested(metrics, attacks),
        limitations=facts.limitations(run),
        previous=previous,
        follows=details.follows,
    )


def _kept(run: Run) -> Previous | None:
    """Keep the record that there is under a number of its own; where a kill came in between it is there already."""
    path, folder = run.folder / ATTESTATION, run.folder / EARLIER
    if not path.exists():
        return None
    folder.mkdir(exist_ok=True)
    text = path.read_text(encoding="utf-8")
    kept = sorted(folder.glob("*.json"))
    if not kept or kept[-1].read_text(encoding="utf-8") != text:
        kept.append(folder / f"{len(kept) + 1:04d}.json")
        write_text(kept[-1], text)
    return Previous(path=f"{EARLIER}/{kept[-1].name}", sha256=hashlib.sha256(text.encode()).hexdigest())
