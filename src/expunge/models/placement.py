"""`Placement`: the device and the dtype that a model is loaded to. Only this file decides them, for every verb."""

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import psutil
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from expunge.errors import InputError, quoted
from expunge.models.quantised import BYTES_A_WEIGHT, quantised_while_loading

log = logging.getLogger(__name__)

DTYPES = {"auto": None, "bf16": torch.bfloat16, "fp32": torch.float32}
WORKING_SHARE = 1.25
"""Memory that a model must find, in units of its weights: activations and caches come on top of the weights."""
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Placement:
    """Where a model is loaded to, and in which dtype.

    Attributes:
        device: of this process.
        dtype: of the weights; None: the checkpoint's own.
        dtype_if_short: of the weights, if those in `dtype` do not fit in the available main memory; None: `dtype` in any case.
        spreads: whether a model that does not fit on `device` is spread over all GPUs.
        sharded: whether FSDP will shard the model over several processes: until then it stays in main memory.
        quantise: `nf4` or `int8`: the form that linear layers are brought to while the model is loaded; None: they stay as stored.
    """

    device: torch.device
    dtype: torch.dtype | None
    dtype_if_short: torch.dtype | None = None
    spreads: bool = False
    sharded: bool = False
    quantise: str | None = None

    @property
    def device_map(self) -> str | dict[str, torch.device] | None:
        """The `device_map` of `from_pretrained`; None loads into main memory."""
        if self.spreads:
            return "auto"
        return None if self.sharded or self.device.type == "cpu" else {"": self.device}

    def for_model(self, config: PreTrainedConfig) -> "Placement":
        """Return the placement of one model: its size decides `dtype` and `spreads`."""
        if self.dtype_if_short is not None:
            return self._fitting_main_memory(config)
        if not self.spreads:
            return self
        free, _ = torch.cuda.mem_get_info(self.device)
        dtype = self.dtype or cast(torch.dtype | None, config.dtype) or torch.float32
        return replace(self, spreads=_bytes(config, dtype, self.quantise) * WORKING_SHARE > free)

    def _fitting_main_memory(self, config: PreTrainedConfig) -> "Placement":
        decided = replace(self, dtype_if_short=None)
        dtype = self.dtype or torch.float32
        needed, available = _bytes(config, dtype, self.quantise) * WORKING_SHARE, available_memory()
        if needed <= available:
            return decided
        log.warning(
            "The model needs %.1f GB of memory in fp32, and %.1f GB are available: its weights are loaded in bf16. "
            "With --dtype fp32 they are loaded in fp32 nevertheless.",
            needed / 1e9,
            available / 1e9,
        )
        return replace(decided, dtype=self.dtype_if_short)


