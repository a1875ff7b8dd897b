"""Building blocks of the attestation's schema: hashes and files."""

from typing import Annotated

from pydantic import Field

from expunge.documents import Closed

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(Closed):
    """A part of an attestation. Unknown and missing fields are errors."""


class File(Part):
    """A file and the SHA-256 of its bytes."""

    path: str
    sha256: Hex


class KeyedFile(Part):
    """A file that may hold text to forget, and the HMAC of its bytes, see `expunge.attestation.hashes`."""

    path: str
    hmac: Hex
