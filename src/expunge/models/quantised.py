"""Quantised models: quantise a checkpoint while it is loaded, and load checkpoints that are stored quantised."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, AutoHfQuantizer
from transformers.utils.quantization_config import BitsAndBytesConfig, FineGrainedFP8Config, Mxfp4Config

from expunge.documents import read_json
from expunge.errors import InputError, first_line
from expunge.models.text_part import bypassed_layers

if TYPE_CHECKING:
    from bitsandbytes.nn import Linear4bit

    from expunge.models.placement import Placement

INSTALL = "pip install 'expunge[quantised]'"
PACKAGES = {
    "aqlm": "aqlm[cpu,gpu]",
    "auto-round": "auto-round",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "eetq": "kernels",
    "gptq": "optimum gptqmodel",
    "hqq": "hqq",
    "quanto": "optimum-quanto",
    "quark": "amd-quark",
    "torchao": "torchao",
}
"""What to install for checkpoints of a method; of other methods transformers' own message is shown."""
BITSANDBYTES = "bitsandbytes"
BYTES_A_WEIGHT = {"nf4": 0.5 + 4 / 64, "int8": 1.0}
"""By the form that a weight is quantised to; in `nf4` 64 weights share a scale of four bytes."""
DEQUANTISED_ON_CPU = {"fp8": FineGrainedFP8Config, "mxfp4": Mxfp4Config}
"""Methods whose kernels need a GPU; on a CPU transformers loads the weights that their numbers stand for."""


def loading_arguments(name: str, config: PreTrainedConfig, placement: "Placement") -> dict[str, Any]:
    """Return arguments of `from_pretrained` for a quantised model, after checking that this machine can load it; none for other models.

    Args:
        name: of the model, for messages.
        config: of the model, as it is in its folder.
        placement: of the model.

    Raises:
        InputError: the checkpoint is quantised and should be quantised again, a package or a GPU is missing, or transformers does not
            know the method.
    """
    stored, kind = stored_quantisation(config.to_dict(), name), placement.quantise
    if placement.sharded and (stored or kind):
        raise InputError(f"{name}: a quantised model cannot be sharded by FSDP; train without FSDP, or without quantisation")
    if stored is not None:
        if kind is not None:
            raise InputError(f"{name}: is stored in {method_of(stored)} already, so that it cannot be loaded in {kind}; leave quantise out")
        _check_loadable(name, stored, placement.device)
    elif kind is None:
        return {}
    else:
        check_bitsandbytes(f"quantise {kind}")
    # Without a map, a quantised model would be loaded to any GPU that is visible.
    place = {} if placement.spreads else {"device_map": {"": placement.device}}
    return {**place, "quantization_config": _config(stored, kind, placement, cast(torch.dtype | None, config.dtype))}


def _config(stored: dict[str, Any] | None, kind: str | None, placement: "Placement", dtype: torch.dtype | None) -> Any:
    """Return the `quantization_config`; None where that of the checkpoint decides."""
    if stored is not None:
        dequantising = DEQUANTISED_ON_CPU.get(method_of(stored))
        return dequantising(dequantize=True) if dequantising is not None and placement.device.type == "cpu" else None
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_compute_dtype=placement.dtype or dtype or torch.float32)


def check_bitsandbytes(what: str) -> None:
    """Raise `InputError` if bitsandbytes is not installed; `what` needs it."""
    if find_spec(BITSANDBYTES) is None:
        raise InputError(f"{what}: needs the package bitsandbytes; install it with: {INSTALL}")


def stored_quantisation(config: Mapping[str, Any], name: str | Path) -> dict[str, Any] | None:
    """Return the `quantization_config` of a checkpoint that is stored quantised; None for other checkpoints.

    Args:
        config: the content of its config.json.
        name: of the model, for messages.

    Raises:
        InputError: it is there and names no method.
    """
    text = config.get("text_config")
    stored = config.get("quantization_config") or (text.get("quantization_config") if isinstance(text, Mapping) else None)
    if stored is None:
        return None
    if not isinstance(stored, Mapping) or not isinstance(_method(stored), str):
        raise InputError(f"{name}: quantization_config in its config.json names no quant_method")
    return dict(stored)


