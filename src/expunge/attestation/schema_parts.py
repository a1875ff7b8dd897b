"""Building blocks of the attestation's schema: hashes, files, measured numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of an attestation. Unknown and missing fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class File(Part):
    """A file and the SHA-256 of its bytes."""

    path: str
    sha256: Hex


class KeyedFile(Part):
    """A file that may hold text to forget, and the HMAC of its bytes, see `expunge.attestation.hashes`."""

    path: str
    hmac: Hex


class Figure(Part):
    """A number, the count of records behind it, and its 95 % interval if it has one."""

    value: float
    n: int
    ci95: tuple[float, float] | None


Figures = dict[str, dict[str, Figure]]
"""{set: {metric: figure}}."""
