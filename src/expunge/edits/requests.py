"""Several requests on one model: each trained as a module of its own, all adding up (GRUN, arXiv 2502.17823, sequential unlearning)."""

from pathlib import Path
from typing import cast

from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from expunge.edits.grun import ReftConfig
from expunge.edits.grun.config import Composition
from expunge.errors import InputError, WrongBase

REQUEST = "default"
"""Adapter name of the request that is trained, audited or asked about; those before it have other names."""


def add_request(model: nn.Module, folder: Path, name: str, composition: Composition = "sum") -> PeftModel:
    """Load a saved ReFT or GRUN edit, frozen, next to those that the model carries, and switch all of them on.

    Modules trained separately on one base add up; one alone is bit for bit the module that was trained.

    Args:
        model: a causal LM, or one that carries requests already.
        folder: as `save_edit` wrote it.
        name: the adapter's, not taken yet.
        composition: see `ReftConfig.composition`.

    Raises:
        InputError: the name is taken, the edit is of another kind than those there, or of another base model.
    """
    there = requests(model)
    if name in there:
        raise InputError(f'request "{name}" is there already; requests: {", ".join(there)}')
    config = PeftConfig.from_pretrained(str(folder)) if (folder / "adapter_config.json").exists() else None
    if not isinstance(config, ReftConfig):
        raise InputError(f"{folder}: only reft and grun edits add up, and this is none")
    if isinstance(model, PeftModel):
        _check_goes_with(model, config, folder)
        model.load_adapter(str(folder), name)
    else:
        model = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
    cast(ReftConfig, model.peft_config[name]).composition = composition
    switch_on(model, [*there, name])
    return model


def _check_goes_with(model: PeftModel, config: ReftConfig, folder: Path) -> None:
    for name, other in model.peft_config.items():
        if type(other) is not type(config):
            raise InputError(f'{folder}: reft and grun edits do not add up to each other, and request "{name}" is of the other kind')
        if cast(ReftConfig, other).base_sha256 != config.base_sha256:
            raise WrongBase(f'{folder}: was trained on another base model than request "{name}"')


def remove_request(model: PeftModel, name: str) -> nn.Module:
    """Take a request off; of the last one the base model is left.

    Raises:
        InputError: there is no such request.
    """
    there = requests(model)
    if name not in there:
        raise InputError(f'no request "{name}"; requests: {", ".join(there)}')
    if there == [name]:
        return model.unload()
    model.delete_adapter(name)
    switch_on(model, [other for other in there if other != name])
    return model


def requests(model: nn.Module) -> list[str]:
    """Names of the requests that a model carries, in the order in which they came."""
    return list(model.peft_config) if isinstance(model, PeftModel) else []


def switch_on(model: PeftModel, names: list[str], trained: str | None = None) -> None:
    """Switch exactly these requests on, and make one of them, or none, trainable."""
    tuner = cast(BaseTuner, model.base_model)
    tuner.set_adapter(names, inference_mode=True)
    if trained is not None:
        tuner.set_requires_grad(trained)
