"""Find a model by its name: the default model, a folder, a GGUF file, or a model of the hub, which is fetched into the hub's cache."""

from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from expunge import hub
from expunge.documents import read_json
from expunge.errors import InputError, first_line
from expunge.models import embedded
from expunge.models.checkpoint import INDEX, SINGLE

ADAPTER_CONFIG = "adapter_config.json"
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
        if not (path / "config.json").exists():
            raise InputError(f"{name}: no config.json there, so this is not a model folder")
        if not list(path.glob("*.safetensors")):
            raise InputError(f"{name}: no *.safetensors there; pickled weights are not loaded, convert them first")
        if (path / ADAPTER_CONFIG).exists():
            raise InputError(f"{name}: holds both a model and an adapter ({ADAPTER_CONFIG}); move the adapter to another folder")
    elif not name or path.exists() or name.startswith((".", "/", "~")):
        raise InputError(f"{name!r}: not a model folder, a .gguf file or a hub id")
    elif not _is_cached(name) and not hub.is_reachable():
        raise InputError(f"{name}: there is no such folder, and the Hugging Face hub cannot be reached")


def _fetch(name: str) -> Path:
    # A cached model needs no hub; without this flag the library would wait for an unreachable hub.
    offline = not hub.is_reachable()
    try:
        folder = Path(snapshot_download(name, allow_patterns=SMALL_FILES, ignore_patterns=OTHER_FILES, local_files_only=offline))
        names = {SINGLE, *read_json(folder / INDEX)["weight_map"].values()} if (folder / INDEX).is_file() else {SINGLE}
        snapshot_download(name, revision=folder.name, allow_patterns=sorted(names), local_files_only=offline)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(f"{name}: could not be fetched from the Hugging Face hub: {first_line(error)}") from error
    return folder


def _is_cached(name: str) -> bool:
    """Return whether the configuration of a hub model is in the user's cache."""
    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError as error:
        raise InputError(f"{name!r}: not a model folder, a .gguf file or a hub id") from error
