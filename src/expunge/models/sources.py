"""Find a model by its name: the default model, a folder, a GGUF file, or a model of the hub, which is fetched into the hub's cache."""

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import disable_progress_bars

from expunge import hub
from expunge.console import SafeConsole
from expunge.documents import read_json
from expunge.errors import InputError, first_line
from expunge.models import embedded

# `expunge.console` shows progress; a second bar for each file would disturb its display.
disable_progress_bars()

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""Files of weights in a model's folder, and the list of the files if there are several."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOKEN = "set HF_TOKEN, or log in with: hf auth login"
"""How the hub's library gets a token."""
SMALL_FILES = ["*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken"]
"""Files of a hub model beside its weights."""
OTHER_FILES = ["*/*/*", "checkpoint-*", "onnx/*", "original/*"]
"""Files of other forms of a model, and of its training."""


def local_model(name: str) -> Path:
    """Return the folder or GGUF file of a model; a hub model is fetched if it is not in the hub's cache.

    Args:
        name: as `expunge.models.loading.load` takes it.

    Raises:
        InputError: there is no such model.
        ExpungeError: the default model cannot be fetched.
    """
    if name == embedded.NAME:
        return embedded.embedded_model()
    check_model_exists(name)
    path = Path(name)
    return path if name.endswith(".gguf") or path.is_dir() else _fetch(name)


def check_model_exists(name: str) -> None:
    """Raise `InputError` for a model that `local_model` would not find."""
    path = Path(name)
    if name == embedded.NAME:
        return
    if name.endswith(".gguf"):
        if not path.is_file():
            raise InputError(f"{name}: no such file")
    elif name and path.is_dir():
        if is_adapter(path):
            _check_adapter(name, path)
            return
        if not (path / "config.json").exists():
            raise InputError(f"{name}: no config.json there, so this is not a model folder")
        if not list(path.glob("*.safetensors")):
            raise InputError(f"{name}: no *.safetensors there; pickled weights are not loaded, convert them first")
    elif not name or path.exists() or name.startswith((".", "/", "~")):
        raise InputError(f"{name!r}: not a model folder, a .gguf file or a hub id")
    elif not _is_cached(name) and not hub.is_reachable():
        raise InputError(f"{name}: there is no such folder, and the Hugging Face hub ({ENDPOINT}) cannot be reached")


def is_adapter(model: Path) -> bool:
    """Return whether a model's folder holds a PEFT adapter, which is merged into its base model."""
    return (model / ADAPTER_CONFIG).exists()


def adapter_base_name(folder: Path) -> str:
    """Return the name of the base model that an adapter's configuration gives, with its revision if it gives one.

    Raises:
        InputError: it names none.
    """
    given = read_json(folder / ADAPTER_CONFIG, dict[str, Any])
    base, revision = given.get("base_model_name_or_path"), given.get("revision")
    if not isinstance(base, str) or not base:
        raise InputError(f"{folder / ADAPTER_CONFIG}: base_model_name_or_path names no model; write the base model there")
    return f"{base}@{revision}" if isinstance(revision, str) and revision and not Path(base).exists() else base


def base_of_adapter(folder: Path) -> Path:
    """Return the folder or GGUF file of the base model that an adapter's configuration names; it is fetched if need be.

    Raises:
        InputError: it names none, or an adapter, or there is no such model.
    """
    base = adapter_base_name(folder)
    try:
        model = local_model(base)
    except InputError as error:
        raise InputError(f"{folder / ADAPTER_CONFIG}: base_model_name_or_path: {error}") from error
    if is_adapter(model):
        raise InputError(f"{folder / ADAPTER_CONFIG}: base_model_name_or_path: {base} is an adapter too; merge the two with PEFT first")
    return model


def _check_adapter(name: str, folder: Path) -> None:
    if (folder / SINGLE).exists() or (folder / INDEX).exists():
        raise InputError(f"{name}: holds both a model and an adapter ({ADAPTER_CONFIG}); move the adapter to another folder")
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise InputError(f"{name}: no {ADAPTER_WEIGHTS} there; pickled weights are not loaded, convert them first")


def split_revision(name: str) -> tuple[str, str | None]:
    """Return the hub id in a name such as `organisation/model@revision`, and the revision: a branch, a tag, a commit, or None."""
    hub_id, _, revision = name.partition("@")
    return hub_id, revision or None


def cached_folder(name: str) -> Path | None:
    """Return the folder in the hub's cache that has a hub model's configuration; None if it is not there.

    Raises:
        HFValidationError: the name cannot be a hub id.
    """
    hub_id, revision = split_revision(name)
    found = [try_to_load_from_cache(hub_id, file, revision=revision) for file in ("config.json", ADAPTER_CONFIG)]
    return next((Path(path).parent for path in found if isinstance(path, str)), None)


def _fetch(name: str) -> Path:
    """Fetch a hub model's files, as far as they are not in the hub's cache; without a connection, return what is there."""
    offline, (hub_id, revision) = not hub.is_reachable(), split_revision(name)

    def fetch(revision: str | None, patterns: list[str], without: list[str] | None = None) -> Path:
        # A cached model needs no hub; without this flag the library would wait for an unreachable hub.
        options = {"allow_patterns": patterns, "ignore_patterns": without, "local_files_only": offline}
        return Path(snapshot_download(hub_id, revision=revision, **options))

    if not _is_cached(name):
        SafeConsole(stderr=True).print(f"Fetching {name} from {ENDPOINT}, once.")
    try:
        folder = fetch(revision, SMALL_FILES, OTHER_FILES)
        names = {SINGLE, *read_json(folder / INDEX)["weight_map"].values()} if (folder / INDEX).is_file() else {SINGLE, ADAPTER_WEIGHTS}
        fetch(folder.name, sorted(names))
    except RevisionNotFoundError as error:
        raise InputError(f"{name}: {hub_id} has no revision {revision or 'main'} at {ENDPOINT}") from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{name}: there is no such model at {ENDPOINT}, or it needs a token that may read it ({TOKEN})") from error
    # The library may raise whatever its connection did not expect to fail.
    except Exception as error:
        raise InputError(f"{name}: could not be fetched from {ENDPOINT}: {first_line(error)}") from error
    return folder


def _is_cached(name: str) -> bool:
    try:
        return cached_folder(name) is not None
    except HFValidationError as error:
        raise InputError(f"{name!r}: not a model folder, a .gguf file or a hub id") from error
