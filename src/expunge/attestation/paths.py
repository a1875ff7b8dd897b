"""Find the files of data, base model and edit that an attestation lists."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub.errors import HFValidationError

from expunge.files import cache_dir
from expunge.models import embedded
from expunge.models.sources import cached_folder, split_revision

MODEL_FILES = (".json", ".safetensors", ".txt", ".jinja", ".model")
TOKENIZER_FILES = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "spiece", "sentencepiece", "chat_template")


def data_files(source: str) -> list[Path]:
    """Return the files of a source of records: the file itself, all files of a folder, or none for a hub data set."""
    return sorted(_data_files(source))


def has_exactly(source: str, names: Sequence[str]) -> bool:
    """Return whether a local source has exactly the files of these names.

    It stops at the first other file, because the source may be a folder with the files of a whole machine.
    """
    found: list[Path] = []
    for path in _data_files(source):
        if name_in(path, None) not in names:
            return False
        found.append(path)
    return [name_in(path, None) for path in sorted(found)] == list(names)


def path_below(folder: Path, name: str, links: bool = False) -> Path | None:
    """Return the path of a file that an attestation names, or None if it leads out of the folder.

    Args:
        folder: the folder that the name is relative to.
        name: the recorded name; anybody may have written it.
        links: whether symbolic links below the folder may be followed, as in the hub's cache of models.
    """
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or "\0" in name:
        return None
    path = folder
    for part in relative.parts:
        path = path / part
        # Unlike `Path.is_symlink`, this is False for a name that the file system does not accept.
        if not links and os.path.islink(path):
            return None
    return path


def base_folder(name: str, revision: str | None = None) -> Path | None:
    """Return the local folder of a base model, or None if it is not on this machine. Nothing is downloaded.

    Args:
        name: as `expunge.models.loading.load` takes it.
        revision: the commit of a hub model; None: the cached commit of its main branch.
    """
    path = cache_dir() / embedded.NAME if name == embedded.NAME else Path(name)
    if path.suffix == ".gguf":
        return path.parent if path.is_file() else None
    if path.is_dir():
        return path
    try:
        return cached_folder(name if revision is None else f"{split_revision(name)[0]}@{revision}")
    except HFValidationError:
        # The name is neither a folder nor a valid hub id.
        return None


def base_files(name: str, folder: Path) -> list[Path]:
    """Return the files of a base model's folder that loading may read."""
    if name.endswith(".gguf"):
        return [folder / Path(name).name]
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in MODEL_FILES)


def revision_of(folder: Path) -> str | None:
    """Return the commit of a model folder in the hub's cache, None for other folders."""
    return folder.name if folder.parent.name == "snapshots" else None


def edit_files(folder: Path) -> list[Path]:
    """Return every file in an edit's folder, also unexpected ones, which might be loaded in place of the audited files."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _data_files(source: str) -> Iterator[Path]:
    path = Path(source)
    if path.is_dir():
        for folder, _, names in os.walk(path):
            yield from (inner for name in names if (inner := Path(folder) / name).is_file())
    elif path.is_file():
        yield path


def name_in(path: Path, root: Path | None) -> str:
    """Return the name that an attestation gives a file: its path relative to `root`, or the whole path without a root."""
    return (path if root is None else path.relative_to(root)).as_posix()
