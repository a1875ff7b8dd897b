"""A simulated GPU: its tensors have real numbers, and an operation on tensors of two devices fails as it does on a GPU.

It has no float64, as GPUs of Apple have none. Autocast to bf16 is not simulated.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import pytest
import torch
import torch._lazy.ts_backend
from accelerate import PartialState
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from transformers import AutoModelForCausalLM

from expunge.models import loading

DEVICE = torch.device("lazy:0")
"""A kind of device that PyTorch's autograd knows on a machine without a GPU, and that nothing else here uses."""
MATH = 0
"""PyTorch's number of the attention that every device can compute."""
aten = torch.ops.aten
CROSSING = {aten._to_copy.default, aten.copy_.default, aten._local_scalar_dense.default}
"""Operations that copy between devices, or read a number."""
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
"""Operations whose indices may be in main memory although the tensor is on a GPU."""


class TwoDevices(RuntimeError):
    """An operation got tensors of two devices."""


class NoFloat64(TypeError):
    """A tensor of float64 was made on the device, or moved to it."""


class OnDevice(Tensor):
    """A tensor that says it is on `DEVICE`; its numbers are in `held`."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        if held.dtype == torch.float64:
            raise NoFloat64(f"{DEVICE} has no float64")
        facts = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype, "device": DEVICE}
        wrapped = Tensor._make_wrapper_subclass(cls, held.size(), **facts)
        wrapped.held = held.detach()
        return wrapped

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def data_ptr(self) -> int:
        """Return the place of the numbers, by which weights that are tied know each other."""
        return self.held.data_ptr()

    def tolist(self) -> Any:
        """Return the numbers, as a tensor on a GPU does; PyTorch refuses that for subclasses."""
        return self.held.tolist()


class SimulatedDevice(TorchDispatchMode):
    """Within this context tensors and models can be made on `DEVICE` and moved there."""

    def __enter__(self) -> "SimulatedDevice":
        _init()
        autocast, enabled, self._patch = torch.autocast, torch.is_autocast_enabled, pytest.MonkeyPatch()
        # Autocast does not know the device; in fp32, as these tests run, it has nothing to do.
        self._patch.setattr(torch, "autocast", lambda kind, *args, **kwargs: autocast(_known(kind), *args, **kwargs))
        self._patch.setattr(torch, "is_autocast_enabled", lambda kind="cpu": enabled(_known(kind)))
        self._patch.setattr(loading, "AutoModelForCausalLM", _Loader)
        # The Trainer moves a model to the device that accelerate found.
        self._patch.setattr(PartialState, "default_device", DEVICE)
        AcceleratorState._reset_state(True)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        # `torch.tensor(numbers, device=…)` then makes its tensor in main memory and moves it by an operation that is seen here.
        torch._C._set_only_lift_cpu_tensors(True)
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        torch._C._set_only_lift_cpu_tensors(False)
        self._patch.undo()
        AcceleratorState._reset_state(True)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        # Most operations are on tensors in main memory.
        return _run(func, args, kwargs) if types or "device" in kwargs else func(*args, **kwargs)


class _Loader:
    """Loads into main memory and moves the model: transformers loads in threads, where the device is unknown."""

    @staticmethod
    def from_pretrained(path, device_map=None, **more):
        model, info = AutoModelForCausalLM.from_pretrained(path, **more)
        return (model if device_map is None else model.to(device_map[""])), info


@cache
def _init() -> None:
    torch._lazy.ts_backend.init()
    torch._register_device_module(DEVICE.type, ModuleType(DEVICE.type))


def _known(kind: str) -> str:
    return "cpu" if kind == DEVICE.type else kind


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    tensors = list(_tensors((*args, *kwargs.values())))
    target = kwargs.get("device")
    comes = target is not None and torch.device(target).type == DEVICE.type
    if not comes and not any(isinstance(tensor, OnDevice) for tensor in tensors):
        return func(*args, **kwargs)
    _check(func, args, tensors)
    if func is aten._fused_sdp_choice.default:
        return MATH
    plain = {name: _plain(value) for name, value in kwargs.items()}
    if target is not None:
        plain["device"] = torch.device("cpu")
    result = func(*_plain(args), **plain)
    if target is not None and not comes:
        return result
    if func is aten.copy_.default:
        return args[0]
    wrapped = _wrapped(result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if _may_alias(func) and not comes else wrapped


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _plain(value: Any) -> Any:
    if isinstance(value, OnDevice):
        return value.held
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, Tensor):
        return OnDevice(value)
    return tuple(map(_wrapped, value)) if isinstance(value, list | tuple) else value


@cache
def _may_alias(func: Any) -> bool:
    """Return whether an operation may return, or change, one of its arguments."""
    return any(part.alias_info is not None for part in (*func._schema.arguments, *func._schema.returns))


def _check(func: Any, args: tuple, tensors: list[Tensor]) -> None:
    if func in CROSSING:
        return
    # A single number in main memory may go with a tensor on a GPU.
    judged = [args[0], *args[2:3]] if func in INDEXING else tensors
    there = {isinstance(tensor, OnDevice) for tensor in judged if isinstance(tensor, Tensor) and tensor.dim()}
    if len(there) > 1 or (func in INDEXING and there == {False}):
        raise TwoDevices(f"{func}: expected all tensors on one device, found some on {DEVICE} and some in main memory")
