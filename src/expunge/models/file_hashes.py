"""Hash each large file once: in this process, and, through a file in the user's cache, in all later ones.

A file is known again by its path, device, inode and size and by two times. A program can set the time of the last change of the content
back, but not that of the last change of the inode. A file that changed less than `SETTLED_NS` ago could change once more without a new
time, so its hash is not remembered. On Windows, which has no time of the inode, nothing is remembered.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from expunge.documents import Closed, checked, parse_json
from expunge.errors import ExpungeError, InputError, quoted
from expunge.files import cache_dir, file_sha256, lock_file, make_folder, open_regular, read_cached, write_cached
from expunge.models.tensor_files import stored_tensors

STORE = "hashes.json"
"""File in the cache folder that holds the remembered hashes."""
SETTLED_NS = 3 * 10**9
"""A file younger than this could change once more without a new time stamp, so its hash is not remembered."""
LARGE = 2**20
"""Smaller files, in bytes, are hashed again by each process: that is faster than to write down their hash."""
MOST_FILES, MOST_MODELS = 4000, 400
"""The most entries in the cache; the oldest ones are dropped."""
BLOCK = 2**22

Stamp = tuple[str, int, int, int, int, int]
TensorFacts = list[str]
"""Name, shape, dtype and SHA-256 of a tensor's bytes."""


class _FileHash(Closed):
    """The hash of a file with a stamp, whose numbers stand in one text because they have more digits than JSON should."""

    stamp: str
    sha256: str


class _TensorsHash(Closed):
    """The hash of the tensors in files, which are given by their hashes: this holds wherever the files are."""

    files: list[str]
    sha256: str


class _Store(Closed):
    """What the cache remembers, by absolute path: of files, and of the models that they belong to."""

    files: dict[str, _FileHash] = Field(default_factory=dict)
    models: dict[str, _TensorsHash] = Field(default_factory=dict)


_files: dict[Stamp, str] = {}
_tensors: dict[tuple[Stamp, ...], str] = {}


def stamp(path: Path) -> Stamp:
    """Return what changes whenever a file changes."""
    facts = path.stat()
    return str(path.absolute()), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def sha256_once(path: Path) -> str:
    """Return the SHA-256 (hex) of a file. It is computed once, unless the file changes, see this module's first lines."""
    before = stamp(path)
    known = _files.get(before) or _stored_file(_read() if _is_large([before]) else _Store(), before)
    if known is None or os.name == "nt":
        known = file_sha256(path)
        if not _settled([before], [path]):
            return known
        if _is_large([before]):
            _remember({before: known})
    _files[before] = known
    return known


def tensors_sha256_once(model: Path, files: Sequence[Path]) -> str:
    """Return the hash of all tensors in a model's files: their names, shapes, dtypes and bytes, however they are spread over the files.

    Args:
        model: the folder or file of the model, under which the hash is remembered.
        files: safetensors or GGUF files; those that are read are hashed as a whole in the same pass, for `sha256_once`.

    Raises:
        InputError: a file is damaged, or two of them have a tensor of the same name.
    """
    before = tuple(stamp(path) for path in files)
    known = _tensors.get(before) or _stored_tensors(model, before)
    if known is None or os.name == "nt":
        hashed = _hash_files(files)
        known = combined_sha256([facts for _, tensors in hashed for facts in tensors], model)
        if not _settled(before, files):
            return known
        of_files = {one: sha256 for one, (sha256, _) in zip(before, hashed, strict=True)}
        _files.update(of_files)
        if _is_large(before):
            _remember(of_files, {str(model.absolute()): _TensorsHash(files=sorted(of_files.values()), sha256=known)})
    _tensors[before] = known
    return known


def models_with(sha256: str) -> list[Path]:
    """Return the places of the models whose tensors had a hash when they were last loaded, the latest first."""
    return [Path(path) for path, known in reversed(_read().models.items()) if known.sha256 == sha256]