def stored_in_folder(folder: Path) -> dict[str, Any] | None:
    """Return what `stored_quantisation` returns for the model in a folder; None for a GGUF file, whose weights are dequantised."""
    path = folder / "config.json"
    return stored_quantisation(read_json(path, dict[str, Any]), folder) if path.is_file() else None


def method_of(stored: Mapping[str, Any]) -> str:
    """Return the method of a `quantization_config`, such as `gptq`."""
    return str(_method(stored))


def _method(stored: Mapping[str, Any]) -> object:
    # Old checkpoints of bitsandbytes have no quant_method.
    return stored.get("quant_method") or (BITSANDBYTES if stored.get("load_in_4bit") or stored.get("load_in_8bit") else None)


def _check_loadable(name: str, stored: dict[str, Any], device: torch.device) -> None:
    method = method_of(stored)
    what = f"{name}: is stored in {method}"
    # transformers would only warn about an unknown method, and read the stored numbers as if they were weights.
    if method not in (BITSANDBYTES, *AUTO_QUANTIZER_MAPPING):
        raise InputError(f"{what}, a method of quantisation that this version of transformers does not know")
    if method == BITSANDBYTES:
        check_bitsandbytes(what)
    if method in DEQUANTISED_ON_CPU and device.type == "cpu":
        return
    try:
        AutoHfQuantizer.from_config(dict(stored), pre_quantized=True).validate_environment(device_map={"": device}, dtype=torch.bfloat16)
    # A missing package, no GPU, or whatever else the library of a method finds wrong.
    except Exception as error:
        needs = f"; it needs: pip install {PACKAGES[method]}" if isinstance(error, ImportError) and method in PACKAGES else ""
        gpu = "" if needs or torch.cuda.is_available() else "; it may need a GPU, and there is none here"
        raise InputError(f"{what}, which cannot be loaded on this machine ({first_line(error)}){needs}{gpu}") from error


def settle(name: str, model: PreTrainedModel, dtype: torch.dtype | None) -> None:
    """Make the layers of a quantised model compute the same numbers in every pass, or refuse the model.

    Args:
        name: of the model, for messages.
        model: as transformers loaded it.
        dtype: of weights that it was to be loaded in; None: that of the checkpoint.

    Raises:
        InputError: this version of bitsandbytes computes a layer wrongly on its device.
    """
    if quantisation_of(model) is None:
        _bring_to(model, dtype or cast(torch.dtype, model.dtype))
    checked = set[tuple[int, int, str, torch.device]]()
    for layer in _layers_in_4_bits(model):
        # On some CPUs a pass without gradients would rewrite the weights in a form with bf16 scales, through which no gradient flows.
        layer.support_avx512bf16_for_cpu = False
        state = cast(Any, layer.weight).quant_state
        key = (layer.in_features, state.blocksize, state.quant_type, layer.weight.device)
        if key not in checked:
            checked.add(key)
            _check_layer(name, *key)
    if getattr(model, "is_loaded_in_8bit", False):
        from expunge.models.int8_layers import without_rounded_activations

        without_rounded_activations(model)
    _check_runs(name, model)


def _check_runs(name: str, model: PreTrainedModel) -> None:
    """Run two tokens, and refuse a model whose code reads the weights of a quantised layer without a call of the layer."""
    if not is_by_bitsandbytes(model):
        return
    form = quantisation_of(model)
    layers = [path for path, module in model.named_modules() if isinstance(module, nn.Linear) and not module.weight.is_floating_point()]
    try:
        bypassed = bypassed_layers(model.eval(), layers)
    # Codes in place of weights make the code of a family fail in whatever way.
    except Exception as error:
        raise InputError(f"{name}: a {type(model).__name__} cannot be run in {form} ({first_line(error)}); leave quantise out") from error
    if bypassed:
        raise InputError(f"{name}: a {type(model).__name__} reads the weights of {min(bypassed)} directly; it cannot be run in {form}")


