"""The files of a checkpoint, safetensors and JSON: weights, optimiser, learning rate schedule, random states. Nothing is pickled."""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from expunge.edits.requests import REQUEST
from expunge.errors import InputError
from expunge.files import write_text
from expunge.models.finite import check_finite, json_text
from expunge.models.sharding import gather_shards, shard_like

WEIGHTS, MOMENTS, SETTINGS = "weights.safetensors", "optimizer.safetensors", "optimizer.json"
RANDOM = "random_state_{rank}.json"


def edited_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that a checkpoint holds: those that are trained, and the others of the trained adapter, such as its gate."""
    request = f".{REQUEST}."
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or (isinstance(model, PeftModel) and request in f"{name}.")
    }


def moments(optimizer: Optimizer, names: Mapping[nn.Parameter, str]) -> Iterator[tuple[str, Tensor]]:
    """Yield the optimiser's state of each parameter, as "exp_avg of NAME" and the tensor; every tensor may be sharded.

    Args:
        optimizer: whose state consists of tensors, as that of AdamW.
        names: {parameter: its name in the model}.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                yield f"{key} of {names[parameter]}", value


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write gathered tensors as safetensors."""
    save_file(dict(tensors), path)


def gathered(named: Iterator[tuple[str, Tensor]] | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors whole and in main memory; every rank has to call this."""
    items = named.items() if isinstance(named, Mapping) else named
    return {name: gather_shards(tensor.detach()).cpu().contiguous() for name, tensor in items}


def settings_of(optimizer: Optimizer, schedule: Any, scaler: Any) -> dict[str, Any]:
    """Return what the optimiser, the schedule and the scaler of gradients (None without one) store besides tensors."""
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return {"groups": groups, "schedule": schedule.state_dict(), "scaler": None if scaler is None else scaler.state_dict()}


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of a checkpoint.

    Raises:
        InputError: they are not those that this training changes.
    """
    path, parameters = folder / WEIGHTS, edited_parameters(model)
    tensors = _read_tensors(path)
    _check_names(path, set(tensors), set(parameters))
    with torch.no_grad():
        for name, parameter in parameters.items():
            _check_shape(path, name, tensors[name], parameter)
            parameter.copy_(shard_like(tensors[name].to(parameter.device), parameter))


def load_moments(optimizer: Optimizer, names: Mapping[nn.Parameter, str], folder: Path) -> None:
    """Load the state of the optimiser.

    Raises:
        InputError: it is not of the parameters that this optimiser changes.
    """
    path = folder / MOMENTS
    tensors, state, groups, index = _read_tensors(path), dict[int, dict[str, Tensor]](), [], 0
    by_name: dict[str, dict[str, Tensor]] = {}
    for label, tensor in tensors.items():
        key, _, name = label.partition(" of ")
        by_name.setdefault(name, {})[key] = tensor
    trained = {names[parameter] for group in optimizer.param_groups for parameter in group["params"]}
    _check_names(path, set(by_name), trained)
    for group, stored in zip(optimizer.param_groups, _read_groups(optimizer, folder), strict=True):
        indices = []
        for parameter in group["params"]:
            state[index] = {key: _moment(path, value, parameter) for key, value in by_name[names[parameter]].items()}
            indices.append(index)
            index += 1
        groups.append({**stored, "params": indices})
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _moment(path: Path, value: Tensor, parameter: nn.Parameter) -> Tensor:
    if not value.ndim:
        # The number of steps: one for the whole parameter.
        return value
    _check_shape(path, "a moment", value, parameter)
    return shard_like(value.to(parameter.device), parameter)


def load_schedule(schedule: Any, folder: Path) -> None:
    """Load the state of the learning rate schedule."""
    path, stored = folder / SETTINGS, _read_settings(folder)["schedule"]
    _check_names(path, set(stored), set(schedule.state_dict()))
    schedule.load_state_dict(stored)


def load_scaler(scaler: Any, folder: Path) -> None:
    """Load the state of the scaler of gradients, if the checkpoint has one."""
    if (stored := _read_settings(folder)["scaler"]) is not None:
        scaler.load_state_dict(stored)


def random_states() -> dict[str, Any]:
    """Return the states of the random generators of Python, NumPy and torch in this process, as JSON values."""
    _, keys, *rest = cast(tuple[Any, ...], np.random.get_state())
    states = {"python": random.getstate(), "numpy": [keys.tolist(), *rest], "torch": _hex(torch.get_rng_state())}
    return {**states, "cuda": _hex(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None}


def write_random_states(folder: Path, rank: int, states: dict[str, Any]) -> None:
    """Write what `random_states` of a rank returned."""
    write_text(folder / RANDOM.format(rank=rank), json_text(states, RANDOM.format(rank=rank)))


def load_random_states(folder: Path, rank: int) -> None:
    """Set the random generators of this process as those of the rank were; a rank that the stopped training did not have keeps its own."""
    path = folder / RANDOM.format(rank=rank)
    if not path.exists():
        return
    states = json.loads(path.read_text(encoding="utf-8"))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(_from_hex(states["torch"]))
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_from_hex(states["cuda"]))


def _hex(state: Tensor) -> str:
    return bytes(state.tolist()).hex()


def _from_hex(text: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors; remove this checkpoint") from error
    check_finite(tensors.items(), f"in {path}; remove this checkpoint")
    return tensors


def _read_settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SETTINGS).read_text(encoding="utf-8"))


def _read_groups(optimizer: Optimizer, folder: Path) -> list[dict[str, Any]]:
    """Return the settings of the optimiser's groups; JSON makes lists of tuples."""
    stored = _read_settings(folder)["groups"]
    if len(stored) != len(optimizer.param_groups):
        raise InputError(f"{folder / SETTINGS}: is not of this training; remove this checkpoint")
    groups = []
    for group, settings in zip(optimizer.param_groups, stored, strict=True):
        _check_names(folder / SETTINGS, set(settings), set(group) - {"params"})
        groups.append({key: tuple(value) if isinstance(group[key], tuple) else value for key, value in settings.items()})
    return groups


def _check_names(path: Path, found: set[str], expected: set[str]) -> None:
    if found != expected:
        raise InputError(f"{path}: is not of this training ({sorted(found ^ expected)[0]}); remove this checkpoint")


def _check_shape(path: Path, name: str, value: Tensor, parameter: nn.Parameter) -> None:
    if value.shape != parameter.shape:
        raise InputError(f"{path}: {name} has the shape {tuple(value.shape)}, not {tuple(parameter.shape)}; remove this checkpoint")
