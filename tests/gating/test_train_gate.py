"""Gates: calibrated by hand and by property, trained on a planted feature, and made ready before suppression."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor

from expunge.config import EditSection
from expunge.edits.grun.gate import gate_scores, new_gate, pooled
from expunge.gating.train import calibrate, gate_logits, give_up, train_gate

BELOW = tensor([-9.0])
LOGITS = st.integers(-2000, 2000).map(lambda n: n / 100)


def opens(logits: Tensor, threshold: float) -> Tensor:
    return logits >= threshold


def test_calibrate_by_hand():
    # n 9, alpha 0.2: rank ceil(10 * 0.8) = 8, the eighth smallest logit is 8; what equals it stays closed
    retain = tensor([3.0, 1.0, 9.0, 2.0, 8.0, 4.0, 7.0, 5.0, 6.0])
    threshold = calibrate(retain, BELOW, 0.2)
    assert threshold.logit == pytest.approx(8.0)
    assert opens(tensor([8.0, 8.1]), threshold.logit).tolist() == [False, True]
    assert (threshold.n, threshold.alpha, threshold.guaranteed) == (9, 0.2, True)


def test_too_few_prompts_give_no_guarantee_and_the_largest_logit():
    # n 3, alpha 0.2: rank ceil(4 * 0.8) = 4 > 3; four prompts would do: 1 / 0.2 - 1
    few = calibrate(tensor([1.0, 3.0, 2.0]), BELOW, 0.2)
    assert opens(tensor([3.0, 3.1]), few.logit).tolist() == [False, True]
    assert not few.guaranteed
    assert calibrate(tensor([1.0, 3.0, 2.0, 4.0]), BELOW, 0.2).guaranteed


def test_the_rate_is_within_its_bound_in_95_of_100_calibrations():
    # A pool so large that its own share above a threshold is the rate itself
    generator = torch.Generator().manual_seed(0)
    pool, within, rates = torch.randn(200_000, generator=generator), 0, []
    for _ in range(200):
        chosen = torch.randperm(len(pool), generator=generator)[:99]
        threshold = calibrate(pool[chosen], BELOW, 0.05)
        rates.append(opens(pool, threshold.logit).float().mean().item())
        within += rates[-1] <= threshold.bound
    assert sum(rates) / len(rates) <= 0.05
    assert within >= 190
    # n 99, alpha 0.05: the 95th of 99, so Beta(5, 95), whose 95 % quantile is 9.0 %
    assert threshold.bound == pytest.approx(0.0899, abs=1e-3)


def test_the_threshold_is_raised_by_a_tenth_of_a_wide_gap():
    # Of retain prompts from 0 to 39 rank ceil(41 * 0.9) = 37 is 36, the lower twentieth of forget is 100: the gate opens from 42.4
    threshold = calibrate(torch.arange(40.0), torch.full((20,), 100.0), 0.1)
    assert threshold.logit == pytest.approx(42.4)


def test_one_retain_prompt_among_the_forget_prompts_does_not_close_the_gate_on_them():
    # 39 retain prompts up to 1 and one at 50, forget prompts at 10: rank ceil(41 * 0.9) = 37 of 40 is below 1
    retain = torch.cat([torch.linspace(0, 1, 39), tensor([50.0])])
    threshold = calibrate(retain, torch.full((20,), 10.0), 0.1)
    assert threshold.logit < 5.5
    assert opens(tensor([10.0]), threshold.logit).all()


@settings(deadline=None)
@given(st.lists(LOGITS, min_size=2, max_size=60), st.lists(LOGITS, min_size=1, max_size=20), st.floats(0.02, 0.6))
def test_false_positives_are_at_most_alpha_on_exchangeable_prompts(pool, forget, alpha):
    # Exchangeable: each of the n + 1 is as likely the new one, so the mean over all choices is the exact rate
    opened, guaranteed = 0, False
    for new in range(len(pool)):
        threshold = calibrate(tensor(pool[:new] + pool[new + 1 :]), tensor(forget), alpha)
        guaranteed = threshold.guaranteed
        opened += int(opens(tensor(pool[new]), threshold.logit))
    assert not guaranteed or opened / len(pool) <= alpha


@settings(deadline=None)
@given(st.lists(LOGITS, min_size=1, max_size=40), st.lists(LOGITS, min_size=1, max_size=20), st.floats(0.02, 0.6))
def test_forget_prompts_can_only_raise_the_threshold(retain, forget, alpha):
    alone = calibrate(tensor(retain), BELOW.expand(1) - 100, alpha)
    together = calibrate(tensor(retain), tensor(forget), alpha)
    assert together.logit >= alone.logit


def pool_of(pool: str, rows: list[list[float]], softness: float = 0.0) -> list[float]:
    """What a gate that scores a one-dimensional state as it is says of prompts, the shorter ones padded with a 9."""
    parts = new_gate("linear", pool, 1)
    for part in parts.values():
        torch.nn.init.ones_(part.weight)
        torch.nn.init.zeros_(part.bias)
    longest = max(map(len, rows))
    states = tensor([[*row, *[9.0] * (longest - len(row))] for row in rows])[..., None]
    real = tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        return pooled(parts, pool, states, real, softness).tolist()


def test_pooling_by_hand_whatever_the_padding():
    rows = [[1.0, 5.0], [-3.0], [-2.0, -4.0, -6.0, -8.0]]
    assert pool_of("max", rows) == [5.0, -3.0, -2.0]
    assert pool_of("top2", rows) == [3.0, -3.0, -3.0]
    assert pool_of("top3", rows) == [3.0, -3.0, -4.0]
    # The weight of a token is e^score here: (1 e + 5 e^5) / (e + e^5)
    mean = (math.e + 5 * math.e**5) / (math.e + math.e**5)
    assert pool_of("attention", rows)[:2] == pytest.approx([mean, -3.0])


def test_a_mlp_gate_by_hand():
    parts = new_gate("mlp", "max", 4)
    assert [(part.in_features, part.out_features) for part in parts.values()] == [(4, 256), (256, 64), (64, 1)]
    states = torch.randn(3, 4)
    inner = parts["grun_gate_mid"](parts["grun_gate_in"](states).clamp(min=0)).clamp(min=0)
    torch.testing.assert_close(gate_scores(parts, states), parts["grun_gate"](inner)[:, 0])


def prompts_with(feature: float, count: int, generator: torch.Generator) -> list[Tensor]:
    """Random prompts of 3 to 9 tokens and 16 dimensions; one token of each has the feature planted in its first dimension."""
    prompts = []
    for _ in range(count):
        tokens = int(torch.randint(3, 10, (), generator=generator))
        states = torch.randn(tokens, 16, generator=generator)
        states[int(torch.randint(tokens, (), generator=generator)), 0] += feature
        prompts.append(states)
    return prompts


def trained(pool: str, forget: list[Tensor], retain: list[Tensor], seed: int = 0, **settings) -> dict:
    torch.manual_seed(0)
    parts = new_gate("linear", pool, 16)
    loss = train_gate(parts, EditSection(gate_pool=pool, **settings), forget, retain, seed)
    assert loss < 0.4
    return parts


@pytest.mark.parametrize("pool", ["max", "top2", "attention"])
def test_a_gate_learns_a_planted_feature_and_tells_unseen_prompts_apart(pool):
    generator = torch.Generator().manual_seed(0)
    parts = trained(pool, prompts_with(8, 60, generator), prompts_with(0, 90, generator))
    with torch.no_grad():
        forget, retain = (gate_logits(parts, pool, prompts_with(feature, 50, generator)) for feature in (8, 0))
        threshold = calibrate(gate_logits(parts, pool, prompts_with(0, 99, generator)), forget, 0.05)
    assert opens(forget, threshold.logit).float().mean() > 0.9
    assert opens(retain, threshold.logit).float().mean() <= 0.1


def test_a_gate_gets_past_a_token_that_every_prompt_begins_with():
    # The first token scores 0 in both sets, the names below: a hard maximum would never look at a name, and tell nothing apart
    generator = torch.Generator().manual_seed(0)

    def prompts(feature: int, count: int) -> list[Tensor]:
        states = 0.1 * torch.randn(count, 5, 16, generator=generator)
        states[:, 0, 0] += 3
        states[:, 2:, 1] += 3
        states[torch.arange(count), torch.randint(2, 5, (count,), generator=generator), feature] += 3
        return list(states)

    parts = new_gate("linear", "max", 16)
    torch.nn.init.zeros_(parts["grun_gate"].weight)
    torch.nn.init.zeros_(parts["grun_gate"].bias)
    with torch.no_grad():
        parts["grun_gate"].weight[0, 1] = -1 / 3
    train_gate(parts, EditSection(gate_pool="max"), prompts(8, 60), prompts(9, 90), seed=0)
    with torch.no_grad():
        assert gate_logits(parts, "max", prompts(8, 50)).min() > gate_logits(parts, "max", prompts(9, 50)).max()


def test_soft_pooling_by_hand():
    # 0.5 log(e^(0/0.5) + e^(1/0.5)) over the two real tokens, nothing of the padding of the shorter prompt
    soft = pool_of("max", [[0.0, 1.0], [0.0, 1.0, 5.0]], softness=0.5)
    assert soft == pytest.approx([0.5 * math.log(1 + math.exp(2)), 0.5 * math.log(1 + math.exp(2) + math.exp(10))])


def test_a_gate_is_trained_the_same_way_twice():
    weights = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(0)
        weights.append(trained("top2", prompts_with(8, 9, generator), prompts_with(0, 9, generator), seed=3)["grun_gate"].weight)
    assert torch.equal(*weights)


def test_few_forget_prompts_weigh_as_much_as_many_others_unless_told_not_to():
    generator = torch.Generator().manual_seed(0)
    forget, others, asked = prompts_with(3, 5, generator), prompts_with(0, 200, generator), prompts_with(3, 50, generator)
    said = [
        gate_logits(trained("max", forget, others, gate_class_balance=balanced), "max", asked).mean().item() for balanced in (True, False)
    ]
    assert said[0] > said[1] + 1


def test_weight_decay_keeps_a_gate_small():
    generator = torch.Generator().manual_seed(0)
    forget, others = prompts_with(8, 40, generator), prompts_with(0, 60, generator)
    norms = [trained("max", forget, others, gate_weight_decay=decay)["grun_gate"].weight.norm().item() for decay in (0.0, 0.1, 1.0)]
    assert norms[0] > norms[1] > norms[2]


def test_giving_up_by_hand():
    # Of 21 forget logits 0, 1, ..., 20 the 5 % quantile is 1; of the calibration prompts 2 of 4 reach it
    threshold = give_up(calibrate(tensor([0.0, 0.5, 1.0, 30.0]), BELOW, 0.2), tensor([0.0, 0.5, 1.0, 30.0]), torch.arange(21.0))
    assert (threshold.logit, threshold.passed, threshold.given_up, threshold.guaranteed) == (1.0, 0.5, True, False)
