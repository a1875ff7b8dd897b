"""Several requests on one model: each is an adapter, and their changes add up (sequential unlearning; GRUN, arXiv 2502.17823)."""

from pathlib import Path
from typing import cast

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from expunge.edits.adapter import put_on, read_adapter
from expunge.edits.grun import ReftConfig
from expunge.edits.grun.config import Composition
from expunge.edits.manifest import ADAPTER_CONFIG, check_manifest
from expunge.errors import InputError, WrongBase

REQUEST = "default"
"""Adapter name of the request that is trained, audited or inspected; earlier requests have other names."""


def add_request(model: nn.Module, folder: Path, name: str, composition: Composition = "sum", recorded: str | None = None) -> PeftModel:
    """Load a saved ReFT or GRUN edit, frozen, add it to those that the model carries, and switch all of them on.

    Edits that were trained separately on one base model add up. A single one is, bit for bit, the edit that was trained.

    Args:
        model: a causal LM, or one that carries requests already.
        folder: written by `save_edit`.
        name: of the new adapter.
        composition: see `ReftConfig.composition`.
        recorded: the SHA-256 of the edit's manifest, from the run's run.json.

    Raises:
        InputError: the name is in use, the edit is damaged, or it is of another kind than the model's.
        WrongBase: the edit was trained on another base model than the model's edits.
    """
    present = requests(model)
    if name in present:
        raise InputError(f'the model already carries a request "{name}"; its requests: {", ".join(present)}')
    check_manifest(folder, recorded)
    adapter = read_adapter(folder, recorded) if (folder / ADAPTER_CONFIG).exists() else None
    if adapter is None or not isinstance(adapter.config, ReftConfig):
        raise InputError(f"{folder}: only reft and grun edits can be added to a model, and this is neither")
    if isinstance(model, PeftModel):
        _check_goes_with(model, adapter.config, folder)
    adapter.config.composition = composition
    model = put_on(model, adapter, name)
    switch_on(model, [*present, name])
    return model


def _check_goes_with(model: PeftModel, config: ReftConfig, folder: Path) -> None:
    for name, other in model.peft_config.items():
        if type(other) is not type(config):
            raise InputError(f'{folder}: a reft and a grun edit cannot be combined, and request "{name}" is of the other kind')
        if cast(ReftConfig, other).base_sha256 != config.base_sha256:
            raise WrongBase(f'{folder}: was trained on another base model than request "{name}"')


def remove_request(model: PeftModel, name: str) -> nn.Module:
    """Remove a request and return the model: the base model, if the request was the only one.

    Raises:
        InputError: the model carries no such request.
    """
    present = requests(model)
    if name not in present:
        raise InputError(f'the model carries no request "{name}"; its requests: {", ".join(present)}')
    if present == [name]:
        return model.unload()
    model.delete_adapter(name)
    switch_on(model, [other for other in present if other != name])
    return model


def requests(model: nn.Module) -> list[str]:
    """Return the names of the requests that a model carries, in the order in which they were added."""
    return list(model.peft_config) if isinstance(model, PeftModel) else []


def switch_on(model: PeftModel, names: list[str], trained: str | None = None) -> None:
    """Switch exactly these requests on, and make one of them trainable, or none."""
    tuner = cast(BaseTuner, model.base_model)
    tuner.set_adapter(names, inference_mode=True)
    if trained is not None:
        tuner.set_requires_grad(trained)
