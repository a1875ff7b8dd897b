"""Merge a LoRA into the weights of its model, for an export."""

from dataclasses import dataclass
from typing import cast

from peft import PeftModel
from peft.tuners.lora import LoraLayer, ParamWrapper
from torch import nn
from transformers import PreTrainedModel

from expunge.errors import InputError


@dataclass(frozen=True)
class MergedModel:
    """A model without adapters that answers as the edited one does.

    Attributes:
        model: in evaluation mode.
        untied: name of each weight that was a part of another one -> name of that one, which the merge left as it was.
    """

    model: PreTrainedModel
    untied: dict[str, str]


def merge(model: nn.Module) -> MergedModel:
    """Merge the LoRA that a model carries, if it does, into its weights, in place.

    A model may use one weight for its embeddings and its head. A LoRA on the head must not change the embeddings, so the head gets a
    copy, and the configuration says that they are two.

    Raises:
        InputError: a LoRA is on another weight that the model uses twice.
    """
    if not isinstance(model, PeftModel):
        return MergedModel(cast(PreTrainedModel, model), {})
    base = cast(PreTrainedModel, model.get_base_model())
    untied = _untie(base)
    return MergedModel(cast(PreTrainedModel, model.merge_and_unload()), untied)


def _untie(model: PreTrainedModel) -> dict[str, str]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name.replace(".base_layer.", "."))
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    untied: dict[str, str] = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        # An adapter on fused experts wraps their module, and names the parameter.
        weight = layer.get_param() if isinstance(layer, ParamWrapper) else cast(nn.Linear, layer.get_base_layer()).weight
        others = [other for other in names[id(weight)] if other != f"{name}.weight"]
        if isinstance(layer, ParamWrapper):
            others = others[1:]
        if not others:
            continue
        base = cast(nn.Linear, layer.get_base_layer())
        if layer is not head or base.weight is not embeddings.weight or len(others) > 1:
            raise InputError(f"{name}.weight: the edit changes it, and {others[0]} is the same weight; train the edit on other layers")
        base.weight = nn.Parameter(base.weight.detach().clone(), requires_grad=False)
        for config in {id(config): config for config in (model.config, model.config.get_text_config())}.values():
            config.tie_word_embeddings = False
        untied[f"{name}.weight"] = others[0]
    return untied
