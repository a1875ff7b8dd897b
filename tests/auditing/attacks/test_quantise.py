"""Fake quantisation: levels worked out by hand, properties of rounding, and which weights are rounded."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from torch import tensor

from expunge.auditing.attacks import Quantise
from expunge.auditing.attacks.quantise import BLOCK, NF4, quantise_weight, quantised
from expunge.auditing.attacks.queries import plain_queries, recall_rows

KINDS = ("nf4", "rtn4", "int8")
random_weights = st.builds(
    lambda seed, rows, columns: torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)),
    st.integers(0, 2**32),
    st.integers(1, 5),
    st.integers(1, 130),
)


def test_four_bits_by_hand():
    # the largest is 14: steps of 14 / 7 = 2; 6.9 / 2 = 3.45 -> 3, -7.2 / 2 = -3.6 -> -4
    assert quantise_weight(tensor([[14.0, 6.9, -7.2, 0.0]]), "rtn4").tolist() == [[14.0, 6.0, -8.0, 0.0]]


def test_eight_bits_by_hand():
    # each row has its step: 1.27 / 127 = 0.01 and 254 / 127 = 2
    rows = quantise_weight(tensor([[1.27, 0.014, -0.016], [-254.0, 3.1, 0.9]]), "int8")
    torch.testing.assert_close(rows, tensor([[1.27, 0.01, -0.02], [-254.0, 4.0, 0.0]]))


def test_nf4_by_hand():
    # shares of 2: 1, -1, 0.05 (above 0.0398, halfway to the first level above 0) and 0.75 (below 0.8615, halfway from 0.7230 to 1)
    found = quantise_weight(tensor([[2.0, -2.0, 0.1, 1.5]]), "nf4")
    torch.testing.assert_close(found, tensor([[2.0, -2.0, 2 * 0.07958029955625534, 2 * 0.7229568362236023]]))


def test_nf4_picks_the_levels_that_bitsandbytes_picks():
    # bitsandbytes 0.50.2, quantize_4bit(weight, blocksize=64, quant_type="nf4") on a CPU: two levels a byte, the first in its upper half
    weight = ((torch.arange(64) * 37) % 64 - 31.5).view(1, 64) / 40
    packed = [9, 28, 62, 96, 162, 212, 248, 27, 46, 95, 145, 195, 230, 10, 29, 79]
    packed += [113, 178, 229, 248, 28, 62, 96, 161, 212, 231, 11, 45, 79, 129, 194, 229]
    levels = tensor([NF4[level] for byte in packed for level in divmod(byte, 16)])
    torch.testing.assert_close(quantise_weight(weight, "nf4"), (levels * 0.7875).view(1, 64), rtol=0, atol=0)


def test_nf4_levels_are_quantiles_of_the_normal_distribution():
    # the paper's section 3 and appendix E: 8 quantiles above 0, 7 below, ends (1/32 + 1/30) / 2 from 0 and 1, divided by the largest
    end = 1 - (1 / 32 + 1 / 30) / 2
    above, below = norm.ppf(np.linspace(end, 0.5, 9)[:-1]), -norm.ppf(np.linspace(end, 0.5, 8)[:-1])
    levels = np.sort([*above, 0.0, *below]) / above.max()
    assert pytest.approx(levels, abs=1e-6) == NF4
    assert (NF4[0], NF4[7], NF4[-1], len(NF4)) == (-1.0, 0.0, 1.0, 16)


@pytest.mark.parametrize("kind", ["nf4", "rtn4"])
def test_each_block_has_its_scale(kind):
    one, other = torch.full((1, BLOCK), 0.01), torch.full((1, BLOCK), 100.0)
    assert quantise_weight(torch.cat((one, other), 1), kind).unique().tolist() == pytest.approx([0.01, 100.0])


@given(random_weights, st.sampled_from(KINDS))
def test_quantising_twice_changes_nothing(weight, kind):
    once = quantise_weight(weight, kind)
    assert torch.equal(quantise_weight(once, kind), once)


@given(random_weights, st.sampled_from(KINDS))
def test_the_error_is_at_most_half_a_step(weight, kind):
    largest = weight.abs().amax(1, keepdim=True) if kind == "int8" else weight.abs().max()
    widest = max(np.diff(NF4)) if kind == "nf4" else 1 / (127 if kind == "int8" else 7)
    assert ((quantise_weight(weight, kind) - weight).abs() <= largest * widest / 2 + 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_zero_weights_stay_zero_in_every_dtype(kind):
    weight = torch.zeros(2, 70, dtype=torch.bfloat16)
    assert torch.equal(quantise_weight(weight, kind), weight)
    assert quantise_weight(weight, kind).dtype == torch.bfloat16


@pytest.mark.parametrize(("architecture", "edit"), [("llama", None), ("gpt2", None), ("llama", "lora"), ("llama", "grun")])
def test_all_linear_weights_of_the_base_and_no_other_are_rounded(make_target, architecture, edit):
    model = make_target(edit, architecture).model
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with quantised(model, "nf4"):
        changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert len(changed) == (28 if architecture == "llama" else 16)
    assert all(name.endswith("weight") for name in changed)
    assert not [name for name in changed if any(part in name for part in ("lora_A", "lora_B", "grun_", "embed", "wte", "head", "norm"))]


def test_blocks_of_a_transposed_layer_run_along_its_inputs(make_target):
    model = make_target(architecture="gpt2").model
    layer = model.transformer.h[0].mlp.c_fc
    expected = quantise_weight(layer.weight.T, "int8").T
    with quantised(model, "int8"):
        assert torch.equal(layer.weight, expected)


def test_weights_are_restored_after_an_error(make_target):
    model = make_target().model
    weight = model.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    with suppress(ZeroDivisionError), quantised(model, "rtn4"):
        assert not torch.equal(weight, before)
        raise ZeroDivisionError
    assert torch.equal(weight, before)


def test_answers_are_those_of_the_quantised_model(make_target, learn, attack_rows):
    target = make_target()
    learn(target, target.forget[:2])
    with quantised(target.model, "int8"):
        rows = recall_rows(target, plain_queries(target.builder, target.forget), lambda _: None)
    assert attack_rows(Quantise(kind="int8"), target) == rows
    assert rows[0]["value"] == 1.0
