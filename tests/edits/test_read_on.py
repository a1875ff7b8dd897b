"""A gate that reads on: it pools the tokens of the answer together with those of the prompt, in one pass or token by token."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model

from expunge.edits.active import edits_off, gate_logits
from expunge.edits.grun import GrunConfig
from expunge.edits.grun.gate import new_gate, pooled_logits
from expunge.edits.grun.read_on import pooled_memory, read_on
from expunge.models.prompt_cache import read_prompts
from tests.edits.test_answer_gate import ANSWERS, NEVER, PROMPTS, batch_of, check_cached_scores, check_token_by_token, logits_of

POOLS = ("max", "top2", "top3", "attention")


@pytest.mark.parametrize("pool", ["max", "top2", "top3"])
def test_the_largest_scores_by_hand(pool):
    # Scores 1 and 4 in the prompt, then 3, 0 and 5: the largest are 4, 4, 5; the two largest (4, 3), (4, 3), (5, 4); the three largest
    # (4, 3, 1), (4, 3, 1), (5, 4, 3).
    expected = {"max": [4, 4, 5], "top2": [3.5, 3.5, 4.5], "top3": [8 / 3, 8 / 3, 4]}[pool]
    parts = new_gate("linear", pool, 1)
    parts["grun_gate"].weight.data.fill_(1)
    parts["grun_gate"].bias.data.zero_()
    memory = pooled_memory(parts, pool, torch.tensor([[[1.0], [4.0]]]), torch.ones(1, 2, dtype=torch.bool))
    logits, _ = read_on(parts, pool, torch.tensor([[[3.0], [0.0], [5.0]]]), torch.ones(1, 3, dtype=torch.bool), memory)
    assert logits[0].tolist() == pytest.approx(expected)


@given(
    pool=st.sampled_from(POOLS), lengths=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), min_size=1, max_size=4), data=st.data()
)
def test_at_each_token_the_logit_is_that_of_the_text_so_far(pool, lengths, data):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**16)))
    torch.manual_seed(0)
    parts, longest = new_gate("mlp", pool, 6), max(prompt + answer for prompt, answer in lengths)
    states = 3 * torch.randn(len(lengths), longest, 6, generator=generator)
    index = torch.arange(longest)[None]
    starts, ends = (torch.tensor(values)[:, None] for values in ([p for p, _ in lengths], [p + a for p, a in lengths]))
    memory = pooled_memory(parts, pool, states, index < starts)
    answer, cut, passes = (index >= starts) & (index < ends), data.draw(st.integers(1, longest)), []
    for tokens in [slice(0, cut), slice(cut, longest)][: 1 + (cut < longest)]:
        of_pass, memory = read_on(parts, pool, states[:, tokens], answer[:, tokens], memory)
        passes.append(of_pass)
    logits = torch.cat(passes, dim=1)
    for row, (prompt, of_answer) in enumerate(lengths):
        for token in range(prompt, prompt + of_answer):
            so_far = pooled_logits(parts, pool, states[row : row + 1, : token + 1], torch.ones(1, token + 1, dtype=torch.bool))
            assert logits[row, token].item() == pytest.approx(so_far.item(), abs=1e-4)


@pytest.fixture(params=POOLS)
def edited(request, model):
    """A model whose gate reads blocks 0 and 1 and never opens, with a strong edit from block 1 on."""
    reading = {"gate_pool": request.param, "gate_blocks": [0, 1], "answer_gate": True}
    return get_peft_model(model, GrunConfig(blocks=[1, 2], positions="onward", threshold=NEVER, **reading)).eval()


def logit_of(model, ids):
    """Return the gate's logit of a text that is all prompt."""
    (logit,) = [value.item() for (adapter, _), value in read_prompts(model, [ids], 0).gate_logits.items() if adapter == "default"]
    return logit


def an_opening(model):
    """Return a prompt, an answer, the token of the answer that opens the gate, a threshold that the answer first reaches there, and the
    logit of the prompt."""
    for prompt in PROMPTS:
        for answer in ANSWERS[:2]:
            logits = [logit_of(model, (*prompt, *answer[:tokens])) for tokens in range(len(answer) + 1)]
            for token in range(1, len(answer) - 1):
                if (before := max(logits[: token + 1])) < logits[token + 1] - 1e-4:
                    return prompt, answer, token, (before + logits[token + 1]) / 2, logits[0]
    raise AssertionError("no token raises the logit above all before it")


def test_the_edit_is_off_bit_for_bit_up_to_the_token_that_opens_the_gate(edited):
    prompt, answer, token, threshold, at_prompt = an_opening(edited)
    batch, opens, config = batch_of([prompt], [answer]), len(prompt) + token, edited.peft_config["default"]
    with edits_off(edited):
        base = logits_of(edited, batch)
    assert torch.equal(logits_of(edited, batch), base)
    # The prompt may come nearer than the answer: that one must come as much as the margin above the threshold.
    config.threshold, config.answer_margin = (at_prompt + threshold) / 2, (threshold - at_prompt) / 2
    logits = logits_of(edited, batch)
    assert gate_logits(edited).item() == pytest.approx(at_prompt, abs=1e-4)
    assert torch.equal(logits[:, :opens], base[:, :opens])
    assert not torch.allclose(logits[:, opens:], base[:, opens:], atol=1e-3)


def test_scores_from_the_cache_equal_those_of_whole_rows(edited):
    *_, edited.peft_config["default"].threshold, _ = an_opening(edited)
    check_cached_scores(edited)


def test_token_by_token_the_gate_opens_where_it_does_in_one_pass(edited):
    prompt, *_, edited.peft_config["default"].threshold, _ = an_opening(edited)
    check_token_by_token(edited, prompt)
