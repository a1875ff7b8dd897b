"""Hashes of what holds what is to be forgotten: HMAC-SHA256 with the run's own key, as a short text could be guessed from a bare hash.

The key is random, lies in the run's folder as `key` (mode 0600) and is never in a record. To check one row an auditor needs that key, the
row as `read_records` reads it, and `row_hmac`; whoever has the record alone learns from its HMACs how many rows there are and no more. Once
the key is deleted (`expunge purge`) nobody can tell any longer which texts they were of.
"""

import hashlib
import hmac
from pathlib import Path

from expunge.attestation.canonical import canonical
from expunge.data.records import Record, content

ROW, FILE, PROMPTS = b"expunge row\0", b"expunge file\0", b"expunge prompts\0"
"""What an HMAC is of comes first, so that one of a file cannot be passed off as one of a row."""


def row_hmac(record: Record, key: bytes) -> str:
    """HMAC (hex) of what a record says; its line and an id that is only its line are not part of that."""
    return _hmac(ROW, canonical(content(record)), key)


def file_hmac(path: Path, key: bytes) -> str:
    """HMAC (hex) of a file's bytes."""
    keyed = hmac.new(key, FILE, hashlib.sha256)
    with path.open("rb") as file:
        while block := file.read(2**20):
            keyed.update(block)
    return keyed.hexdigest()


def prompts_hmac(prompts: list[str], key: bytes) -> str:
    """HMAC (hex) of a list of prompts."""
    return _hmac(PROMPTS, canonical(prompts), key)


def _hmac(kind: bytes, said: bytes, key: bytes) -> str:
    return hmac.new(key, kind + said, hashlib.sha256).hexdigest()
