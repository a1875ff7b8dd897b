"""NeuralUCB: closed forms against explicit matrices, its proposals, and a comparison with random search."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from expunge.reveal_release.reveal.bandit import VARIANCES, Network, NeuralUCB, fit, initial_network, network_inputs, standardised
from expunge.reveal_release.reveal.searchers import RandomSearch, Searcher

WIDTH, DIM, RIDGE = 7, 5, 0.3


def tiny_network() -> Network:
    network = initial_network(DIM + 1, seed=3, width=WIDTH)
    return Network(network.first.double(), network.last.double())


def tiny_inputs(count: int, seed: int) -> Tensor:
    return network_inputs(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))).double()


def by_autograd(network: Network, inputs: Tensor) -> Tensor:
    """Return the gradients of w2 relu(W1 x + b1) / sqrt(width) + b2 by autograd, (n, parameters)."""
    rows = []
    for x in inputs:
        first, last = network.first.clone().requires_grad_(), network.last.clone().requires_grad_()
        hidden = torch.relu(first[:, :-1] @ x[:-1] + first[:, -1]) / WIDTH**0.5
        (last[:-1] @ hidden + last[-1]).backward()
        rows.append(torch.cat((first.grad.flatten(), last.grad)))
    return torch.stack(rows)


def test_the_full_bonus_equals_that_of_the_explicit_matrix():
    network, observed, candidates = tiny_network(), tiny_inputs(9, 0), tiny_inputs(20, 1)
    big, g = by_autograd(network, observed), by_autograd(network, candidates)
    covariance = RIDGE * torch.eye(big.shape[1]).double() + big.T @ big
    expected = RIDGE * (g @ torch.linalg.inv(covariance) * g).sum(1)
    given = VARIANCES["full"](network.gradients(candidates), network.gradients(observed), RIDGE)
    torch.testing.assert_close(given, expected)


def test_the_diagonal_bonus_equals_that_of_the_explicit_matrix():
    network, observed, candidates = tiny_network(), tiny_inputs(9, 0), tiny_inputs(20, 1)
    big, g = by_autograd(network, observed), by_autograd(network, candidates)
    diagonal = (RIDGE * torch.eye(big.shape[1]).double() + big.T @ big).diagonal()
    expected = RIDGE * (g.square() / diagonal).sum(1)
    given = VARIANCES["diag"](network.gradients(candidates), network.gradients(observed), RIDGE)
    torch.testing.assert_close(given, expected)


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from(["full", "diag"]), st.integers(0, 99))
def test_observations_never_increase_a_bonus(before, after, covariance, seed):
    network, observed, candidates = tiny_network(), tiny_inputs(before + after, seed), tiny_inputs(20, seed + 1)
    few, all_of_them = network.gradients(observed[:before]), network.gradients(observed)
    bonus, later = (VARIANCES[covariance](network.gradients(candidates), g, RIDGE) for g in (few, all_of_them))
    assert bool((later <= bonus + 1e-9).all())


@given(st.integers(1, 30), st.integers(0, 99))
def test_the_bonus_of_an_observed_candidate_is_at_most_lambda(count, seed):
    gradients = tiny_network().gradients(tiny_inputs(count, seed))
    assert VARIANCES["full"](gradients, gradients, RIDGE).max() <= RIDGE + 1e-9


def test_the_bonus_of_one_observed_candidate_by_hand():
    # Width 1, dim 1: first (1, 0), last (2, 0), x = 3: h = 3, upstream 2, so g = (2 * 3, 2 * 1, 3, 1) and |g|^2 = 36 + 4 + 9 + 1 = 50.
    network = Network(torch.tensor([[1.0, 0.0]]).double(), torch.tensor([2.0, 0.0]).double())
    g = network.gradients(torch.tensor([[3.0, 1.0]]).double())
    assert (g.hidden @ network.last).item() == 6.0
    # full, lambda 0.5: 50 - 50 * 50 / (0.5 + 50) = 0.495050
    assert VARIANCES["full"](g, g, 0.5).item() == pytest.approx(0.495050, abs=1e-6)
    # diag: 0.5 * (36 / 36.5 + 4 / 4.5 + 9 / 9.5 + 1 / 1.5) = 1.744613
    assert VARIANCES["diag"](g, g, 0.5).item() == pytest.approx(1.744613, abs=1e-6)


def test_a_fit_equals_autograd_with_adam():
    network, inputs = initial_network(DIM + 1, seed=3, width=WIDTH), tiny_inputs(9, 0).float()
    rewards = standardised(torch.arange(9.0))
    parameters = [network.first.clone().requires_grad_(), network.last.clone().requires_grad_()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, weight_decay=RIDGE / 9)
    for _ in range(20):
        optimizer.zero_grad()
        hidden = torch.relu(inputs @ parameters[0].T) / WIDTH**0.5
        (hidden @ parameters[1][:-1] + parameters[1][-1] - rewards).square().mean().backward()
        optimizer.step()
    fitted = fit(network, inputs, rewards, RIDGE, steps=20)
    torch.testing.assert_close(fitted.first, parameters[0].detach())
    torch.testing.assert_close(fitted.last, parameters[1].detach())


def test_the_size_of_gradients_does_not_depend_on_width_and_features():
    for dim, width in ((10, 100), (400, 100), (50, 400)):
        inputs = network_inputs(5 + 40 * torch.randn(200, dim, generator=torch.Generator().manual_seed(0)))
        gradients = initial_network(dim + 1, seed=0, width=width).gradients(inputs)
        # |x|^2 is 1 + 1 for the bias, so |upstream|^2 |x|^2 + |hidden|^2 + 1 is on average 1/2 * 2 + 2/2 + 1 = 3.
        assert gradients.dot(gradients).diagonal().mean().item() == pytest.approx(3, rel=0.3)


def test_constant_features_become_0():
    inputs = network_inputs(torch.cat((torch.randn(50, 2), torch.full((50, 1), 3.7)), dim=1))
    assert inputs[:, 2].abs().max() == 0
    assert standardised(torch.full((7,), 0.3)).tolist() == [0.0] * 7


def propose_all(searcher: Searcher, rewards: list[float]) -> list[int]:
    proposed = []
    while some := searcher.propose(1):
        (index,) = some
        proposed.append(index)
        searcher.observe(index, rewards[index])
    return proposed


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.integers(1, 14),
    st.integers(1, 5),
    st.sampled_from(["full", "diag"]),
    st.integers(0, 9),
)
def test_every_candidate_is_proposed_once_for_any_rewards(rewards, starts, scan, covariance, seed):
    features = torch.randn(len(rewards), 4, generator=torch.Generator().manual_seed(seed))
    searcher = NeuralUCB(features, seed, random_starts=starts, candidates_per_step=scan, covariance=covariance, steps=5)
    assert sorted(propose_all(searcher, rewards)) == list(range(len(rewards)))


def test_equal_observations_give_equal_proposals():
    features, rewards = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.rand(60).tolist()
    one = NeuralUCB(features, 5, random_starts=4, candidates_per_step=20, steps=50)
    history = []
    for _ in range(12):
        (index,) = one.propose(1)
        assert [index] == one.propose(1)
        again = NeuralUCB(features, 5, random_starts=4, candidates_per_step=20, steps=50)
        for earlier in history:
            again.observe(earlier, rewards[earlier])
        assert again.propose(1) == [index]
        one.observe(index, rewards[index])
        history.append(index)
    other = NeuralUCB(features, 6, random_starts=4, candidates_per_step=20, steps=50)
    assert propose_all(other, rewards)[:12] != history


def test_the_random_starts_are_those_of_random_search():
    features = torch.randn(30, 3)
    bandit, random = NeuralUCB(features, 8, random_starts=5, steps=5), RandomSearch(30, 8)
    assert propose_all(bandit, [0.0] * 30)[:5] == propose_all(random, [0.0] * 30)[:5]


@pytest.mark.parametrize("reward", [float("-inf"), float("nan")])
def test_a_reward_that_is_not_finite_is_an_error(reward):
    with pytest.raises(ValueError, match="candidate 2"):
        NeuralUCB(torch.randn(5, 3), 0).observe(2, reward)


def test_a_candidate_observed_twice_is_an_error():
    searcher = NeuralUCB(torch.randn(5, 3), 0)
    searcher.observe(2, 0.5)
    with pytest.raises(ValueError, match="candidate 2"):
        searcher.observe(2, 0.5)


def test_features_that_are_not_finite_are_an_error():
    with pytest.raises(ValueError, match="finite"):
        NeuralUCB(torch.tensor([[1.0], [float("inf")]]), 0)


def synthetic(seed: int) -> tuple[Tensor, list[float]]:
    """Return 2,000 candidates in 32 dimensions and their rewards in (0, 1), a smooth nonlinear function of three directions."""
    generator = torch.Generator().manual_seed(1000 + seed)
    features = torch.randn(2000, 32, generator=generator)
    a, b, c = (features @ torch.randn(32, 3, generator=generator) / 32**0.5).unbind(1)
    return features, torch.sigmoid(torch.sin(1.5 * a) + b * c.tanh() + 0.8 * b - 1).tolist()


@pytest.mark.long
def test_the_bandit_finds_better_candidates_than_random_search_at_equal_budget():
    wins, budget = 0, 80
    for seed in range(10):
        features, rewards = synthetic(seed)
        best = []
        for searcher in (NeuralUCB(features, seed, steps=300), RandomSearch(2000, seed)):
            seen = []
            for _ in range(budget):
                (index,) = searcher.propose(1)
                seen.append(rewards[index])
                searcher.observe(index, seen[-1])
            best.append(max(seen))
        wins += best[0] > best[1]
    # Both have the same 40 starts. Binomial(10, 1/2) is 8 or more with probability 0.05.
    assert wins >= 8


def test_a_batch_starts_with_the_candidate_that_would_be_proposed_alone():
    features = torch.randn(60, 6, generator=torch.Generator().manual_seed(1))

    def searcher(size: int) -> NeuralUCB:
        made = NeuralUCB(features, seed=2, random_starts=10, steps=50, batch_size=size)
        for index in made.propose(10):
            made.observe(index, features[index, 0].item())
        return made

    alone, four = searcher(1).propose(8), searcher(4).propose(8)
    assert len(alone) == 1
    assert four[:1] == alone
    assert len(set(four)) == 4
    # No more candidates are proposed than the budget allows.
    assert searcher(4).propose(3) == four[:3]
