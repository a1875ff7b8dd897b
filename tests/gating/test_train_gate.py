"""Pooling of token scores by hand, and gates trained on a planted feature."""

import math

import pytest
import torch
from torch import Tensor, tensor

from expunge.config import EditSection
from expunge.edits.grun.gate import new_gate, pooled_logits, token_scores
from expunge.gating.calibrate import calibrate
from expunge.gating.train import prompt_logits, train_gate


def pool_of(pool: str, rows: list[list[float]], softness: float = 0.0) -> list[float]:
    """Return the logits of a gate whose score is the one-dimensional state itself; shorter prompts are padded with a 9."""
    parts = new_gate("linear", pool, 1)
    for part in parts.values():
        torch.nn.init.ones_(part.weight)
        torch.nn.init.zeros_(part.bias)
    longest = max(map(len, rows))
    states = tensor([[*row, *[9.0] * (longest - len(row))] for row in rows])[..., None]
    real = tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        return pooled_logits(parts, pool, states, real, softness).tolist()


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
    torch.testing.assert_close(token_scores(parts, states), parts["grun_gate"](inner)[:, 0])


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
    loss = train_gate(parts, pool, EditSection(**settings), forget, retain, seed)
    assert loss < 0.4
    return parts


@pytest.mark.parametrize("pool", ["max", "top2", "attention"])
def test_a_gate_trained_on_a_planted_feature_separates_unseen_prompts(pool):
    generator = torch.Generator().manual_seed(0)
    parts = trained(pool, prompts_with(8, 60, generator), prompts_with(0, 90, generator))
    with torch.no_grad():
        forget, retain = (prompt_logits(parts, pool, prompts_with(feature, 50, generator)) for feature in (8, 0))
        threshold = calibrate(prompt_logits(parts, pool, prompts_with(0, 99, generator)), forget, 0.05)
    assert (forget >= threshold.logit).float().mean() > 0.9
    assert (retain >= threshold.logit).float().mean() <= 0.1


def test_training_does_not_stop_at_a_token_that_every_prompt_begins_with():
    # The first token scores 0 in both sets and the names score less: a hard maximum would never train on a name
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
    train_gate(parts, "max", EditSection(), prompts(8, 60), prompts(9, 90), seed=0)
    with torch.no_grad():
        assert prompt_logits(parts, "max", prompts(8, 50)).min() > prompt_logits(parts, "max", prompts(9, 50)).max()


def test_soft_pooling_by_hand():
    # 0.5 log(e^(0/0.5) + e^(1/0.5)) over the two real tokens, without the padding of the shorter prompt
    soft = pool_of("max", [[0.0, 1.0], [0.0, 1.0, 5.0]], softness=0.5)
    assert soft == pytest.approx([0.5 * math.log(1 + math.exp(2)), 0.5 * math.log(1 + math.exp(2) + math.exp(10))])


def test_training_a_gate_is_deterministic():
    weights = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(0)
        weights.append(trained("top2", prompts_with(8, 9, generator), prompts_with(0, 9, generator), seed=3)["grun_gate"].weight)
    assert torch.equal(*weights)


def test_class_balance_gives_few_forget_prompts_the_same_weight_as_many_others():
    generator = torch.Generator().manual_seed(0)
    forget, others, unseen = prompts_with(3, 5, generator), prompts_with(0, 200, generator), prompts_with(3, 50, generator)
    gates = [trained("max", forget, others, gate_class_balance=balanced) for balanced in (True, False)]
    logits = [prompt_logits(gate, "max", unseen).mean().item() for gate in gates]
    assert logits[0] > logits[1] + 1


def test_weight_decay_shrinks_a_gate():
    generator = torch.Generator().manual_seed(0)
    forget, others = prompts_with(8, 40, generator), prompts_with(0, 60, generator)
    norms = [trained("max", forget, others, gate_weight_decay=decay)["grun_gate"].weight.norm().item() for decay in (0.0, 0.1, 1.0)]
    assert norms[0] > norms[1] > norms[2]
