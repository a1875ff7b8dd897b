"""NeuralUCB over a fixed pool of candidates (Zhou et al., 2020, arXiv 1911.04462), after INSTINCT (Lin et al., 2023, arXiv 2310.02905)."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from expunge.models.finite import check_finite
from expunge.reveal_release.reveal.searchers import RandomSearch

WIDTH, LR = 100, 1e-3


class NeuralUCB:
    """Proposes candidates for which a network fitted to the rewards predicts a high reward or is uncertain.

    The utility of a candidate is mu(x) + sqrt(lambda nu g(x)^T U^-1 g(x)). mu is the fitted network, g its gradient with respect to its
    parameters, and U = lambda I + sum g g^T over all observed candidates, the random starts among them. Differences from INSTINCT:

    - Every fit starts from the same parameters, which the seed determines. A step draws its candidates by the seed and the number of
      observations. A searcher with the same observations makes the same proposals (on the same machine with the same number of
      threads), so a search resumes by observing again. Nothing is fitted before a proposal.
    - Rewards are standardised over the observations. The network is scaled so that |g|^2 is near 3 at initialisation for every width and
      number of features. Mean and bonus then have one unit, the standard deviation of the rewards, and similar sizes.
    - No candidate is proposed after its observation, and a reward that is not finite is an error.
    """

    def __init__(
        self,
        features: Tensor,
        seed: int,
        random_starts: int = 40,
        candidates_per_step: int = 1000,
        covariance: Literal["full", "diag"] = "full",
        exploration: float = 1.0,
        ridge: float = 0.1,
        steps: int = 1000,
        batch_size: int = 1,
    ):
        """Standardise the features over the pool. The defaults are INSTINCT's.

        Args:
            features: (candidates, dim).
            seed: of the random starts, the candidates of each step and the initialisation. `RandomSearch` with it has the same starts.
            random_starts: candidates proposed at random before the first fit, at least 1.
            candidates_per_step: candidates, drawn anew among those not observed, whose utility a step computes.
            covariance: of the gradients of the observed candidates: full, or its diagonal only.
            exploration: nu, the weight of the squared bonus.
            ridge: lambda, of the covariance and (divided by the number of observations) of the fit: the share of the rewards' variance
                that counts as noise.
            steps: of Adam in a fit, each over all observations.
            batch_size: candidates proposed after each fit, those with the highest utility.

        Raises:
            ValueError: a feature is not finite.
        """
        if not bool(features.isfinite().all()):
            raise ValueError("the features of the candidates must be finite")
        self.seed, self.ridge, self.steps = seed, ridge, steps
        self.random_starts, self.batch_size = random_starts, batch_size
        self.candidates_per_step, self.exploration = candidates_per_step, exploration
        self._variance = VARIANCES[covariance]
        self._inputs = network_inputs(features)
        self._initial = initial_network(self._inputs.shape[1], seed)
        self._random = RandomSearch(len(features), seed)
        self._rewards: dict[int, float] = {}

    def propose(self, limit: int) -> list[int]:
        """Return random starts, or up to `batch_size` candidates with the highest utility; the same until the next observation."""
        observed = len(self._rewards)
        if observed < self.random_starts:
            return self._random.propose(min(limit, self.random_starts - observed))
        unobserved = np.setdiff1d(np.arange(len(self._inputs)), list(self._rewards))
        if not len(unobserved):
            return []
        generator = np.random.default_rng([self.seed, observed])
        drawn = generator.choice(unobserved, min(self.candidates_per_step, len(unobserved)), replace=False)
        best = self._utility(drawn).topk(min(self.batch_size, limit, len(drawn))).indices
        return drawn[best.numpy()].tolist()

    def observe(self, index: int, reward: float) -> None:
        """Record the reward of a candidate.

        Raises:
            ValueError: the candidate was observed before, or the reward is not finite.
        """
        if index in self._rewards or not isfinite(reward):
            raise ValueError(f"candidate {index}: observed twice, or its reward {reward} is not finite")
        self._rewards[index] = reward
        self._random.observe(index, reward)

    def _utility(self, candidates: np.ndarray) -> Tensor:
        """Fit a network, and return mean plus bonus, (candidates,)."""
        observed = self._inputs[list(self._rewards)]
        network = fit(self._initial, observed, standardised(torch.tensor(list(self._rewards.values()))), self.ridge, self.steps)
        named = [("a weight of the fitted bandit", network.first), ("a weight of the fitted bandit", network.last)]
        check_finite(named, f"after {len(observed)} observations; lower data.forget.reveal.ridge")
        # The bonus is the difference of nearly equal numbers, too nearly equal for fp32.
        precise = Network(network.first.double(), network.last.double())
        gradients = precise.gradients(self._inputs[candidates].double())
        variance = self._variance(gradients, precise.gradients(observed.double()), self.ridge)
        return gradients.hidden @ precise.last + (self.exploration * variance).sqrt()


@dataclass(frozen=True)
class Gradients:
    """Gradients of the network's output with respect to its parameters at n inputs, stored as factors: (upstream x inputs, hidden).

    Attributes:
        inputs: (n, dim + 1).
        upstream: (n, width), with respect to the hidden units before the ReLU.
        hidden: (n, width + 1).
    """

    inputs: Tensor
    upstream: Tensor
    hidden: Tensor

    def dot(self, other: "Gradients") -> Tensor:
        """Return the inner products with m other gradients, (n, m)."""
        return (self.upstream @ other.upstream.T) * (self.inputs @ other.inputs.T) + self.hidden @ other.hidden.T

    def squared(self) -> "Gradients":
        """Return the gradients with each entry squared."""
        return Gradients(self.inputs.square(), self.upstream.square(), self.hidden.square())

    def total(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the gradients, weighted by `weights`, (n,): first layer, (width, dim + 1), and last layer, (width + 1,)."""
        return (self.upstream * weights[:, None]).T @ self.inputs, self.hidden.T @ weights


