"""The one form in which a record is written, hashed and signed (after RFC 8785, the JSON canonicalization scheme)."""

import hashlib
import json
from typing import Any, NoReturn

ATTESTATION_ID, SIGNATURE = "attestation_id", "signature"


def canonical(value: Any) -> bytes:
    """JSON in UTF-8: names in the order of their code points, nothing between tokens, only the escapes that JSON demands.

    It differs from RFC 8785 in numbers, which are as Python writes them (1.0 and 1e-05, where the RFC has 1 and 1e-5), and in names with
    characters above U+FFFF, which the RFC sorts by UTF-16 units.

    Args:
        value: of dicts, lists, texts, numbers, booleans and None.

    Raises:
        ValueError: a number is NaN or infinite, or a text holds half a surrogate pair.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse(raw: bytes) -> Any:
    """The value of JSON in UTF-8.

    Raises:
        ValueError: it is none, or nested too deeply to be read.
    """
    try:
        return json.loads(raw.decode(), parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def attestation_id(record: dict[str, Any]) -> str:
    """SHA-256 (hex) of a record's canonical form without its id and its signature."""
    return hashlib.sha256(canonical({name: value for name, value in record.items() if name not in (ATTESTATION_ID, SIGNATURE)})).hexdigest()


def signed_bytes(record: dict[str, Any]) -> bytes:
    """What a signature is of: a record's canonical form, id and all, without the signature."""
    return canonical({name: value for name, value in record.items() if name != SIGNATURE})


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
