"""Hashes of files (SHA-256), and of text to forget (HMAC-SHA256 with the run's key).

A short text could be guessed from its plain hash, so everything that may hold text to forget gets an HMAC instead. The key is random and
lies in the run folder as `key` (mode 0600). It is never part of an attestation. An auditor needs the key, the record as `read_records`
returns it, and `record_hmac` to check one record. Without the key the HMACs reveal only the number of records. Once `expunge purge`
deleted the key, nobody can link the HMACs to texts any more.
"""

import hashlib
import hmac
from io import BufferedReader
from pathlib import Path

from expunge.attestation.canonical import canonical
from expunge.attestation.paths import name_in
from expunge.attestation.schema_parts import File, KeyedFile
from expunge.data.records import Record, content
from expunge.files import open_regular
from expunge.models.file_hashes import sha256_once

RECORD, FILE, PROMPTS = b"expunge row\0", b"expunge file\0", b"expunge prompts\0"
"""Each HMAC starts with the kind of its content, so that the HMAC of a file cannot pass for that of a record."""


def record_hmac(record: Record, key: bytes) -> str:
    """Return the HMAC (hex) of a record's content. Its line, and an id made from the line, are not part of the content."""
    return _hmac(RECORD, canonical(content(record)), key)


def file_hmac(path: Path, key: bytes) -> str:
    """Return the HMAC (hex) of a file's bytes."""
    with open_regular(path, follow=True) as file:
        return bytes_hmac(file, key)


def bytes_hmac(file: BufferedReader, key: bytes) -> str:
    """Return the HMAC (hex) of the bytes of an open file."""
    state = hmac.new(key, FILE, hashlib.sha256)
    while block := file.read(2**20):
        state.update(block)
    return state.hexdigest()


def prompts_hmac(prompts: list[str], key: bytes) -> str:
    """Return the HMAC (hex) of a list of prompts."""
    return _hmac(PROMPTS, canonical(prompts), key)


def hash_files(paths: list[Path], root: Path | None = None) -> list[File]:
    """Return the files with their SHA-256, named relative to the folder `root` (None: named as given)."""
    return [File(path=name_in(path, root), sha256=sha256_once(path)) for path in paths]


def hmac_files(paths: list[Path], key: bytes, root: Path | None = None) -> list[KeyedFile]:
    """Return the files with their HMACs, named as by `hash_files`."""
    return [KeyedFile(path=name_in(path, root), hmac=file_hmac(path, key)) for path in paths]


def _hmac(kind: bytes, message: bytes, key: bytes) -> str:
    return hmac.new(key, kind + message, hashlib.sha256).hexdigest()
