"""Load a model with its identity. A model in the user's cache is compared with the identity that was recorded when it was made."""

import json
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.documents import read_json
from expunge.errors import InputError
from expunge.files import remove_folder, write_text
from expunge.models import embedded
from expunge.models.identity import ModelIdentity, identify
from expunge.models.loading import load

RECORD = "identity.json"
"""File in a model folder of the cache that holds the hash of each part of its identity."""


@dataclass(frozen=True)
class IdentifiedModel:
    """A loaded model.

    Attributes:
        model: in evaluation mode.
        tokenizer: of the model.
        identity: of both.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    identity: ModelIdentity


def load_identified(name: str | Path) -> IdentifiedModel:
    """Load a model and identify it; a damaged copy of the default model is deleted and fetched again.

    Raises:
        InputError: see `expunge.models.loading.load`.
        ExpungeError: the default model cannot be fetched.
    """
    if str(name) != embedded.NAME:
        return _identified(name)
    folder = embedded.embedded_model()
    # Earlier versions recorded nothing; what they fetched is recorded now.
    loaded = load_recorded(folder) if (folder / RECORD).exists() else _if_loadable(folder)
    if loaded is None:
        remove_folder(folder)
        loaded = _identified(embedded.embedded_model())
    if not (folder / RECORD).exists():
        _record(folder, loaded.identity)
    return loaded


def load_recorded(folder: Path) -> IdentifiedModel | None:
    """Load a model of the cache; None if there is none, or if it is not the one that was recorded there."""
    loaded = _if_loadable(folder)
    try:
        recorded = ModelIdentity.from_parts(read_json(folder / RECORD))
    except InputError:
        return None
    return loaded if loaded is not None and loaded.identity == recorded else None


def record_identity(folder: Path) -> None:
    """Record the identity of a model that was just saved."""
    _record(folder, _identified(folder).identity)


def _identified(name: str | Path) -> IdentifiedModel:
    model, tokenizer = load(name)
    return IdentifiedModel(model, tokenizer, identify(model, tokenizer))


def _if_loadable(folder: Path) -> IdentifiedModel | None:
    try:
        return _identified(folder)
    except InputError:
        return None


def _record(folder: Path, identity: ModelIdentity) -> None:
    write_text(folder / RECORD, json.dumps(identity.parts, indent=1) + "\n")
