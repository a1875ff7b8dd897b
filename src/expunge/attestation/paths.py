"""Which files a record names, and where they lie: data, base model, edit."""

import json
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from expunge.attestation.schema_parts import File
from expunge.files import file_sha256
from expunge.models import embedded

MODEL_FILES = (".json", ".safetensors", ".txt", ".jinja", ".model")
TOKENIZER_FILES = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "spiece", "sentencepiece", "chat_template")
TEMPLATE = "chat_template.jinja"


def data_files(source: str) -> list[Path]:
    """The files of a source of records: itself, all that its folder holds, or none for a hub data set."""
    path = Path(source)
    if path.is_dir():
        return sorted(inner for inner in path.rglob("*") if inner.is_file())
    return [path] if path.is_file() else []


def base_folder(name: str, revision: str | None = None) -> Path | None:
    """Where a base model's files lie on this machine, if they do; nothing is fetched.

    Args:
        name: as `expunge.models.loading.load` takes it.
        revision: of a hub model; none: the one that its main branch is known to be at.
    """
    path = embedded.cache_dir() / embedded.NAME if name == embedded.NAME else Path(name)
    if path.suffix == ".gguf":
        return path.parent if path.is_file() else None
    if path.is_dir():
        return path
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        # A folder's name that is no hub id either.
        return None
    return Path(found).parent if isinstance(found, str) else None


def base_files(name: str, folder: Path) -> list[Path]:
    """Of a base model's folder what loading it may read."""
    if name.endswith(".gguf"):
        return [folder / Path(name).name]
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in MODEL_FILES)


def revision_of(folder: Path) -> str | None:
    """The commit of a model in the hub's cache."""
    return folder.name if folder.parent.name == "snapshots" else None


def chat_template(folder: Path) -> str | None:
    """The template that a model folder comes with, if it is one text; that of a GGUF file is in the file itself."""
    if (folder / TEMPLATE).is_file():
        return (folder / TEMPLATE).read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    template = json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.is_file() else None
    return template if isinstance(template, str) else None


def edit_files(folder: Path) -> list[Path]:
    """All that an edit's folder holds: a file more could be loaded in place of those that were audited."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def hashed(paths: list[Path], root: Path | None = None) -> list[File]:
    """Files with their SHA-256.

    Args:
        paths: of the files.
        root: the folder that they are named relative to; none: as they are.
    """
    return [File(path=name_in(path, root), sha256=file_sha256(path)) for path in paths]


def name_in(path: Path, root: Path | None) -> str:
    """How a record names a file."""
    return (path if root is None else path.relative_to(root)).as_posix()
