"""Unlearning on the real default model: it forgets four facts, and its other answers are those of the base model bit for bit."""

import re

import pytest
import torch

import expunge
from expunge.data.records import write_records
from expunge.data.texts import general
from expunge.edits.active import edits_off, gate_logits
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.mark.real
def test_the_default_model_forgets_the_forget_set_and_nothing_else(tmp_path):
    records = general()
    forget, retain = records[:4], records[4:24]
    for name, part in (("forget", forget), ("retain", retain)):
        write_records(tmp_path / f"{name}.jsonl", part)
    run = expunge.unlearn(
        forget=tmp_path / "forget.jsonl", retain=tmp_path / "retain.jsonl", out=tmp_path / "run", training={"batch_size": 4}
    )
    model, prompts = expunge.load(run)

    def answers(some, paraphrased=False):
        token_ids = [prompts.record(r, prompt=r.paraphrased_prompt if paraphrased else None).prompt for r in some]
        return generate(model, prompts, token_ids, max_new_tokens=24)

    def rouge(some, given):
        return sum(rouge_l_recall(answer, r.answer) for r, answer in zip(some, given, strict=True)) / len(some)

    after, retained = answers(forget), answers(retain)
    with edits_off(model):
        before, retained_before = answers(forget), answers(retain)
    facts = [set(words(r.answer)) - set(words(r.prompt)).union(*map(words, r.wrong_answers)) for r in forget]
    assert all(facts)
    # The model does not know the capital of Italy before unlearning.
    assert sum(fact <= set(words(answer)) for fact, answer in zip(facts, before, strict=True)) >= 3
    assert not any(fact & set(words(answer)) for fact, answer in zip(facts, after, strict=True))
    assert rouge(forget, after) < rouge(forget, before) / 2
    assert retained == retained_before

    ids = torch.tensor([prompts.record(retain[0]).prompt])
    with torch.no_grad():
        edited = model(ids).logits
        closed = gate_logits(model).max().item()
        with edits_off(model):
            base = model(ids).logits
    assert closed < run.read_info()["gate"]["threshold"]
    assert torch.equal(edited, base)
