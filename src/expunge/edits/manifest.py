"""The manifest of a folder: what it holds to the last bit. Written last, and compared whenever the folder is opened.

Edits, checkpoints and the modules of release rounds have one. The manifest's own SHA-256 is recorded outside the folder, in run.json or in
the file of the round, so that a deleted, replaced or rewritten manifest is noticed too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from expunge.documents import read_json
from expunge.errors import Damaged, InputError
from expunge.files import file_sha256, write_text
from expunge.models.file_hashes import sha256_once
from expunge.models.finite import is_finite

MANIFEST = "manifest.json"
ADAPTER_CONFIG, BASE = "adapter_config.json", "base.json"
"""Configuration of an adapter as PEFT stores it; and the hash of the base model, for edits whose configuration has no field for it."""
SAFETENSORS = ".safetensors"


class TensorFacts(BaseModel):
    """Shape and dtype of a tensor."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    shape: tuple[int, ...]
    dtype: str


class Manifest(BaseModel):
    """The content of a manifest.

    Attributes:
        format: version of this format.
        files: SHA-256 of every file in the folder, by its path relative to it.
        tensors: the tensors of each safetensors file, by name.
        configuration: the content of each configuration file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    files: dict[str, str]
    tensors: dict[str, dict[str, TensorFacts]]
    configuration: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class _Damage:
    """The first file that is not as recorded, what is wrong with it, and what the user can do."""

    file: str
    problem: str
    remedy: str = "restore the folder from a copy, or train it again"


def write_manifest(folder: Path) -> str:
    """Write the manifest of a folder and return its SHA-256. Call it last: a folder without a manifest counts as unfinished.

    Raises:
        InputError: a file is called `.safetensors` and is none, or a configuration cannot be read.
    """
    files = {name: path for name, path in _files(folder).items() if name != MANIFEST}
    path = folder / MANIFEST
    write_text(path, _describe(files).model_dump_json(indent=1) + "\n")
    return file_sha256(path)


def check_manifest(folder: Path, recorded: str | None = None) -> None:
    """Check that a folder holds what its manifest describes, to the last bit, and nothing else.

    Args:
        folder: of an edit, a checkpoint or a module.
        recorded: the SHA-256 of the manifest, as `write_manifest` returned it; None where none is recorded.

    Raises:
        Damaged: a file is missing, was changed or added, or the manifest is not the recorded one.
    """
    damage = _first_damage(folder, recorded)
    if damage is not None:
        raise Damaged(f"{folder / damage.file}: {damage.problem}; {damage.remedy}")


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a folder that should have a manifest, or None if it holds what its manifest describes."""
    damage = _first_damage(folder, None)
    return None if damage is None else f"{damage.file} {damage.problem}"


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    The tensors may be mapped from the file: check its manifest again after they are copied.

    Raises:
        InputError: it is not such a file, or a number in it is not finite.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise Damaged(f"{path}: cannot be read as a safetensors file ({error}), and other formats are not loaded") from error
    if infinite := next((name for name, tensor in tensors.items() if not is_finite(tensor)), None):
        raise Damaged(f"{path}: {infinite} holds NaN or an infinite number; restore the folder from a copy, or train it again")
    return tensors


def _first_damage(folder: Path, recorded: str | None) -> _Damage | None:
    files = _files(folder)
    irregular = next((name for name, path in files.items() if path.is_symlink() or not path.is_file()), None)
    if irregular is not None:
        return _Damage(irregular, "is not a regular file", "remove it, or restore the folder from a copy")
    manifest = files.pop(MANIFEST, None)
    if manifest is None:
        return _Damage(MANIFEST, "is missing, so the folder was not finished or was changed")
    if recorded is not None and file_sha256(manifest) != recorded:
        return _Damage(MANIFEST, "is not the manifest that was recorded when the folder was written")
    try:
        content = read_json(manifest, Manifest)
    except InputError:
        return _Damage(MANIFEST, "cannot be read, or another version of expunge wrote it")
    damage = _damage_of_files(files, content.files)
    # The recorded manifest is the one that expunge wrote, which describes its files as they are.
    return damage if damage is not None or recorded is not None else _damage_of_description(files, content)


def _damage_of_files(files: dict[str, Path], hashes: dict[str, str]) -> _Damage | None:
    if missing := sorted(hashes.keys() - files.keys()):
        return _Damage(missing[0], "is missing")
    if unknown := sorted(files.keys() - hashes.keys()):
        return _Damage(unknown[0], "is not in the manifest", "remove it")
    changed = next((name for name, path in files.items() if sha256_once(path) != hashes[name]), None)
    return None if changed is None else _Damage(changed, "does not have the hash it was saved with")


def _damage_of_description(files: dict[str, Path], content: Manifest) -> _Damage | None:
    """Return what the manifest describes wrongly, which a manifest that expunge wrote does not do."""
    actual = _describe(files, content.files)
    if actual.tensors == content.tensors and actual.configuration == content.configuration:
        return None
    return _Damage(MANIFEST, "does not describe the files in its folder")


def _describe(files: dict[str, Path], hashes: dict[str, str] | None = None) -> Manifest:
    return Manifest(
        files={name: sha256_once(path) for name, path in files.items()} if hashes is None else hashes,
        tensors={name: _tensors(path) for name, path in files.items() if path.suffix == SAFETENSORS},
        configuration={name: read_json(path, dict[str, Any]) for name, path in files.items() if name in (ADAPTER_CONFIG, BASE)},
    )


def _tensors(path: Path) -> dict[str, TensorFacts]:
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            return {name: TensorFacts(shape=tuple(part.get_shape()), dtype=part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        raise Damaged(f"{path}: is not a safetensors file ({error}), and other formats are not loaded") from error


def _files(folder: Path) -> dict[str, Path]:
    """Return everything in a folder that is not a folder, by its path relative to it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    return {path.relative_to(folder).as_posix(): path for path in paths}
