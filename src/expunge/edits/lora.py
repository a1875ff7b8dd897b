"""The `lora` edit: low-rank adapters on the linear layers (PEFT); and the LoRA modules that a release trains and subtracts."""

from collections.abc import Collection, Sequence
from typing import cast

from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from peft.utils.transformers_weight_conversion import _convert_peft_config_moe
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from expunge.config import EditSection, ModuleSection
from expunge.edits.base import PeftEdit
from expunge.errors import InputError
from expunge.models.quantised import is_by_bitsandbytes, quantisation_of
from expunge.models.text_part import bypassed_layers, text_names
from expunge.sandbox.search import matching

RANK = 4


class Lora(PeftEdit):
    """Train low-rank adapters on all linear layers, or on those whose names match `edit.modules`."""

    name = "lora"
    description = "low-rank adapters on the linear layers (PEFT)"
    epochs = 10
    lr = 2e-4
    mergeable = True

    def config(self, model: nn.Module, settings: EditSection, base_sha256: str = "") -> LoraConfig:
        """Return the adapter's configuration; raise `InputError` if `modules` matches no linear layer, or LoRA cannot train on them."""
        if (form := quantisation_of(model)) is not None and not is_by_bitsandbytes(model):
            raise InputError(f"edit.name: lora cannot be trained on a model in {form}; choose grun or reft, or give the unquantised model")
        layers = trainable_layers(model, settings.modules, "edit.modules")
        if not layers:
            raise InputError(f"edit.modules: {settings.modules!r} matches no linear layer of this model that LoRA can train")
        targets: str | list[str] = list(layers)
        if not settings.modules:
            below_head = without_head(model, layers)
            targets = "all-linear" if len(below_head) == len(without_head(model, _linear_layers(model))) else list(below_head)
        check_rank(model, settings.rank or RANK)
        return lora_config(settings.rank or RANK, settings.alpha, targets)


def lora_config(
    rank: int, alpha: int | None, targets: str | Sequence[str], rslora: bool = False, fan_in_fan_out: bool = False
) -> LoraConfig:
    """Return a LoRA configuration.

    Args:
        rank: of every adapter.
        alpha: scaling is alpha/rank, or alpha/sqrt(rank) with `rslora`; None means 2 x rank.
        targets: names of the layers, or `all-linear`.
        rslora: rank-stabilised scaling.
        fan_in_fan_out: whether the layers are `Conv1D`, which store their weights transposed.
    """
    return LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        use_rslora=rslora,
        target_modules=targets if isinstance(targets, str) else list(targets),
        fan_in_fan_out=fan_in_fan_out,
        task_type="CAUSAL_LM",
    )


def check_rank(model: nn.Module, rank: int) -> None:
    """Raise `ValueError` for a rank beyond that of any layer: it would only take memory."""
    width = cast(PreTrainedConfig, model.config).get_text_config().hidden_size
    if rank > width:
        raise ValueError(f"rank must be at most the model's hidden size, {width}, got {rank}")


def trainable_layers(model: nn.Module, modules: str | None, setting: str) -> dict[str, nn.Linear | Conv1D]:
    """Return the linear layers that LoRA can train on texts, by name.

    Left out are those that no text goes through, in a model that reads images too; those whose weights their family reads without a call
    of the layer; and those that PEFT refuses for that reason (Mamba).

    Args:
        model: a causal LM without adapters.
        modules: a regular expression; only layers whose names match are returned. None: all.
        setting: where it is from, for errors.
    """
    layers = _linear_layers(model)
    bypassed = bypassed_layers(model, layers)
    names = [name for name in text_names(model, layers) if name not in bypassed and not _refused_by_peft(model, name)]
    return {name: layers[name] for name in (names if modules is None else matching(modules, names, setting))}


def without_head(model: nn.Module, layers: dict[str, nn.Linear | Conv1D]) -> dict[str, nn.Linear | Conv1D]:
    """Return the layers but the output head: many models tie it to the embeddings, which a module on it would change too."""
    head = cast(PreTrainedModel, model).get_output_embeddings()
    return {name: layer for name, layer in layers.items() if layer is not head}


def _linear_layers(model: nn.Module) -> dict[str, nn.Linear | Conv1D]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}


def _refused_by_peft(model: nn.Module, name: str) -> bool:
    try:
        _check_lora_target_modules_mamba(LoraConfig(), model, name.rpartition(".")[2])
    except ValueError:
        return True
    return False


def _taken_for_experts(model: nn.Module, names: Collection[str]) -> set[str]:
    """Return the layers in whose place PEFT would train fused experts, which a release cannot subtract from their module.

    PEFT takes every layer that is named as experts were before they were fused, shared experts among them, for these experts.
    """
    config = LoraConfig(target_modules=list(names))
    try:
        _convert_peft_config_moe(config, model)
    except ValueError as error:
        raise InputError(f"release.module.modules: {error}") from error
    return set(names) - set(config.target_modules or ())


def check_module(model: nn.Module, settings: ModuleSection) -> None:
    """Raise `InputError` if a release's LoRA module does not fit the model."""
    if isinstance(model, PeftModel):
        raise InputError("model: carries requests, but a release changes the weights of a base model; give the base model")
    module_config(model, settings)


def module_config(model: nn.Module, settings: ModuleSection) -> LoraConfig:
    """Return the configuration of a release's LoRA module.

    Raises:
        InputError: the rank is too large, or `modules` matches no linear layer below the head, or both `Linear` and `Conv1D`.
    """
    layers = without_head(model, trainable_layers(model, settings.modules, "release.module.modules"))
    experts = _taken_for_experts(model, layers)
    layers = {name: layer for name, layer in layers.items() if name not in experts}
    if not layers:
        raise InputError(
            f"release.module.modules: {settings.modules!r} matches no linear layer of this model below its head that LoRA can train"
        )
    transposed = {isinstance(layer, Conv1D) for layer in layers.values()}
    if len(transposed) > 1:
        raise InputError(f"release.module.modules: {settings.modules!r} matches layers of two kinds, Linear and Conv1D; choose one kind")
    try:
        check_rank(model, settings.rank)
    except ValueError as error:
        raise InputError(f"release.module: {error}") from error
    return lora_config(settings.rank, settings.alpha, list(layers), settings.rslora, transposed.pop())
