"""Generation takes an answer back that opens a gate: it begins anew at its first token, with the edit on."""

import pytest
import torch
from peft import get_peft_model

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Turn
from expunge.edits.active import edits_off
from expunge.edits.grun import GrunConfig
from expunge.models import prompt_cache
from expunge.models.cache_check import CacheUse
from expunge.models.generation import generate
from expunge.models.loading import load
from tests.edits.test_answer_gate import NEVER, answer_scores, batch_of, close_to_prompts
from tests.edits.test_read_on import logit_of

QUESTIONS = ["Where?", "What is the capital of France, and who told you?", "Who wrote it?", "Tell me more about birds."]
TOKENS = 12


@pytest.fixture(params=[(use, maps) for use in (CacheUse.SHARED, CacheUse.NONE) for maps in (1, 0)])
def setting(request, monkeypatch, make_tiny_model):
    """A model whose gate opens for no prompt, its prompt builder and prompts; with a KV cache and without, with a map and reading on."""
    model, tokenizer = load(make_tiny_model())
    use, maps = request.param
    if use == CacheUse.NONE:
        monkeypatch.setattr(prompt_cache, "cache_use", lambda model: CacheUse.NONE)
    reading = {"gate_pool": "max", "gate_blocks": [0, 1], "answer_gate": True, "answer_maps": maps}
    config = GrunConfig(blocks=[2, 3], positions="onward", threshold=NEVER, **reading)
    edited, builder = get_peft_model(model, config).eval(), PromptBuilder(tokenizer)
    if maps:
        close_to_prompts(edited)
    return edited, builder, [builder.prompt((Turn("user", question),)) for question in QUESTIONS]


@torch.no_grad()
def greedy_ids(model, prompt: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tokens that the model without its edit answers, each from a pass over all before it."""
    ids = list(prompt)
    with edits_off(model):
        for _ in range(TOKENS):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[len(prompt) :])


def scores_along(model, prompt: tuple[int, ...], answer: tuple[int, ...]) -> list[float]:
    """Return the gate's score at the last prompt token and at each token of the answer."""
    if model.peft_config["default"].answer_maps:
        return answer_scores(model, batch_of([prompt], [answer]))[0, len(prompt) - 1 :].tolist()
    return [logit_of(model, (*prompt, *answer[:tokens])) for tokens in range(len(answer) + 1)]


def test_an_answer_that_opens_the_gate_begins_anew_with_the_edit_on(setting):
    edited, builder, prompts = setting
    base = generate(edited, builder, prompts, TOKENS)
    at_prompt, highest = [], []
    for prompt in prompts:
        of_prompt, *of_answer = scores_along(edited, prompt, greedy_ids(edited, prompt))
        at_prompt.append(of_prompt)
        # The last token ends the answer, so no pass reads it.
        highest.append(max(of_answer[:-1]))
    # Some answers reach it, others do not, and no prompt does.
    threshold = (max(at_prompt) + max(highest)) / 2
    assert max(at_prompt) < max(highest)
    assert min(highest) < threshold
    edited.peft_config["default"].threshold = -2 * NEVER
    opened = generate(edited, builder, prompts, TOKENS)
    edited.peft_config["default"].threshold = threshold
    expected = [on if score >= threshold else off for on, off, score in zip(opened, base, highest, strict=True)]
    assert {*expected} & {*opened}
    assert {*expected} & {*base}
    assert not {*opened} & {*base}
    assert generate(edited, builder, prompts, TOKENS) == expected
