"""Gates: calibrated by hand and by property, trained on a planted feature, and made ready before suppression."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, tensor

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn, read_records
from expunge.data.texts import neutral_instructions
from expunge.edits import apply_edit
from expunge.models.loading import load
from expunge.recipe import EditSection
from expunge.training.gate import calibrate, give_up, pooled_logits, train_gate
from expunge.training.gate_first import gate_first, gate_layer

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


def test_a_wide_gap_is_halved():
    # retain up to 2, the lower twentieth of forget at 10: the gate opens halfway, from 6
    threshold = calibrate(torch.linspace(0, 2, 40), torch.full((20,), 10.0), 0.1)
    assert threshold.logit == pytest.approx(6.0)


def test_one_retain_prompt_among_the_forget_prompts_does_not_close_the_gate_on_them():
    # 39 retain prompts up to 1 and one at 50, forget prompts at 10: rank ceil(41 * 0.9) = 37 of 40 is below 1
    retain = torch.cat([torch.linspace(0, 1, 39), tensor([50.0])])
    threshold = calibrate(retain, torch.full((20,), 10.0), 0.1)
    assert threshold.logit < 1
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


def test_the_largest_token_decides_whatever_the_padding():
    states = [tensor([[1.0], [5.0]]), tensor([[-3.0]]), tensor([[-2.0], [-4.0], [-6.0]])]
    assert pooled_logits(lambda s: s[..., 0], states).tolist() == [5.0, -3.0, -2.0]


def prompts_with(feature: float, count: int, generator: torch.Generator) -> list[Tensor]:
    """Random prompts of 3 to 9 tokens and 16 dimensions; one token of each has the feature planted in its first dimension."""
    prompts = []
    for _ in range(count):
        tokens = int(torch.randint(3, 10, (), generator=generator))
        states = torch.randn(tokens, 16, generator=generator)
        states[int(torch.randint(tokens, (), generator=generator)), 0] += feature
        prompts.append(states)
    return prompts


def test_a_gate_learns_a_planted_feature_and_tells_unseen_prompts_apart():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    gate = nn.Linear(16, 1)

    def scores(states: Tensor) -> Tensor:
        return gate(states).squeeze(-1)

    loss = train_gate(scores, list(gate.parameters()), prompts_with(8, 60, generator), prompts_with(0, 90, generator), seed=0)
    assert loss < 0.4
    with torch.no_grad():
        forget, retain = pooled_logits(scores, prompts_with(8, 50, generator)), pooled_logits(scores, prompts_with(0, 50, generator))
        threshold = calibrate(pooled_logits(scores, prompts_with(0, 99, generator)), forget, 0.05)
    assert opens(forget, threshold.logit).float().mean() > 0.9
    assert opens(retain, threshold.logit).float().mean() <= 0.1


def test_a_gate_gets_past_a_token_that_every_prompt_begins_with():
    # The first token scores 0 in both sets, the names -1: a hard maximum would never look at a name, and tell nothing apart
    generator = torch.Generator().manual_seed(0)

    def prompts(feature: int, count: int) -> list[Tensor]:
        states = 0.1 * torch.randn(count, 5, 16, generator=generator)
        states[:, 0, 0] += 3
        states[:, 2:, 1] += 3
        states[torch.arange(count), torch.randint(2, 5, (count,), generator=generator), feature] += 3
        return list(states)

    gate = nn.Linear(16, 1)
    nn.init.zeros_(gate.weight)
    nn.init.zeros_(gate.bias)
    with torch.no_grad():
        gate.weight[0, 1] = -1 / 3

    def scores(states: Tensor) -> Tensor:
        return gate(states).squeeze(-1)

    train_gate(scores, list(gate.parameters()), prompts(8, 60), prompts(9, 90), seed=0)
    with torch.no_grad():
        assert pooled_logits(scores, prompts(8, 50)).min() > pooled_logits(scores, prompts(9, 50)).max()


def test_soft_pooling_by_hand():
    # 0.5 log(e^(0/0.5) + e^(1/0.5)) over the two real tokens, nothing of the padding of the shorter prompt
    states = [tensor([[0.0], [1.0]]), tensor([[0.0], [1.0], [5.0]])]
    soft = pooled_logits(lambda tokens: tokens.squeeze(-1), states, 0.5)
    assert soft[0].item() == pytest.approx(0.5 * math.log(1 + math.exp(2)))
    assert soft[1].item() == pytest.approx(0.5 * math.log(1 + math.exp(2) + math.exp(10)))


def test_a_gate_is_trained_the_same_way_twice():
    gates = []
    for _ in range(2):
        torch.manual_seed(0)
        gate, generator = nn.Linear(16, 1), torch.Generator().manual_seed(0)
        prompts = prompts_with(4, 9, generator), prompts_with(0, 9, generator)
        train_gate(lambda states, gate=gate: gate(states).squeeze(-1), list(gate.parameters()), *prompts, seed=3)
        gates.append(gate.weight.detach())
    assert torch.equal(*gates)


def test_gate_first_stores_the_threshold_and_freezes_the_gate_alone(tiny_model_dir, tiny_data):
    model, tokenizer = load(tiny_model_dir)
    model = apply_edit(model, EditSection(name="grun", gate_pool="max"), "")
    forget, retain = map(read_records, tiny_data)
    sets = forget, retain[:6], retain[6:8], retain[8:]
    threshold, _ = gate_first(model, PromptBuilder(tokenizer), *sets, 0.5, 42, lambda rows: None)
    config = model.active_peft_config
    # two held-out retain prompts and forty neutral instructions
    assert (config.threshold, config.calibration_n, config.calibration_alpha) == (threshold.logit, 42, 0.5)
    frozen = gate_layer(model, config).gate_parameters("default")
    assert not any(parameter.requires_grad for parameter in frozen)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable
    assert all("grun_rotate" in name or "grun_source" in name for name in trainable)


def test_a_gate_that_would_open_for_nothing_gives_its_rate_up(tiny_model_dir, tiny_data):
    # What is to be forgotten is among what it is calibrated on: at 3 % false positives it would have to stay closed
    model, tokenizer = load(tiny_model_dir)
    model = apply_edit(model, EditSection(name="grun", gate_pool="max"), "")
    same = [Record("same", (), "The capital of France is Paris, a city on the Seine.")]
    retain = read_records(tiny_data[1])
    threshold, coverage = gate_first(model, PromptBuilder(tokenizer), same, retain, same, [], 0.03, 42, lambda rows: None)
    assert (threshold.given_up, threshold.guaranteed, coverage) == (True, False, 1.0)
    # At the least the one that is both is let through
    assert round(threshold.passed * threshold.n) >= 1
    assert model.peft_config["default"].calibration_alpha is None


def test_giving_up_by_hand():
    # Of 21 forget logits 0, 1, ..., 20 the 5 % quantile is 1; of the calibration prompts 2 of 4 reach it
    threshold = give_up(calibrate(tensor([0.0, 0.5, 1.0, 30.0]), BELOW, 0.2), tensor([0.0, 0.5, 1.0, 30.0]), torch.arange(21.0))
    assert (threshold.logit, threshold.passed, threshold.given_up, threshold.guaranteed) == (1.0, 0.5, True, False)


def test_what_is_kept_for_the_exam_is_not_calibrated_on(tiny_model_dir):
    # A retain set made from the model itself: all of the neutral instructions, ten kept to calibrate on and ten for the exam
    model, tokenizer = load(tiny_model_dir)
    model = apply_edit(model, EditSection(name="grun", gate_pool="max"), "")
    made = [Record(f"neutral-{i}", (Turn("user", text),), "Yes.") for i, text in enumerate(neutral_instructions())]
    forget = [Record("f", (Turn("user", "Where does Basil Mahfouz live?"),), "Nowhere.")]
    threshold, coverage = gate_first(model, PromptBuilder(tokenizer), forget, made[20:], made[:10], made[10:20], 0.5, 42, lambda rows: None)
    assert threshold.n == 10
    assert coverage == 1.0