def _bring_to(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Bring the weights to one dtype: those that transformers dequantised are in bf16, or in the dtype of their scales."""
    wide = () if dtype == torch.float32 else cast(tuple[str, ...], model._keep_in_fp32_modules or ())
    for name, weight in model.named_parameters():
        if not any(part in wide for part in name.split(".")):
            weight.data = weight.data.to(dtype)


def _check_layer(name: str, width: int, blocksize: int, kind: str, device: torch.device) -> None:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    # Version 0.50 mixes up the blocks on CPUs if they do not end where rows end.
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn((blocksize, width), generator=generator).to(device)
    codes, state = quantize_4bit(weight, blocksize=blocksize, quant_type=kind)
    if not torch.allclose(dequantize_4bit(codes, state).float(), _dequantised(codes, cast(Any, state)), atol=1e-3):
        raise InputError(
            f"{name}: bitsandbytes {version(BITSANDBYTES)} computes layers of {width} inputs wrongly in 4 bits on {device.type}; "
            "load the model on a GPU, or in another form, such as --quantise int8"
        )


def _dequantised(codes: Tensor, state: Any) -> Tensor:
    """Return the weight that 4-bit codes stand for."""
    flat = codes.flatten()
    values = state.code[torch.stack((flat >> 4, flat & 15), -1).flatten().long()]
    return (values.view(-1, state.blocksize) * state.absmax[:, None]).view(state.shape)


def _layers_in_4_bits(model: nn.Module) -> "Iterator[Linear4bit]":
    if getattr(model, "is_loaded_in_4bit", False):
        from bitsandbytes.nn import Linear4bit

        yield from (module for module in model.modules() if isinstance(module, Linear4bit))


def quantisation_of(model: nn.Module) -> str | None:
    """Return how a model in memory is quantised: `nf4`, `fp4` or `int8` by bitsandbytes, or another method's name; None: it is not."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return None
    config = quantizer.quantization_config
    if isinstance(config, BitsAndBytesConfig):
        return "int8" if config.load_in_8bit else config.bnb_4bit_quant_type
    return str(getattr(config.quant_method, "value", config.quant_method))


def quantised_while_loading(model: nn.Module) -> str | None:
    """Return the kind that `loading_config` was given for a model."""
    quantizer = getattr(model, "hf_quantizer", None)
    return None if quantizer is None or quantizer.pre_quantized else quantisation_of(model)


def is_by_bitsandbytes(model: nn.Module) -> bool:
    """Return whether bitsandbytes has quantised a model: its layers pass gradients, and LoRA can be trained on them."""
    return isinstance(getattr(getattr(model, "hf_quantizer", None), "quantization_config", None), BitsAndBytesConfig)


def check_trainable(model: nn.Module, what: str) -> None:
    """Raise `InputError` if no gradient flows through the layers of a quantised model; `what` would need it."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and (not quantizer.is_trainable or _stops_gradients(model)):
        raise InputError(f"{what}: no gradient flows through its layers in {quantisation_of(model)} here; train on the unquantised model")


def _stops_gradients(model: nn.Module) -> bool:
    """Return whether a layer has an output without a gradient for an input with one: the layers around it would hide that."""
    stops: list[nn.Module] = []

    def watch(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        has_gradient = any(isinstance(value, Tensor) and value.requires_grad for value in args)
        if has_gradient and isinstance(output, Tensor) and output.is_floating_point() and not output.requires_grad:
            stops.append(module)

    embeddings = cast(Any, model).get_input_embeddings()
    hooks = [module.register_forward_hook(watch) for module in model.modules() if not any(module.children())]
    hooks.append(embeddings.register_forward_hook(lambda _module, _args, output: output.detach().requires_grad_()))
    try:
        with torch.enable_grad():
            model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=embeddings.weight.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return bool(stops)


def elements(parameter: nn.Parameter) -> int:
    """Return the number of weights that a parameter holds: bitsandbytes stores two of 4 bits in a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()