def hash_tensors(path: Path) -> tuple[str, list[TensorFacts]]:
    """Read a file once; return its SHA-256, and the name, shape, dtype and SHA-256 of each tensor in it."""
    tensors, whole = stored_tensors(path), hashlib.sha256()
    facts: list[TensorFacts] = []
    # hashlib releases the interpreter's lock, so the two digests of a block are computed at the same time.
    with open_regular(path, follow=True) as file, ThreadPoolExecutor(1) as other:

        def blocks(end: int) -> Iterator[bytes]:
            while block := file.read(min(BLOCK, end - file.tell())):
                yield block

        for tensor in tensors:
            for block in blocks(tensor.begin):
                whole.update(block)
            digest = hashlib.sha256()
            for block in blocks(tensor.end):
                done = other.submit(whole.update, block)
                digest.update(block)
                done.result()
            facts.append([tensor.name, str(tensor.shape), tensor.dtype, digest.hexdigest()])
        for block in blocks(path.stat().st_size):
            whole.update(block)
    return whole.hexdigest(), facts


def combined_sha256(facts: Sequence[TensorFacts], model: Path) -> str:
    """Return the hash of the facts of a model's tensors, in any order.

    Raises:
        InputError: two tensors have one name, so that the order of the files would decide which one counts.
    """
    names = [name for name, *_ in facts]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{model}: tensor {quoted(twice)} is in two of its files; remove one of them")
    return hashlib.sha256(json.dumps(sorted(facts)).encode()).hexdigest()


def _hash_files(files: Sequence[Path]) -> list[tuple[str, list[TensorFacts]]]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(hash_tensors, files))


def _settled(before: Sequence[Stamp], files: Sequence[Path]) -> bool:
    """Return whether files are as they were, and have been for long enough to notice a further change."""
    now = time.time_ns()
    return all(stamp(path) == one and now - one[-1] >= SETTLED_NS for one, path in zip(before, files, strict=True))


def _is_large(stamps: Sequence[Stamp]) -> bool:
    return sum(size for _, _, _, size, *_ in stamps) >= LARGE


def _stored_file(store: _Store, of: Stamp) -> str | None:
    known = store.files.get(of[0])
    return known.sha256 if known is not None and known.stamp == _as_text(of) else None


def _stored_tensors(model: Path, stamps: Sequence[Stamp]) -> str | None:
    if not _is_large(stamps):
        return None
    store = _read()
    files = [_files.get(one) or _stored_file(store, one) for one in stamps]
    hashes = sorted(sha256 for sha256 in files if sha256 is not None)
    known = next((one for one in store.models.values() if one.files == hashes), None) if len(hashes) == len(files) else None
    if known is None:
        return None
    if str(model.absolute()) not in store.models:
        # The files were moved here, or belong to two models; the model is found by its hash in both places.
        _remember({}, {str(model.absolute()): known})
    return known.sha256


def _read() -> _Store:
    try:
        content = read_cached(cache_dir() / STORE)
        return _Store() if content is None else checked(parse_json(content, STORE), _Store, STORE)
    except (ExpungeError, OSError):
        # The cache cannot be read or written to, or another version of expunge wrote it.
        return _Store()


def _remember(files: dict[Stamp, str], models: dict[str, _TensorsHash] | None = None) -> None:
    """Add to the store. Where that fails (a full disk, a path that is no UTF-8), the next command hashes again."""
    path = cache_dir() / STORE
    with suppress(ExpungeError, OSError, ValueError):
        make_folder(path.parent, follow=True)
        with lock_file(path.with_suffix(".lock"), f"{path}: another expunge process is writing it", wait=True):
            store = _read()
            of_files = {one[0]: _FileHash(stamp=_as_text(one), sha256=sha256) for one, sha256 in files.items()}
            merged = _Store(
                files=_newest({**store.files, **of_files}, of_files, MOST_FILES),
                models=_newest({**store.models, **(models or {})}, models or {}, MOST_MODELS),
            )
            write_cached(path, merged.model_dump_json())


def _newest(entries: dict, fresh: dict, most: int) -> dict:
    """Return the entries with the fresh ones last, without the oldest if there are too many."""
    ordered = {**{name: value for name, value in entries.items() if name not in fresh}, **fresh}
    return dict(list(ordered.items())[-most:])


def _as_text(of: Stamp) -> str:
    return "-".join(str(number) for number in of[1:])
