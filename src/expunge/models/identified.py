"""Load a model with its identity. A model in the user's cache is compared with the identity that was recorded when it was made."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.documents import read_json
from expunge.errors import InputError
from expunge.files import remove_folder, write_text
from expunge.models import embedded
from expunge.models.checkpoint import checkpoint_sha256, stamps
from expunge.models.identity import ModelIdentity, chat_template_sha256, identify, weights_sha256
from expunge.models.loading import check_template, load
from expunge.models.placement import Placement
from expunge.models.quantised import method_of, stored_in_folder
from expunge.models.sources import local_model

RECORD = "identity.json"
"""File in a model folder of the cache that holds the hash of each part of its identity."""


@dataclass(frozen=True)
class IdentifiedModel:
    """A loaded model.

    Attributes:
        model: in evaluation mode.
        tokenizer: of the model.
        identity: of both.
        stored_in: the method of quantisation of a checkpoint that is stored quantised, such as `gptq`.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    identity: ModelIdentity
    stored_in: str | None = None


def load_identified(name: str | Path, placement: Placement | None = None) -> IdentifiedModel:
    """Load a model and identify it; a damaged copy of the default model is deleted and fetched again.

    Args:
        name: as `expunge.models.loading.load` takes it.
        placement: as `expunge.models.loading.load` takes it.

    Raises:
        InputError: see `expunge.models.loading.load`; or its files were changed while it was loaded.
        ExpungeError: the default model cannot be fetched.
    """
    if str(name) != embedded.NAME:
        return _identified(local_model(str(name)), placement)
    folder = embedded.embedded_model()
    # The first versions recorded nothing; what they fetched is recorded now.
    loaded = load_recorded(folder, placement) if (folder / RECORD).exists() else _if_loadable(folder, placement)
    if loaded is None:
        remove_folder(folder)
        loaded = _identified(embedded.embedded_model(), placement)
    if _recorded(folder) != loaded.identity.parts:
        _record(folder, loaded.identity)
    return loaded


def with_template(model: IdentifiedModel, template: str | None, source: str | Path) -> IdentifiedModel:
    """Return a model with another chat template, which its identity then has; the same model without one.

    Args:
        model: its tokenizer is changed.
        template: the Jinja text.
        source: the file, for the message.

    Raises:
        InputError: the template cannot render a question.
    """
    if template is None:
        return model
    model.tokenizer.chat_template = template
    check_template(model.tokenizer, str(source))
    return replace(model, identity=replace(model.identity, chat_template=chat_template_sha256(model.tokenizer)))


def load_recorded(folder: Path, placement: Placement | None = None) -> IdentifiedModel | None:
    """Load a model of the cache; None if there is none, or if it is not the one that was recorded there."""
    loaded = _if_loadable(folder, placement)
    if loaded is None:
        return None
    recorded, parts = _recorded(folder), loaded.identity.parts
    return loaded if recorded in (parts, _earlier_parts(folder, recorded, parts)) else None


def record_identity(folder: Path) -> None:
    """Record the identity of a model that was just saved."""
    _record(folder, _identified(folder).identity)


def _identified(path: Path, placement: Placement | None = None) -> IdentifiedModel:
    before = stamps(path)
    model, tokenizer = load(path, placement)
    stored = stored_in_folder(path)
    identity = identify(model, tokenizer, checkpoint_sha256(path, before), stored)
    return IdentifiedModel(model, tokenizer, identity, None if stored is None else method_of(stored))


def _if_loadable(folder: Path, placement: Placement | None) -> IdentifiedModel | None:
    try:
        return _identified(folder, placement)
    except InputError:
        return None


def _record(folder: Path, identity: ModelIdentity) -> None:
    write_text(folder / RECORD, json.dumps(identity.parts, indent=1) + "\n")


def _recorded(folder: Path) -> Any:
    try:
        return read_json(folder / RECORD)
    except InputError:
        return None


def _earlier_parts(folder: Path, recorded: Any, parts: dict[str, str]) -> dict[str, str]:
    """Return the parts of a model as earlier versions recorded them: with the hash of the weights in memory, in fp32."""
    if not isinstance(recorded, dict) or "weights" not in recorded:
        return parts
    others = {name: sha256 for name, sha256 in parts.items() if name != "checkpoint"}
    return {"weights": weights_sha256(load(folder, Placement(torch.device("cpu"), torch.float32))[0]), **others}