@dataclass(frozen=True)
class Network:
    """A network with one hidden layer of ReLUs. In tangent-kernel scaling the size of its gradients does not depend on its width.

    Attributes:
        first: (width, dim + 1); the last column is the bias, because inputs end in a 1.
        last: (width + 1,); the last entry is the bias.
    """

    first: Tensor
    last: Tensor

    def gradients(self, inputs: Tensor) -> Gradients:
        """Return the gradients of the output at inputs, (n, dim + 1); the output itself is `gradients.hidden @ last`."""
        scale = len(self.first) ** -0.5
        hidden = (inputs @ self.first.T).relu() * scale
        return Gradients(inputs, (hidden > 0) * (self.last[:-1] * scale), torch.cat((hidden, hidden.new_ones(len(hidden), 1)), dim=1))


def network_inputs(features: Tensor) -> Tensor:
    """Return features standardised over the pool and scaled to a mean squared norm of 1, with a 1 for the bias: (candidates, dim + 1)."""
    scaled = standardised(features) / features.shape[1] ** 0.5
    return torch.cat((scaled, scaled.new_ones(len(scaled), 1)), dim=1)


def initial_network(inputs: int, seed: int, width: int = WIDTH) -> Network:
    """Return a network whose parameters have unit variance; the bias of the output is 0."""
    generator = torch.Generator().manual_seed(seed)
    first, last = torch.randn(width, inputs, generator=generator), torch.randn(width + 1, generator=generator)
    last[-1] = 0.0
    return Network(first, last)


@torch.no_grad()
def fit(network: Network, inputs: Tensor, rewards: Tensor, ridge: float, steps: int) -> Network:
    """Fit a network by least squares, with Adam on all observations at once and weight decay lambda / t.

    Args:
        network: initial parameters; not changed.
        inputs: (t, dim + 1).
        rewards: (t,).
        ridge: lambda.
        steps: of Adam.
    """
    first, last = (parameter.clone().requires_grad_() for parameter in (network.first, network.last))
    fitted = Network(first, last)
    optimizer = torch.optim.Adam([first, last], lr=LR, weight_decay=ridge / len(rewards), fused=True)
    for _ in range(steps):
        gradients = fitted.gradients(inputs)
        # The gradients are computed by hand from the factors, because autograd would double the time.
        first.grad, last.grad = gradients.total((gradients.hidden @ last - rewards) * (2 / len(rewards)))
        optimizer.step()
    return Network(first.detach(), last.detach())


def full_variance(of: Gradients, observed: Gradients, ridge: float) -> Tensor:
    """Return lambda g^T U^-1 g for U = lambda I + G^T G, by Woodbury's identity |g|^2 - (G g)^T (lambda I + G G^T)^-1 G g.

    Args:
        of: n gradients g.
        observed: t gradients, the rows of G; no matrix larger than t x t is inverted.
        ridge: lambda.

    Returns:
        (n,), at least 0.
    """
    gram = observed.dot(observed)
    factor = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram), dtype=gram.dtype))
    explained = torch.linalg.solve_triangular(factor, observed.dot(of), upper=False).square().sum(0)
    squares = of.squared()
    lengths = squares.upstream.sum(1) * squares.inputs.sum(1) + squares.hidden.sum(1)
    return (lengths - explained).clamp(min=0.0)


def diagonal_variance(of: Gradients, observed: Gradients, ridge: float) -> Tensor:
    """Return lambda g^T U^-1 g for the diagonal U of lambda I + G^T G; arguments and result are those of `full_variance`."""
    squares, observed_squares = of.squared(), observed.squared()
    first, last = observed_squares.total(torch.ones_like(observed_squares.hidden[:, 0]))
    first_term = ((squares.upstream @ (1 / (ridge + first))) * squares.inputs).sum(1)
    return ridge * (first_term + squares.hidden @ (1 / (ridge + last)))


VARIANCES: dict[str, Callable[[Gradients, Gradients, float], Tensor]] = {"full": full_variance, "diag": diagonal_variance}
"""Function that computes the squared bonus, by the setting `covariance`."""


def standardised(values: Tensor) -> Tensor:
    """Return values with mean 0 and standard deviation 1 over the first dimension, fp32; columns that only vary by rounding become 0."""
    precise = values.double()
    centred = precise - precise.mean(0)
    deviation = centred.square().mean(0).sqrt()
    return torch.where(deviation > 1e-6 * precise.abs().amax(0), centred / deviation, 0.0).float()
