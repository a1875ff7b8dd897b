"""Attacks on the weights reach the fused experts of a layer, or a verdict row says which share of the weights they reach."""

from contextlib import nullcontext

import pytest
import torch

from expunge.auditing.attacks import Quantise
from expunge.auditing.attacks.layers import fused_experts, linear_layers, linear_weights, reached_share
from expunge.auditing.attacks.lora import lora_factors
from expunge.auditing.attacks.quantise import quantise_weight, quantised
from expunge.auditing.blindness import SEEN, columns
from expunge.auditing.probes.attacks import AttackProbe
from expunge.auditing.record_metrics import Settings
from expunge.auditing.suite import Tolerance
from expunge.config import EditSection
from expunge.console import Display
from expunge.data.prompts import collate
from expunge.edits.apply import apply_edit
from expunge.models.scoring import score
from expunge.runs.splits import Splits

# gpt-oss stores (experts, in, out), the others (experts, out, in).
EXPERTS = ("qwen3_moe", "mixtral", "gpt_oss", "qwen3_next")


@pytest.mark.parametrize("architecture", EXPERTS)
def test_experts_are_most_of_what_attacks_reach(make_target, architecture):
    model = make_target(architecture=architecture).model
    assert reached_share(model) > 0.95
    linear = sum(layer.weight.numel() for layer in linear_layers(model))
    assert sum(weight.parameter.numel() for weight in linear_weights(model)) > 1.3 * linear


@pytest.mark.parametrize("architecture", EXPERTS)
def test_each_expert_is_rounded_by_rows_of_one_output(make_target, architecture):
    model = make_target(architecture=architecture).model
    (weight, *_) = fused_experts(model)[0].weights.values()
    before = weight.parameter.detach().clone()
    with quantised(model, "int8"):
        for plain, rounded in zip(before, weight.parameter, strict=True):
            expected = quantise_weight(plain.T, "int8").T if weight.transposed else quantise_weight(plain, "int8")
            assert torch.equal(rounded, expected)
            assert not torch.equal(rounded, plain)
    assert torch.equal(weight.parameter, before)


@pytest.mark.parametrize("architecture", EXPERTS)
def test_an_expert_runs_with_twice_its_low_rank_product_added(make_target, architecture):
    target = make_target(architecture=architecture)
    model, experts = target.model, fused_experts(target.model)[-1]
    batch = collate([target.builder.record(record) for record in target.forget[:2]], target.builder.pad)
    name = list(experts.weights)[-1]
    with lora_factors(model, 2, seed=0) as factors:
        plain = score(model, batch).nll
        plain.sum().backward()
        a, b = factors[-2:]
        # B is zero, so that A has nothing to learn yet.
        assert b.grad.any()
        with torch.no_grad():
            b.normal_(std=0.1)
            updated = score(model, batch).nll
    with torch.no_grad():
        update = 2 * b @ a
        model.get_submodule(experts.name).get_parameter(name).add_(update.mT if experts.weights[name].transposed else update)
        torch.testing.assert_close(updated, score(model, batch).nll, rtol=1e-4, atol=1e-4)
    assert (updated - plain).abs().max() > 1e-3


@pytest.mark.parametrize("active", [True, False])
def test_an_adapter_on_the_experts_stays_as_it_is(make_target, active):
    target = make_target(architecture="qwen3_moe")
    model = apply_edit(target.model, EditSection(name="lora"), "")
    for name, parameter in model.named_parameters():
        if "experts" in name and "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    batch = collate([target.builder.record(record) for record in target.forget[:2]], target.builder.pad)
    with torch.no_grad(), nullcontext() if active else model.disable_adapter():
        expected = score(model, batch).nll
        with lora_factors(model, 2, seed=0):
            torch.testing.assert_close(score(model, batch).nll, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(score(model, batch).nll, expected)
    with torch.no_grad(), model.disable_adapter() if active else nullcontext():
        assert (score(model, batch).nll - expected).abs().max() > 1e-2


def test_a_verdict_row_says_which_share_of_the_weights_was_reached():
    attack = Quantise()
    rows = [{"id": str(i), "value": 0.1, **columns(SEEN)} for i in range(4)]
    probe = AttackProbe([attack], Splits([], [], [], []), Settings(1, 1, False), 0, False, Display())
    probe.results = {name: [rows] for name in ("unlearned", "control")}
    assert "of the blocks' weights" not in probe.verdict_rows(Tolerance())[0].reason
    probe.reached = 0.326
    assert probe.verdict_rows(Tolerance())[0].reason.endswith("the attack changes 33% of the blocks' weights")
