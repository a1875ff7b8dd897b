"""Who stands for a record: an Ed25519 signature (RFC 8032), made and checked with the optional package `cryptography`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.attestation.canonical import SIGNATURE, signed_bytes
from expunge.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "Ed25519"
MISSING = 'signatures need the package cryptography; pip install "expunge[sign]"'


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """The key that a user signs with.

    Raises:
        InputError: the file is no unencrypted Ed25519 key in PEM, or `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise InputError(MISSING) from error
    try:
        key = load_pem_private_key(_read(path), password=None)
    # TypeError: it is encrypted.
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no unencrypted private key in PEM; make one with: openssl genpkey -algorithm ed25519") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: is not an Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
    return key


def read_public_key(path: Path) -> str:
    """The key (hex) that a signature is expected to be by.

    Raises:
        InputError: the file is no Ed25519 public key in PEM, or `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise InputError(MISSING) from error
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no public key in PEM; of a private one it is made with: openssl pkey -in KEY.pem -pubout") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path}: is not an Ed25519 key")
    return key.public_bytes_raw().hex()


def signature(record: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, str]:
    """A record's field `signature`; the record has its id already."""
    public = key.public_key().public_bytes_raw().hex()
    return {"algorithm": ALGORITHM, "public_key": public, "value": key.sign(signed_bytes(record)).hex()}


def is_signed(record: dict[str, Any]) -> bool:
    """Whether a record's signature is by the key that it names.

    Raises:
        InputError: `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise InputError(MISSING) from error
    said = record[SIGNATURE]
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(said["public_key"])).verify(bytes.fromhex(said["value"]), signed_bytes(record))
    # ValueError: 32 bytes that are no key.
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
