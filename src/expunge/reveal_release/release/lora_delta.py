"""LoRA modules in weight space: read and save PEFT folders, add modules to a model exactly, concatenate them (arXiv 2306.14870)."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from pydantic import AfterValidator, Field
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from expunge.config.section import pattern
from expunge.documents import Closed, checked, read_json
from expunge.edits.manifest import read_tensors
from expunge.errors import Damaged, InputError
from expunge.files import make_folder, write_text
from expunge.models.finite import LOWER_LR, check_finite, json_text

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
FACTOR = re.compile(rf"{re.escape(PREFIX)}(?P<module>.+)\.lora_(?P<half>[AB])\.weight")
READ = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out"}
"""Settings of PEFT that `read_module` uses."""
IRRELEVANT = {
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
"""Settings of PEFT that do not change the delta."""
# The other initialisations (PiSSA, OLoRA, LoftQ, …) change the base weights too.
PLAIN_INITIALISATIONS = (True, False, "gaussian", "orthogonal")


# PEFT takes these names as regular expressions. Without repetition, a match takes no longer than the name of a layer.
LayerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\\\[\]-]+$"), AfterValidator(pattern)]


class _Read(Closed):
    r: int = Field(ge=1)
    lora_alpha: float
    use_rslora: bool
    rank_pattern: dict[LayerName, int] | None
    alpha_pattern: dict[LayerName, float] | None
    fan_in_fan_out: bool


@dataclass(frozen=True)
class LoraModule:
    """A LoRA module: it adds scale * B @ A to each of the weights it names.

    Attributes:
        factors: {name of a weight of the base model: (A, B)}, (rank, in) and (out, rank).
        scale: {the same names: s}: alpha/rank, or alpha/sqrt(rank) with rsLoRA (Kalajdzievski, 2023, arXiv 2312.03732).
        transposed: whether the base model stores these weights as (in, out), as GPT-2's Conv1D does; in PEFT fan_in_fan_out.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    scale: dict[str, float]
    transposed: bool = False


def read_module(folder: Path) -> LoraModule:
    """Read a plain LoRA that PEFT saved.

    Anything else is refused, because the part that is not read would be missing from the weights without notice.

    Raises:
        InputError: there is none, or it does more than add s * B @ A (DoRA, biases, saved modules, embeddings, …).
    """
    settings = _read_settings(folder)
    factors, scale = _read_factors(folder), {}
    for name, (a, _) in factors.items():
        rank = _setting_of(name, settings, "rank_pattern", "r")
        alpha = _setting_of(name, settings, "alpha_pattern", "lora_alpha")
        if len(a) != rank or not isinstance(alpha, int | float):
            raise InputError(f"{folder}: {name} has factors of rank {len(a)}, but {CONFIG} has rank {rank!r} and alpha {alpha!r}")
        scale[name] = alpha / (math.sqrt(rank) if settings["use_rslora"] else rank)
    return LoraModule(factors, scale, bool(settings["fan_in_fan_out"]))


def save_module(module: LoraModule, folder: Path) -> None:
    """Save a module so that PEFT can load it; the same module gives the same bytes.

    Args:
        module: ranks and scales may differ between weights.
        folder: created if it does not exist.
    """
    ranks = {_layer(name): len(a) for name, (a, _) in module.factors.items()}
    alphas = {layer: _whole(module.scale[f"{layer}.weight"] * rank) for layer, rank in ranks.items()}
    rank, alpha = Counter(ranks.values()).most_common(1)[0][0], Counter(alphas.values()).most_common(1)[0][0]
    config = LoraConfig(r=rank, fan_in_fan_out=module.transposed, task_type="CAUSAL_LM", inference_mode=True)
    patterns = {
        "rank_pattern": {re.escape(layer): other for layer, other in ranks.items() if other != rank},
        "alpha_pattern": {re.escape(layer): other for layer, other in alphas.items() if other != alpha},
    }
    # `target_modules` of PEFT is a set, which each process would write in another order.
    settings = {**config.to_dict(), **patterns, "lora_alpha": alpha, "target_modules": sorted(ranks)}
    tensors = {}
    for name, factors in module.factors.items():
        for half, factor in zip("AB", factors, strict=True):
            tensors[f"{PREFIX}{_layer(name)}.lora_{half}.weight"] = factor.detach().cpu().contiguous()
    check_finite(tensors.items(), f"and the module was not saved; {LOWER_LR}")
    make_folder(folder)
    write_text(folder / CONFIG, json_text(settings, str(folder / CONFIG), indent=2, sort_keys=True))
    save_file(tensors, folder / WEIGHTS)


def deltas(module: LoraModule) -> dict[str, Tensor]:
    """Return what a module adds to each weight, fp32, in the base model's orientation."""
    return {name: _delta(module, name) for name in module.factors}


@torch.no_grad()
def add_deltas(model: nn.Module, terms: Sequence[tuple[float, LoraModule]]) -> None:
    """Add modules to the weights in place, W <- W + sum of c * s * B @ A; a negative c subtracts (Zhang et al., 2023, arXiv 2306.14870).

    The sum is accumulated in fp32 and rounded to the weight's dtype once. A weight that no term with c != 0 names does not change by a bit.

    Args:
        model: without adapters.
        terms: (c, module) each. No weight changes unless all modules fit the model.

    Raises:
        InputError: see `check_fits`.
    """
    for _, module in terms:
        check_fits(model, module)
    terms = [(c, module) for c, module in terms if c]
    for name in dict.fromkeys(name for _, module in terms for name in module.factors):
        weight = model.get_parameter(name)
        change = sum(_delta(module, name, c).to(weight.device) for c, module in terms if name in module.factors)
        weight.copy_(weight.to(torch.promote_types(weight.dtype, torch.float32)) + change)


