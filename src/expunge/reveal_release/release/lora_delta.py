"""Parameter-efficient modules in weight space: LoRA folders read, added to a model and joined, exactly (Zhang et al., arXiv 2306.14870)."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from expunge.errors import InputError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
FACTOR = re.compile(rf"{re.escape(PREFIX)}(?P<module>.+)\.lora_(?P<half>[AB])\.weight")
READ = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out"}
SAYS_NOTHING_OF_THE_DELTA = {
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "target_modules",
    "task_type",
}
# The other ways to begin (PiSSA, OLoRA, LoftQ, …) change the base weights too.
PLAIN_STARTS = (True, False, "gaussian", "orthogonal")


@dataclass(frozen=True)
class LoraModule:
    """A LoRA module: it adds scale * B @ A to each of the weights it names.

    Attributes:
        factors: {name of a weight of the base model: (A, B)}, (rank, in) and (out, rank).
        scale: {the same names: s}: alpha/rank, or alpha/sqrt(rank) with rsLoRA (Kalajdzievski, 2023, arXiv 2312.03732).
        transposed: whether the base model keeps these weights as (in, out), as GPT-2's Conv1D does; PEFT says fan_in_fan_out.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    scale: dict[str, float]
    transposed: bool = False


def read_module(folder: Path) -> LoraModule:
    """Read a plain LoRA that PEFT saved, and nothing else: what is not read would be left out of the weights in silence.

    Raises:
        InputError: there is none, or it does more than add s * B @ A (DoRA, biases, saved modules, embeddings, …).
    """
    settings = _read_settings(folder)
    factors, scale = _read_factors(folder), {}
    for name, (a, _) in factors.items():
        rank, alpha = (_of_module(settings, *which, name) for which in (("rank_pattern", "r"), ("alpha_pattern", "lora_alpha")))
        if len(a) != rank or not isinstance(alpha, int | float):
            raise InputError(f"{folder}: {name} has factors of rank {len(a)}, and {CONFIG} says rank {rank!r} and alpha {alpha!r}")
        scale[name] = alpha / (math.sqrt(rank) if settings["use_rslora"] else rank)
    return LoraModule(factors, scale, bool(settings["fan_in_fan_out"]))


def save_module(pem: LoraModule, folder: Path) -> None:
    """Save a PEM as PEFT loads it; the same PEM gives the same bytes.

    Args:
        pem: ranks and scales may differ from weight to weight.
        folder: made where it is not there.
    """
    ranks = {_module(name): len(a) for name, (a, _) in pem.factors.items()}
    alphas = {module: _tidy(pem.scale[f"{module}.weight"] * rank) for module, rank in ranks.items()}
    rank, alpha = Counter(ranks.values()).most_common(1)[0][0], Counter(alphas.values()).most_common(1)[0][0]
    config = LoraConfig(r=rank, fan_in_fan_out=pem.transposed, task_type="CAUSAL_LM", inference_mode=True)
    patterns = {
        "rank_pattern": {re.escape(module): own for module, own in ranks.items() if own != rank},
        "alpha_pattern": {re.escape(module): own for module, own in alphas.items() if own != alpha},
    }
    # A set of PEFT's own would be written in another order by every process.
    settings = {**config.to_dict(), **patterns, "lora_alpha": alpha, "target_modules": sorted(ranks)}
    tensors = {}
    for name, halves in pem.factors.items():
        for half, tensor in zip("AB", halves, strict=True):
            tensors[f"{PREFIX}{_module(name)}.lora_{half}.weight"] = tensor.detach().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
    save_file(tensors, folder / WEIGHTS)


def delta(pem: LoraModule) -> dict[str, Tensor]:
    """What a PEM adds to each weight, fp32, oriented as the base model keeps it."""
    return {name: _delta(pem, name) for name in pem.factors}


@torch.no_grad()
def add_deltas(model: nn.Module, terms: Sequence[tuple[float, LoraModule]]) -> None:
    """W <- W + sum of c * s * B @ A, in place: accumulated in fp32, rounded to the weight's dtype once. With -c a PEM is negated.

    A term with c = 0 does nothing at all; with no other one every weight keeps its bits. Nothing is changed unless all fit.

    Args:
        model: without adapters.
        terms: (c, PEM) each.

    Raises:
        InputError: see `check_fits`.
    """
    for _, pem in terms:
        check_fits(model, pem)
    terms = [(c, pem) for c, pem in terms if c]
    for name in dict.fromkeys(name for _, pem in terms for name in pem.factors):
        weight = model.get_parameter(name)
        change = sum(_delta(pem, name, c).to(weight.device) for c, pem in terms if name in pem.factors)
        weight.copy_(weight.to(torch.promote_types(weight.dtype, torch.float32)) + change)


