"""Freezing and restoring what is trainable."""

from contextlib import suppress

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.models.parameters import base_parameters, frozen_parameters, restored_requires_grad


@pytest.fixture
def layers() -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    layers[0].requires_grad_(False)
    return layers


def trainable(model: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in model.parameters()]


def test_parameters_are_frozen_inside_the_context_and_restored_after_an_error(layers):
    with suppress(RuntimeError), frozen_parameters(layers):
        assert trainable(layers) == [False, False, False, False]
        raise RuntimeError
    assert trainable(layers) == [False, False, True, True]


def test_requires_grad_can_be_restored_before_the_context_ends(layers):
    with restored_requires_grad(layers) as restore:
        layers.requires_grad_(True)
        restore()
        assert trainable(layers) == [False, False, True, True]
        layers.requires_grad_(True)
    assert trainable(layers) == [False, False, True, True]


def test_base_parameters_are_those_that_a_model_has_without_its_adapter():
    torch.manual_seed(0)
    sizes = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = LlamaForCausalLM(LlamaConfig(**sizes))
    plain = [id(parameter) for parameter in model.parameters()]
    assert [id(parameter) for parameter in base_parameters(model)] == plain
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], r=2))
    assert [id(parameter) for parameter in base_parameters(adapted)] == plain
