"""Hidden states of prompts equal those of a full forward pass; the blocks above do not run."""

import pytest
import torch

from expunge.models.blocks import decoder_blocks
from expunge.models.cache_check import cache_use
from expunge.models.hidden_states import prompt_states
from expunge.models.loading import load

PROMPTS = [(11, 12, 13), tuple(range(30, 50)), (9,), (5, 6)]
BEGINNING = (21, 22, 23, 24, 25, 26)
WITH_BEGINNING = [(*BEGINNING, *prompt) for prompt in PROMPTS]


@pytest.mark.parametrize(
    "prompts", [PROMPTS, WITH_BEGINNING, [*WITH_BEGINNING, BEGINNING]], ids=["different", "same beginning", "one is the beginning"]
)
@pytest.mark.parametrize("tiny_model_dir", ["llama", "qwen3", "gemma3", "gpt2", "gpt_neox"], indirect=True)
def test_states_equal_those_of_a_full_forward_pass_in_the_given_order(tiny_model_dir, prompts):
    model = load(tiny_model_dir)[0]
    for prompt, states in zip(prompts, prompt_states(model, prompts, [1], pad=0, batch_size=3, share_beginning=True)[1], strict=True):
        with torch.no_grad():
            full = model(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states[2][0]
        assert states.shape == (len(prompt), 32)
        torch.testing.assert_close(states, full, rtol=1e-4, atol=1e-4)


def test_the_blocks_above_are_not_run(tiny_model_dir):
    model = load(tiny_model_dir)[0]
    blocks, runs = decoder_blocks(model)[1], []
    for i, block in enumerate(blocks):
        block.register_forward_pre_hook(lambda _module, _args, i=i: runs.append(i))
    prompt_states(model, PROMPTS[:1], [0, 1], pad=0)
    assert runs == [0, 1]


def test_the_tokens_that_all_prompts_begin_with_are_read_once(tiny_model_dir):
    model, read = load(tiny_model_dir)[0], []
    cache_use(model)
    model.get_input_embeddings().register_forward_pre_hook(lambda _module, args: read.append(tuple(args[0].shape)))
    prompt_states(model, WITH_BEGINNING, [1], pad=0, batch_size=4, share_beginning=True)
    assert read == [(1, 6), (4, 20)]


def test_the_model_does_not_change_and_progress_is_reported(tiny_model_dir):
    model, done = load(tiny_model_dir)[0], []
    prompt_states(model, PROMPTS, [0], pad=0, batch_size=3, advance=done.append)
    assert done == [3, 1]
    assert not decoder_blocks(model)[1][0]._forward_hooks
    assert model(input_ids=torch.tensor([[1, 2]])).logits.requires_grad