@contextmanager
def temporary_deltas(model: nn.Module, terms: Sequence[tuple[float, LoraModule]]) -> Iterator[None]:
    """Add modules to the weights within this context, as `add_deltas` does; afterwards every weight has its old bits."""
    for _, module in terms:
        check_fits(model, module)
    before = {name: model.get_parameter(name).detach().clone() for c, module in terms if c for name in module.factors}
    try:
        add_deltas(model, terms)
        yield
    finally:
        with torch.no_grad():
            for name, weight in before.items():
                model.get_parameter(name).copy_(weight)


def check_fits(model: nn.Module, module: LoraModule) -> None:
    """Check that a model has the weights that a module changes.

    Raises:
        InputError: the model lacks a weight, has it in another shape or orientation, or ties it to another weight, which would change
            with it.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    uses = Counter(weight.data_ptr() for weight in weights.values())
    for name, (a, b) in module.factors.items():
        if name not in weights:
            raise InputError(f"{name}: this model has no such weight; the module is of another model")
        if uses[weights[name].data_ptr()] > 1:
            raise InputError(f"{name}: is tied to another weight, which would change with it; exclude it by release.module.modules")
        transposed = isinstance(model.get_submodule(_layer(name)), Conv1D)
        shape = (a.shape[1], len(b)) if transposed else (len(b), a.shape[1])
        if transposed != module.transposed or tuple(weights[name].shape) != shape:
            raise InputError(f"{name}: the module's factors do not fit this model's weight of shape {tuple(weights[name].shape)}")


def concatenate(modules: Sequence[LoraModule], coefficients: Sequence[float]) -> LoraModule:
    """Return one module whose delta is the sum of c * delta of others: factors are concatenated, ranks add up.

    Adding A to A and B to B would be wrong: it also multiplies the A of one module with the B of another.

    Args:
        modules: of one base model, at least one.
        coefficients: one each.

    Raises:
        InputError: some modules are of transposed weights, and others are not.
    """
    if len({module.transposed for module in modules}) != 1:
        raise InputError("these modules cannot be concatenated: some are of weights stored as (in, out), some as (out, in)")
    terms = list(zip(coefficients, modules, strict=True))
    factors = {}
    for name in dict.fromkeys(name for module in modules for name in module.factors):
        parts = [(c * module.scale[name], *module.factors[name]) for c, module in terms if name in module.factors]
        factors[name] = (torch.cat([a.float() for _, a, _ in parts]), torch.cat([s * b.float() for s, _, b in parts], dim=1))
    return LoraModule(factors, dict.fromkeys(factors, 1.0), modules[0].transposed)


def _delta(module: LoraModule, name: str, coefficient: float = 1.0) -> Tensor:
    a, b = module.factors[name]
    # The coefficients multiply the small factor, because the product is as large as the weight.
    product = (coefficient * module.scale[name] * b.float()) @ a.float()
    return product.T if module.transposed else product


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        given, defaults = read_json(folder / CONFIG), LoraConfig().to_dict()
    except InputError as error:
        raise InputError(f"{folder}: holds no LoRA module ({CONFIG} is missing or cannot be used: {error})") from error
    if not isinstance(given, dict) or given.get("peft_type") != defaults["peft_type"]:
        raise InputError(f"{folder}: is not a LoRA")
    for name, value in given.items():
        if name == "init_lora_weights":
            plain = value in PLAIN_INITIALISATIONS
        else:
            plain = name in READ | IRRELEVANT or (value or None) == (defaults.get(name) or None)
        if not plain:
            raise InputError(f"{folder}: {name} is {value!r}; only a plain LoRA, which adds s * B @ A, can be added to weights")
    settings = {**defaults, **given}
    checked({name: settings[name] for name in READ}, _Read, str(folder / CONFIG))
    return settings


def _read_factors(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    try:
        # Copies, because the tensors may be mapped from a file that changes later.
        tensors = {name: tensor.clone() for name, tensor in read_tensors(folder / WEIGHTS).items()}
    except Damaged as error:
        raise InputError(f"{folder}: holds no LoRA module ({WEIGHTS} is missing or cannot be used: {error})") from error
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = FACTOR.fullmatch(key)
        if match is None or tensor.ndim != 2 or not tensor.is_floating_point():
            raise InputError(f"{folder}: {key} is not a factor of a linear layer; only those can be added to weights")
        halves.setdefault(f"{match['module']}.weight", {})[match["half"]] = tensor
    for name, pair in halves.items():
        if set(pair) != {"A", "B"} or len(pair["A"]) != pair["B"].shape[1]:
            raise InputError(f"{folder}: {name} does not have two factors of one rank")
    if not halves:
        raise InputError(f"{folder}: {WEIGHTS} is empty")
    return {name: (pair["A"], pair["B"]) for name, pair in halves.items()}


def _setting_of(name: str, settings: dict[str, Any], patterns: str, default: str) -> Any:
    by_pattern = settings[patterns] or {}
    return by_pattern.get(get_pattern_key(list(by_pattern), _layer(name)), settings[default])


def _layer(weight: str) -> str:
    return weight.removesuffix(".weight")


def _whole(alpha: float) -> int | float:
    """Round where only rounding errors make alpha a fraction: other programs read alpha as an integer."""
    return round(alpha) if math.isclose(alpha, round(alpha), rel_tol=1e-12) else alpha
