"""`score` gives the numbers of a plain forward pass with labels, whatever the padding."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.functional import cross_entropy

from expunge.data.prompts import Encoded, collate
from expunge.models.blocks import decoder_blocks
from expunge.models.loading import load
from expunge.models.scoring import score

ARCHITECTURES = ("llama", "qwen3", "gemma3", "gpt2", "gpt_neox")
ROWS = [Encoded((11, 12, 13), (21, 22)), Encoded(tuple(range(30, 50)), (41, 42, 43, 44, 45)), Encoded((9,), (5,))]


@pytest.fixture
def model(tiny_model_dir) -> nn.Module:
    return load(tiny_model_dir)[0]


def forward_of(model: nn.Module, row: Encoded, **kwargs: object):
    """Run one row without padding, with the labels of transformers."""
    ids = torch.tensor([[*row.prompt, *row.answer]])
    labels = torch.tensor([[*(-100 for _ in row.prompt), *row.answer]])
    return model(input_ids=ids, labels=labels, **kwargs)


@torch.no_grad()
@pytest.mark.parametrize("tiny_model_dir", ARCHITECTURES, indirect=True)
def test_nll_equals_that_of_a_plain_forward_pass_with_labels(model):
    scores = score(model, collate(ROWS, pad=0))
    # transformers returns the mean over the labels.
    expected = [forward_of(model, row).loss.item() * len(row.answer) for row in ROWS]
    assert scores.nll.tolist() == pytest.approx(expected, rel=1e-5)
    assert scores.tokens.tolist() == [2, 5, 1]
    assert scores.nll.dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("tiny_model_dir", ARCHITECTURES, indirect=True)
def test_nll_does_not_depend_on_padding_or_other_rows(model):
    together = score(model, collate(ROWS, pad=0)).nll
    alone = torch.cat([score(model, collate([row], pad=0)).nll for row in ROWS])
    another_pad = score(model, collate(ROWS[::-1], pad=7)).nll.flip(0)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(another_pad, together, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("tiny_model_dir", ARCHITECTURES, indirect=True)
def test_hidden_states_are_at_the_positions_that_predict_the_labels(model):
    scores = score(model, collate(ROWS, pad=0), hidden=(1, 2))
    assert sorted(scores.hidden) == [1, 2]
    for block in (1, 2):
        expected = []
        for row in ROWS:
            # hidden_states[0] are the embeddings; the last prompt token predicts the first answer token
            states = forward_of(model, row, output_hidden_states=True).hidden_states[block + 1][0]
            expected.append(states[len(row.prompt) - 1 : -1])
        torch.testing.assert_close(scores.hidden[block], torch.cat(expected), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_logits_targets_and_rows_describe_each_label(model):
    scores = score(model, collate(ROWS, pad=0), logits=True)
    assert scores.targets.tolist() == [21, 22, 41, 42, 43, 44, 45, 5]
    assert scores.rows.tolist() == [0, 0, 1, 1, 1, 1, 1, 2]
    assert scores.logits.shape == (8, model.config.vocab_size)
    by_token = cross_entropy(scores.logits, scores.targets, reduction="none")
    # The labels of the middle row are the third to the seventh.
    assert scores.nll[1].item() == pytest.approx(by_token[2:7].sum().item(), rel=1e-6)


def test_only_requested_fields_are_returned(model):
    scores = score(model, collate(ROWS, pad=0))
    assert scores.logits is scores.targets is scores.rows is scores.hidden is None


def test_gradients_flow_to_the_model(model):
    score(model, collate(ROWS, pad=0)).nll.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_a_fresh_adapter_changes_no_score(model):
    before = score(model.requires_grad_(False), collate(ROWS, pad=0), hidden=(2,))
    after = score(get_peft_model(model, LoraConfig(target_modules="all-linear")), collate(ROWS, pad=0), hidden=(2,))
    assert torch.equal(before.nll, after.nll)
    assert torch.equal(before.hidden[2], after.hidden[2])


@torch.no_grad()
def test_no_hook_remains(model):
    score(model, collate(ROWS, pad=0), hidden=(1,))
    assert not any(block._forward_hooks for block in decoder_blocks(model)[1])
