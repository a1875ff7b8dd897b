"""Canonical JSON (after RFC 8785): the bytes of an attestation that are written, hashed and signed."""

import hashlib
import json
from typing import Any

from expunge.documents import parse_json
from expunge.errors import InputError

MAX_DIGITS = 1000
"""Most digits of an integer that is read."""
ATTESTATION_ID, SIGNATURE = "attestation_id", "signature"


def canonical(value: Any) -> bytes:
    """Return a value as JSON in UTF-8 with sorted names, no white space between tokens, and only the escapes that JSON requires.

    There are two differences from RFC 8785. Numbers are written as Python writes them: 1.0 and 1e-05, where the RFC has 1 and 1e-5.
    Names are sorted by code point, where the RFC sorts by UTF-16 unit; the order differs only for characters above U+FFFF.

    Args:
        value: of dicts, lists, texts, numbers, booleans and None.

    Raises:
        ValueError: if a number is NaN or infinite, or a text holds an unpaired surrogate.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse(raw: bytes) -> Any:
    """Return the value of JSON in UTF-8.

    Raises:
        ValueError: if it is not JSON, or nested too deeply to be read.
    """
    try:
        return parse_json(raw.decode(), "it", max_digits=MAX_DIGITS)
    except InputError as error:
        raise ValueError(str(error).removeprefix("it: ")) from error


def attestation_id(document: dict[str, Any]) -> str:
    """Return the SHA-256 (hex) of the canonical form without id and signature."""
    content = {name: value for name, value in document.items() if name not in (ATTESTATION_ID, SIGNATURE)}
    return hashlib.sha256(canonical(content)).hexdigest()


def signed_bytes(document: dict[str, Any]) -> bytes:
    """Return the bytes that a signature covers: the canonical form with the id, without the signature."""
    return canonical({name: value for name, value in document.items() if name != SIGNATURE})
