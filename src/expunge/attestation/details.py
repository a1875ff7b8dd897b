"""Read what the user adds to an attestation: the request to forget, an earlier attestation, a signing key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from expunge.attestation.read import read_raw
from expunge.attestation.schema import Previous, Request
from expunge.attestation.schema_audit import LmEval
from expunge.attestation.signature import read_private_key
from expunge.documents import read_yaml
from expunge.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class AttestationDetails:
    """Content of an attestation that does not come from the run folder.

    Attributes:
        request: the request to forget; None: the request of the run's last attestation.
        follows: an attestation of another run, which this one continues.
        sign_with: the private key to sign with; None: no signature.
        lm_eval: the lm-eval tasks of the audit.
    """

    request: Request | None = None
    follows: Previous | None = None
    sign_with: Ed25519PrivateKey | None = field(default=None, repr=False)
    lm_eval: LmEval | None = None


NO_DETAILS = AttestationDetails()


def read_details(request: Path | None = None, previous: Path | None = None, sign: Path | None = None) -> AttestationDetails:
    """Read and check the user's files. Call it before the audit, so that a faulty file is reported at once.

    Args:
        request: YAML with any of `id`, `received`, `legal_basis`, `reference`, `deadline`.
        previous: the attestation of another run.
        sign: an Ed25519 private key in PEM format.

    Raises:
        InputError: if a file cannot be read or has the wrong content.
    """
    return AttestationDetails(
        None if request is None else read_request(request),
        None if previous is None else Previous(path=str(previous), sha256=hashlib.sha256(read_raw(previous)[0]).hexdigest()),
        None if sign is None else read_private_key(sign),
    )


def read_request(path: Path) -> Request:
    """Read the request to forget from a YAML file.

    Raises:
        InputError: if the file cannot be read, a field is unknown, or a value is not a text.
    """
    try:
        return Request.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = ", ".join(Request.model_fields)
        problem = f"unknown field; known fields: {known}" if first["type"] == "extra_forbidden" else "give a text, a date or a number"
        raise InputError(f"{path}: {name}: {problem}") from error
