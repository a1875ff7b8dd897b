"""The part of a gate that reads the answer: it opens at the first token that reaches the threshold, and never closes again."""

import pytest
import torch
from peft import get_peft_model

from expunge.data.prompts import Encoded, collate
from expunge.edits.active import edits_off, gate_logits
from expunge.edits.grun import GrunConfig
from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import batch_context
from expunge.models.generation import greedy
from expunge.models.prompt_cache import forward_continuation, read_prompts
from expunge.models.scoring import score
from expunge.models.shared_prompt_scoring import score_answers

PROMPTS = [(11, 12, 13), (31, 32, 33, 34, 35), (51,)]
ANSWERS = [(61, 62, 63, 64, 65, 66, 67), (61, 62, 63, 64, 71, 72), (81, 82, 83)]
NEVER = 1e6
"""A threshold that no score reaches."""


@pytest.fixture
def edited(model):
    """A model whose gate reads blocks 0 and 1 and never opens, with a strong edit from block 1 on."""
    config = GrunConfig(
        blocks=[1, 2], positions="onward", gate_pool="max", gate_blocks=[0, 1], answer_gate=True, answer_maps=1, threshold=NEVER
    )
    model = get_peft_model(model, config).eval()
    for layer in model.modules():
        for part in layer.parameters(recurse=False):
            if part.ndim == 1 and part.shape == (1,):
                part.data.zero_()
    return model


def answer_scores(model, batch):
    """Return the score of every token, (batch, seq), computed from the output of the lowest block of the gate."""
    outputs, layer = [], decoder_blocks(model)[1][0]
    hook = layer.base_layer.register_forward_hook(
        lambda _module, _args, output: outputs.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad(), edits_off(model), batch_context(batch):
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids)
    hook.remove()
    states = torch.nn.functional.layer_norm(outputs[0].float(), outputs[0].shape[-1:])
    return layer.grun_answer_gate["default"](states).squeeze(-1).detach()


def close_to_prompts(model):
    """Make the part of the gate that reads prompts, and the reading of the last prompt token, too low to open."""
    for layer in decoder_blocks(model)[1][:2]:
        layer.grun_gate["default"].weight.data.zero_()
        layer.grun_gate["default"].bias.data.fill_(-NEVER)


def batch_of(prompts, answers):
    return collate([Encoded(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)], pad=0)


def logits_of(model, batch):
    with torch.no_grad(), batch_context(batch):
        return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids).logits


def opening_threshold(model, prompt, answer, position):
    """Return a threshold that only `position` of the answer reaches first; the answer must allow it."""
    scores = answer_scores(model, batch_of([prompt], [answer]))[0]
    before, here = scores[len(prompt) - 1 : len(prompt) + position].max(), scores[len(prompt) + position]
    return None if here <= before else ((before + here) / 2).item()


def an_opening(model):
    """Return a prompt, an answer, the position at which the answer opens the gate, and the threshold."""
    for prompt in PROMPTS:
        for answer in ANSWERS[:2]:
            for position in range(1, len(answer) - 1):
                if (threshold := opening_threshold(model, prompt, answer, position)) is not None:
                    return prompt, answer, position, threshold
    raise AssertionError("no token has a higher score than all before it")


def test_the_edit_is_off_bit_for_bit_up_to_the_token_that_opens_the_gate(edited):
    close_to_prompts(edited)
    prompt, answer, position, threshold = an_opening(edited)
    batch = batch_of([prompt], [answer])
    with edits_off(edited):
        base = logits_of(edited, batch)
    assert torch.equal(logits_of(edited, batch), base)
    edited.peft_config["default"].threshold = threshold
    logits, opens = logits_of(edited, batch), len(prompt) + position
    assert torch.equal(logits[:, :opens], base[:, :opens])
    assert not torch.allclose(logits[:, opens:], base[:, opens:], atol=1e-3)
    assert gate_logits(edited).item() < threshold


def test_the_last_prompt_token_counts_as_the_beginning_of_the_answer(edited):
    close_to_prompts(edited)
    batch = batch_of(PROMPTS, ANSWERS)
    scores = answer_scores(edited, batch)[:, batch.prompt_length - 1]
    logits_of(edited, batch)
    torch.testing.assert_close(gate_logits(edited)[0], scores)


def test_scores_from_the_cache_equal_those_of_whole_rows(edited):
    close_to_prompts(edited)
    _, _, _, edited.peft_config["default"].threshold = an_opening(edited)
    check_cached_scores(edited)


@torch.no_grad()
def check_token_by_token(model, prompt):
    """Check that, token by token, with our cache and with `generate` of transformers, the logits are those of one pass over all tokens."""
    prompts = read_prompts(model, [prompt], 0)
    cache, mask, position = prompts.kv_cache(), prompts.batch.attention_mask, prompts.batch.position_ids[:, -1:]
    outputs, gates, ids = [prompts.logits(prompts.last)[:, -1]], prompts.gate_logits, []
    for _ in range(8):
        ids.append(greedy(outputs[-1]))
        mask, position = torch.cat((mask, mask.new_ones(1, 1)), dim=1), position + 1
        states, gates = forward_continuation(model, prompts.head, gates, cache, ids[-1][:, None], mask, position)
        outputs.append(prompts.logits(states)[:, -1])
    answer = tuple(int(token) for token in ids)
    whole = logits_of(model, batch_of([prompt], [answer]))[:, len(prompt) - 1 :]
    torch.testing.assert_close(torch.stack(outputs, dim=1), whole, atol=1e-3, rtol=1e-3)
    generated = model.generate(
        input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=8, do_sample=False, pad_token_id=0
    )
    assert generated[0, len(prompt) :].tolist() == list(answer)


def check_cached_scores(model):
    """Check that scores from the cache of the prompts equal those of whole rows."""
    whole = score(model, batch_of([PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[2]], [*ANSWERS[:2], ANSWERS[2], ANSWERS[0]]))
    cached = score_answers(model, read_prompts(model, PROMPTS, 0), [ANSWERS[:2], [ANSWERS[2]], [ANSWERS[0]]], 0)
    torch.testing.assert_close(cached.nll, whole.nll, atol=1e-4, rtol=1e-4)


def test_an_open_gate_stays_open_while_the_answer_is_generated(edited):
    close_to_prompts(edited)
    prompt, _, _, edited.peft_config["default"].threshold = an_opening(edited)
    check_token_by_token(edited, prompt)


def test_beam_search_is_refused(edited):
    with pytest.raises(ExpungeError, match="num_beams"):
        edited.generate(input_ids=torch.tensor([[11, 12]]), attention_mask=torch.ones(1, 2), max_new_tokens=2, num_beams=2)


@pytest.mark.parametrize("settings", [{"gate_pool": "last"}, {"gate_pool": "top2", "positions": "last_prompt"}])
def test_a_gate_that_reads_the_answer_must_be_able_to_edit_it(settings):
    with pytest.raises(ValueError, match="answer_gate"):
        GrunConfig(answer_gate=True, **settings)