def choose_placement(device: str = "auto", dtype: str = "auto") -> Placement:
    """Choose device and dtype for this process; every rank of `accelerate launch` gets its own GPU.

    Args:
        device: `auto` (a CUDA GPU if there is one, else the CPU), `cpu`, `cuda`, `cuda:1` or `mps`.
        dtype: of the weights, `auto`, `bf16` or `fp32`. `auto` is the checkpoint's own on a CUDA GPU. It is fp32 on other devices. On a
            CPU it is bf16 if the weights in fp32, and a quarter more for activations, do not fit in the available memory.

    Raises:
        InputError: there is no such device or dtype here.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {quoted(dtype)}: is not one of {', '.join(DTYPES)}")
    place, given = _device(device), DTYPES[dtype]
    if place.type == "cuda":
        torch.cuda.set_device(place)
    sharded = is_sharded_by_launcher()
    if given is None and (sharded or place.type == "mps"):
        given = torch.float32
    if given is None and place.type == "cpu":
        return Placement(place, torch.float32, dtype_if_short=torch.bfloat16)
    # A rank shares the machine with the other ranks, so only a process by itself may use all GPUs.
    alone = "LOCAL_RANK" not in os.environ and device in ("auto", "cuda")
    return Placement(place, given, spreads=place.type == "cuda" and alone and torch.cuda.device_count() > 1, sharded=sharded)


def is_sharded_by_launcher() -> bool:
    """Return whether `accelerate launch` has to shard models by FSDP."""
    return _is_set("ACCELERATE_USE_FSDP")


def placement_of(model: nn.Module) -> Placement:
    """Return the placement of a loaded model, so that another one can be loaded like it."""
    # Quantised weights are integers, or floating-point numbers of one byte.
    weight = next(weight for weight in model.parameters() if weight.is_floating_point() and weight.itemsize > 1)
    spreads = len(set(getattr(model, "hf_device_map", None) or {})) > 1
    return Placement(weight.device, weight.dtype, spreads=spreads, quantise=quantised_while_loading(model))


def in_fp32(placement: Placement, what: str) -> Placement:
    """Return the placement for a model whose own weights change: these are fp32, because a small step is lost in bf16.

    Args:
        placement: as chosen.
        what: changes the weights, for the message.

    Raises:
        InputError: the user chose bf16.
    """
    if placement.dtype == torch.bfloat16:
        raise InputError(f"dtype bf16: {what} changes the weights themselves, and small changes are lost in bf16; leave dtype out")
    return replace(placement, dtype=torch.float32, dtype_if_short=None)


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype to compute in: bf16 if the hardware supports it (CUDA, AVX512-BF16), else fp32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else torch.float32


def available_memory() -> int:
    """Return how many bytes of main memory this process can get: those of the machine, or of the container if these are fewer."""
    available = psutil.virtual_memory().available
    try:
        limit, used, stat = ((CGROUP / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current", "stat"))
    # Without control groups, or with those of version 1, the machine's memory counts.
    except OSError:
        return available
    if limit == "max":
        return available
    # The kernel frees cached files when a process needs their memory.
    cached = dict(line.split() for line in stat.splitlines()).get("file", "0")
    return max(0, min(available, int(limit) - int(used) + int(cached)))


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "mps") and name.partition(":")[0] != "cuda":
        raise InputError(f"device {quoted(name)}: is not one of auto, cpu, cuda, cuda:1 (or another number), mps")
    if name == "mps" and not torch.backends.mps.is_available():
        raise InputError("device mps: this machine has no GPU of Apple; leave device out")
    if name == "auto" and (_is_set("ACCELERATE_USE_CPU") or not torch.cuda.is_available()):
        return torch.device("cpu")
    return torch.device(name) if name in ("cpu", "mps") else _gpu(name)


def _gpu(name: str) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = name.partition(":")[2]
    if ":" in name and not number.isdecimal():
        raise InputError(f"device {quoted(name)}: write the number of the GPU after the colon, such as cuda:0")
    if number and "LOCAL_RANK" in os.environ:
        raise InputError(f"device {name}: a launcher gives each process its own GPU; write cuda, or leave device out")
    index = int(number or os.environ.get("LOCAL_RANK", 0))
    if index >= count:
        has = "no CUDA GPU" if not count else "the CUDA GPU cuda:0 only" if count == 1 else f"the CUDA GPUs cuda:0 to cuda:{count - 1}"
        raise InputError(f"device {name}: PyTorch finds {has} here; name another device, or leave it out")
    if name == "auto" and count > 1 and "LOCAL_RANK" not in os.environ:
        log.warning(
            "%d GPUs are visible and one process uses one of them, %s. Train on all: accelerate launch --num_processes %d -m expunge …",
            count,
            f"cuda:{index}",
            count,
        )
    return torch.device("cuda", index)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("1", "true", "yes")


def _bytes(config: PreTrainedConfig, dtype: torch.dtype, quantise: str | None) -> int:
    """Return the bytes of a model's weights in a dtype, linear layers in a quantised form; the model is built without memory for that."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    total = sum(weight.numel() for weight in model.parameters()) * dtype.itemsize
    if quantise is None:
        return total
    head = model.get_output_embeddings()
    linear = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear | Conv1D) and layer is not head)
    return int(total - linear * (dtype.itemsize - BYTES_A_WEIGHT[quantise]))
