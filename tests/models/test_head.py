"""The chunked head gives the losses and gradients of full logits, and is not used for unsuitable heads."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from expunge.models import head as head_module
from expunge.models.head import frozen_head, token_scores
from expunge.models.loading import load


@pytest.mark.parametrize("bias", [False, True])
def test_losses_and_gradients_in_chunks_equal_those_of_all_logits(monkeypatch, bias):
    monkeypatch.setattr(head_module, "CHUNK_BYTES", 3 * 50 * 8)
    torch.manual_seed(0)
    head = nn.Linear(7, 50, bias=bias, dtype=torch.float64).requires_grad_(False)
    hidden = (5 * torch.randn(10, 7, dtype=torch.float64)).requires_grad_()
    targets, weights = torch.randint(0, 50, (10,)), torch.rand(10, dtype=torch.float64)
    expected = cross_entropy(head(hidden), targets, reduction="none")
    (gradient,) = torch.autograd.grad((expected * weights).sum(), hidden)
    found, not_computed = token_scores(hidden, head, targets)
    torch.testing.assert_close(found, expected)
    assert not_computed is None
    without_gradient, greedy = token_scores(hidden.detach(), head, targets)
    assert torch.equal(without_gradient, found)
    assert torch.equal(greedy, head(hidden).argmax(-1) == targets)
    torch.testing.assert_close(torch.autograd.grad((found * weights).sum(), hidden)[0], gradient)
    assert torch.autograd.gradcheck(lambda states: token_scores(states, head, targets)[0], hidden)


def test_huge_logits_do_not_overflow():
    head = nn.Linear(1, 2, bias=False).requires_grad_(False)
    head.weight.copy_(torch.tensor([[1000.0], [-1000.0]]))
    # Logits 1000 and -1000: the second target costs their difference.
    assert token_scores(torch.ones(2, 1), head, torch.tensor([0, 1]))[0].tolist() == [0.0, 2000.0]


def test_a_trained_head_and_capped_logits_use_full_logits(make_tiny_model, make_tokenizer):
    model, _ = load(make_tiny_model())
    assert frozen_head(model) is None
    assert frozen_head(model.requires_grad_(False)) is model.lm_head
    config = Gemma3TextConfig(
        vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, final_logit_softcapping=5.0
    )
    assert frozen_head(Gemma3ForCausalLM(config).requires_grad_(False)) is None


def test_a_head_is_cast_once_in_its_context():
    head = nn.Linear(7, 50, bias=False).requires_grad_(False)
    hidden, targets = torch.randn(4, 7), torch.randint(0, 50, (4,))
    with torch.autocast("cpu", torch.bfloat16):
        expected = token_scores(hidden, head, targets)[0]
        with head_module.cast_heads_once():
            first = token_scores(hidden, head, targets)[0]
            head.weight.zero_()
            assert torch.equal(token_scores(hidden, head, targets)[0], first)
        assert torch.equal(first, expected)
        assert not torch.equal(token_scores(hidden, head, targets)[0], first)
