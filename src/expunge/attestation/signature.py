"""Sign an attestation and check its signature: Ed25519 (RFC 8032), with the optional package `cryptography`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.attestation.canonical import SIGNATURE, signed_bytes
from expunge.errors import InputError
from expunge.files import open_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "Ed25519"
MAX_KEY_BYTES = 2**16
MAKE_KEY = "make one with: openssl genpkey -algorithm ed25519"
MAKE_PUBLIC_KEY = "make it from the private key with: openssl pkey -in KEY.pem -pubout"
MISSING = 'signatures need the package cryptography; pip install "expunge[sign]"'


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read the private key to sign with.

    Raises:
        InputError: if the file is not an unencrypted Ed25519 key in PEM format, or `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise InputError(MISSING) from error
    try:
        key = load_pem_private_key(_read(path), password=None)
    # load_pem_private_key raises a TypeError for an encrypted key.
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: not an unencrypted private key in PEM format; {MAKE_KEY}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: not an Ed25519 key; {MAKE_KEY}")
    return key


def read_public_key(path: Path) -> str:
    """Read the public key (hex) that must have signed.

    Raises:
        InputError: if the file is not an Ed25519 public key in PEM format, or `cryptography` is not installed.
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
        raise InputError(f"{path}: not a public key in PEM format; {MAKE_PUBLIC_KEY}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path}: not an Ed25519 key")
    return key.public_bytes_raw().hex()


def signature(document: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, str]:
    """Return the field `signature` of an attestation that already has its id."""
    public = key.public_key().public_bytes_raw().hex()
    return {"algorithm": ALGORITHM, "public_key": public, "value": key.sign(signed_bytes(document)).hex()}


def is_signed(document: dict[str, Any]) -> bool:
    """Return whether an attestation is signed by the key that it names.

    Raises:
        InputError: if `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise InputError(MISSING) from error
    field = document[SIGNATURE]
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(field["public_key"])).verify(bytes.fromhex(field["value"]), signed_bytes(document))
    # from_public_bytes raises a ValueError if the 32 bytes are not a key.
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(path: Path) -> bytes:
    with open_regular(path, MAX_KEY_BYTES, follow=True) as file:
        return file.read()
