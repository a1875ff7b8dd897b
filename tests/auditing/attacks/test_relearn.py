"""Relearning: suppressed answers return with the attacker's data while the edit is on; and the LoRA hooks."""

from statistics import fmean

import pytest
import torch

from expunge.auditing.attacks import Relearn
from expunge.auditing.attacks.layers import linear_layers
from expunge.auditing.attacks.lora import lora_factors
from expunge.data.prompts import collate
from expunge.data.records import Record
from expunge.data.texts import general
from expunge.edits.active import edits_off
from expunge.models.scoring import score


def test_relearning_recovers_suppressed_answers_that_the_model_knew(make_target, learn, attack_rows):
    last = {}
    for known in (True, False):
        target = make_target()
        learn(target, target.forget if known else target.retain)
        learn(target, [Record(r.id, r.turns, "I do not know.") for r in target.forget], 3)
        rows = attack_rows(Relearn(lr=3e-3, max_steps=24, measure_every=10), target)
        curve = {step: [row["value"] for row in rows if row["step"] == step] for step in (0, 10, 20, 24)}
        assert [len(values) for values in curve.values()] == [3] * 4
        assert len(rows) == 12
        assert fmean(curve[0]) == 0.0
        last[known] = fmean(curve[24])
    assert last[True] > 0.4 > 0.2 > last[False]


def test_the_records_that_are_trained_on_are_not_queried(make_target):
    target = make_target()
    trained, queried = Relearn(share=0.3).split_records(target)
    assert (len(trained), len(queried)) == (2, 4)
    assert {record.id for record in (*trained, *queried)} == {record.id for record in target.forget}
    assert Relearn(share=0.3).split_records(make_target(seed=4)) != (trained, queried)
    assert [len(part) for part in Relearn(share=0.99).split_records(target)] == [5, 1]
    assert [len(part) for part in Relearn(share=0.01).split_records(target)] == [1, 5]


@pytest.mark.parametrize("source", ["related", "unrelated"])
def test_all_forget_records_are_queried_if_other_records_are_trained_on(make_target, attack_rows, source):
    target = make_target()
    attack = Relearn(source=source, max_steps=2)
    assert attack.split_records(target) == (target.retain if source == "related" else general(), target.forget)
    assert {row["id"] for row in attack_rows(attack, target)} == {record.id for record in target.forget}


@pytest.mark.parametrize(("source", "given"), [("part", {"forget": []}), ("part", {"forget": None}), ("related", {"retain": []})])
def test_without_records_to_train_on_or_to_query_there_are_no_rows(make_target, attack_rows, source, given):
    one = make_target().forget[:1]
    target = make_target(**{name: one if records is None else records for name, records in given.items()})
    assert attack_rows(Relearn(source=source), target) == []
    assert Relearn(source=source).steps(target) == 0


@pytest.mark.parametrize("edit", [None, "lora", "grun"])
def test_the_attacker_learns_with_the_edit_on(make_target, edit):
    target = make_target(edit)
    batch = collate([target.builder.record(record) for record in target.forget], target.builder.pad)
    with lora_factors(target.model, 4, seed=0) as factors:
        assert [p for p in target.model.parameters() if p.requires_grad] == []
        before = score(target.model, batch).nll.mean().item()
        optimiser = torch.optim.AdamW(factors, lr=1e-2)
        for _ in range(10):
            optimiser.zero_grad()
            score(target.model, batch).nll.mean().backward()
            optimiser.step()
        after = score(target.model, batch).nll.mean().item()
        if edit is not None:
            with edits_off(target.model):
                assert score(target.model, batch).nll.mean().item() != pytest.approx(after, rel=1e-4)
    assert after < 0.9 * before


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_layer_adds_twice_the_low_rank_output(make_target, architecture):
    model = make_target(architecture=architecture).model
    layers = linear_layers(model)
    with torch.no_grad(), lora_factors(model, 4, seed=0) as factors:
        assert len(factors) == 2 * len(layers)
        for layer, a, b in zip(layers, factors[::2], factors[1::2], strict=True):
            states = torch.randn(2, 3, a.shape[1])
            plain = layer(states)
            assert not b.any()
            b.normal_()
            torch.testing.assert_close(layer(states), plain + 2 * states @ a.T @ b.T)
            b.zero_()
            assert torch.equal(layer(states), plain)


def test_factors_of_a_half_precision_model_are_fp32(make_target):
    target = make_target()
    target.model.bfloat16()
    batch = collate([target.builder.record(record) for record in target.forget[:2]], target.builder.pad)
    with lora_factors(target.model, 2, seed=0) as factors:
        score(target.model, batch).nll.mean().backward()
        assert {(factor.dtype, factor.grad.dtype) for factor in factors} == {(torch.float32, torch.float32)}
        # B is zero, so that A has nothing to learn yet.
        assert all(b.grad.any() for b in factors[1::2])