@contextmanager
def as_if(model: nn.Module, terms: Sequence[tuple[float, LoraModule]]) -> Iterator[None]:
    """The model with deltas added as `add_deltas` does, within this context; after it every weight has its old bits."""
    for _, pem in terms:
        check_fits(model, pem)
    before = {name: model.get_parameter(name).detach().clone() for c, pem in terms if c for name in pem.factors}
    try:
        add_deltas(model, terms)
        yield
    finally:
        with torch.no_grad():
            for name, weight in before.items():
                model.get_parameter(name).copy_(weight)


def check_fits(model: nn.Module, pem: LoraModule) -> None:
    """See that a model has the weights of a PEM, each for itself.

    Raises:
        InputError: it lacks one, has it in another shape or orientation, or ties it to another weight, which would change with it.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    owners = Counter(weight.data_ptr() for weight in weights.values())
    for name, (a, b) in pem.factors.items():
        if name not in weights:
            raise InputError(f"{name}: this model has no such weight, so the PEM is of another one")
        if owners[weights[name].data_ptr()] > 1:
            raise InputError(f"{name}: is tied to another weight, which would change with it; leave it out by modules")
        transposed = isinstance(model.get_submodule(_module(name)), Conv1D)
        shape = (a.shape[1], len(b)) if transposed else (len(b), a.shape[1])
        if transposed != pem.transposed or tuple(weights[name].shape) != shape:
            raise InputError(f"{name}: the PEM's factors do not fit this model's weight of shape {tuple(weights[name].shape)}")


def cat(pems: Sequence[LoraModule], coefficients: Sequence[float]) -> LoraModule:
    """One PEM whose delta is the sum of c * delta of others: their factors side by side, ranks added up.

    Adding up A with A and B with B instead gives products of one's A with the other's B: another matrix altogether.

    Args:
        pems: of one base model, at least one.
        coefficients: one each.

    Raises:
        InputError: they are of differently stored weights.
    """
    if len({pem.transposed for pem in pems}) != 1:
        raise InputError("these PEMs do not add up: some are of weights stored as (in, out), some as (out, in)")
    terms = list(zip(coefficients, pems, strict=True))
    factors = {}
    for name in dict.fromkeys(name for pem in pems for name in pem.factors):
        own = [(c * pem.scale[name], *pem.factors[name]) for c, pem in terms if name in pem.factors]
        factors[name] = (torch.cat([a.float() for _, a, _ in own]), torch.cat([s * b.float() for s, _, b in own], dim=1))
    return LoraModule(factors, dict.fromkeys(factors, 1.0), pems[0].transposed)


def _delta(pem: LoraModule, name: str, coefficient: float = 1.0) -> Tensor:
    a, b = pem.factors[name]
    # The scale goes to the small factor: the product is as large as the weight.
    product = (coefficient * pem.scale[name] * b.float()) @ a.float()
    return product.T if pem.transposed else product


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        given = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no PEM there ({CONFIG} is missing or cannot be read)") from error
    defaults = LoraConfig().to_dict()
    if not isinstance(given, dict) or given.get("peft_type") != defaults["peft_type"]:
        raise InputError(f"{folder}: is no LoRA")
    for name, value in given.items():
        if name == "init_lora_weights":
            plain = value in PLAIN_STARTS
        else:
            plain = name in READ | SAYS_NOTHING_OF_THE_DELTA or (value or None) == (defaults.get(name) or None)
        if not plain:
            raise InputError(f"{folder}: {name} is {value!r}; only a plain LoRA, which adds s * B @ A, can be added to weights")
    return {**defaults, **given}


def _read_factors(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder}: no PEM there ({WEIGHTS} is missing or cannot be read)") from error
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        found = FACTOR.fullmatch(key)
        if found is None or tensor.ndim != 2 or not tensor.is_floating_point():
            raise InputError(f"{folder}: {key} is no factor of a linear layer; only those can be added to weights")
        halves.setdefault(f"{found['module']}.weight", {})[found["half"]] = tensor
    for name, own in halves.items():
        if set(own) != {"A", "B"} or len(own["A"]) != own["B"].shape[1]:
            raise InputError(f"{folder}: {name} does not have two factors of one rank")
    if not halves:
        raise InputError(f"{folder}: {WEIGHTS} is empty")
    return {name: (own["A"], own["B"]) for name, own in halves.items()}


def _of_module(settings: dict[str, Any], patterns: str, otherwise: str, name: str) -> Any:
    given = settings[patterns] or {}
    return given.get(get_pattern_key(list(given), _module(name)), settings[otherwise])


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _tidy(alpha: float) -> int | float:
    """Whole where it is whole but for rounding: others read alpha as an integer."""
    return round(alpha) if math.isclose(alpha, round(alpha), rel_tol=1e-12) else alpha
