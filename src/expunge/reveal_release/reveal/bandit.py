"""NeuralUCB (Zhou et al., 2020, arXiv 1911.04462) over a fixed pool, with the preset of INSTINCT (Lin et al., 2023, arXiv 2310.02905)."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from expunge.reveal_release.reveal.searchers import RandomSearch

WIDTH, LR = 100, 1e-3


class NeuralUCB:
    """Asks where a network that was fitted to the scores so far expects much, or knows little.

    Utility of a candidate: mu(x) + sqrt(lambda nu g(x)^T U^-1 g(x)), g the gradient of the fitted network mu by its parameters and
    U = lambda I + sum g g^T over all asked candidates, the random starts among them. After INSTINCT, but for:

    - Every fit begins at the same parameters, drawn by the seed, and a pull draws by seed and number of observations: a searcher that
      has observed the same proposes the same (on the same machine with as many threads). To resume, observing again is enough; nothing
      is fitted before something is proposed.
    - Scores are standardised over the observations and the network is scaled so that |g|^2 is near 3 at its initialisation, whatever
      its width and the number of features. So mean and bonus are in one unit, the scores' deviation, and neither drowns the other.
    - Nothing is asked twice, and a score that is not finite is an error.
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
        """Standardise the features over the pool; the defaults are INSTINCT's.

        Args:
            features: (candidates, dim).
            seed: of the starts, the scans and the initialisation. The starts are the first of `RandomSearch` with the same seed.
            random_starts: candidates asked at random before the first fit, at least 1.
            candidates_per_step: unasked candidates, drawn anew, that a pull chooses among.
            covariance: of the gradients of the asked candidates: whole, or its diagonal alone.
            exploration: weight of the bonus's square.
            ridge: lambda, of the covariance and (over the number of observations) of the fit: as the scores are standardised, the share
                of their variance that is taken for noise.
            steps: of Adam in a fit, each over all observations.
            batch_size: candidates asked for each fit, those of the highest utility.

        Raises:
            ValueError: if a feature is not finite.
        """
        if not bool(features.isfinite().all()):
            raise ValueError("the features of the candidates must be finite")
        self.seed, self.ridge, self.steps = seed, ridge, steps
        self.random_starts, self.batch_size = random_starts, batch_size
        self.candidates_per_step, self.exploration = candidates_per_step, exploration
        self._variance = VARIANCES[covariance]
        self._inputs = network_inputs(features)
        self._initial = initial_network(self._inputs.shape[1], seed)
        self._first = RandomSearch(len(features), seed)
        self._scores: dict[int, float] = {}

    def propose(self, most: int) -> list[int]:
        """Random starts, up to `most`, or what to ask next, up to `batch_size`; the same until something is observed."""
        observed = len(self._scores)
        if observed < self.random_starts:
            return self._first.propose(min(most, self.random_starts - observed))
        unasked = np.setdiff1d(np.arange(len(self._inputs)), list(self._scores))
        if not len(unasked):
            return []
        generator = np.random.default_rng([self.seed, observed])
        scanned = generator.choice(unasked, min(self.candidates_per_step, len(unasked)), replace=False)
        best = self._utility(scanned).topk(min(self.batch_size, most, len(scanned))).indices
        return scanned[best.numpy()].tolist()

    def observe(self, index: int, score: float) -> None:
        """Take note of a candidate's score.

        Raises:
            ValueError: if it was observed before, or the score is not finite.
        """
        if index in self._scores or not isfinite(score):
            raise ValueError(f"candidate {index}: observed twice, or its score {score} is not finite")
        self._scores[index] = score
        self._first.observe(index, score)

    def _utility(self, candidates: np.ndarray) -> Tensor:
        """(candidates,): mean plus bonus, by a network fitted anew."""
        asked = self._inputs[list(self._scores)]
        network = fit(self._initial, asked, standardised(torch.tensor(list(self._scores.values()))), self.ridge, self.steps)
        # What the asked explain of a gradient's length is a difference of near numbers, too near for fp32.
        precise = Network(network.first.double(), network.last.double())
        gradients = precise.gradients(self._inputs[candidates].double())
        variance = self._variance(gradients, precise.gradients(asked.double()), self.ridge)
        return gradients.hidden @ precise.last + (self.exploration * variance).sqrt()


@dataclass(frozen=True)
class Gradients:
    """Gradients of the network's output by its parameters at n inputs, in factors: one is (upstream x inputs, hidden).

    Attributes:
        inputs: (n, dim + 1).
        upstream: (n, width), by the hidden units before the ReLU.
        hidden: (n, width + 1).
    """

    inputs: Tensor
    upstream: Tensor
    hidden: Tensor

    def dot(self, other: "Gradients") -> Tensor:
        """(n, m): inner products with m other gradients."""
        return (self.upstream @ other.upstream.T) * (self.inputs @ other.inputs.T) + self.hidden @ other.hidden.T

    def squared(self) -> "Gradients":
        """Each entry of each gradient squared."""
        return Gradients(self.inputs.square(), self.upstream.square(), self.hidden.square())

    def total(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted sum of the gradients, weights (n,): by the first layer, (width, dim + 1), and by the last, (width + 1,)."""
        return (self.upstream * weights[:, None]).T @ self.inputs, self.hidden.T @ weights


@dataclass(frozen=True)
class Network:
    """One hidden layer of ReLUs in the tangent-kernel scaling, so that gradients keep their size whatever the width.

    Attributes:
        first: (width, dim + 1); the last column is the bias, as inputs end in a 1.
        last: (width + 1,); the last entry is the bias.
    """

    first: Tensor
    last: Tensor

    def gradients(self, inputs: Tensor) -> Gradients:
        """Of the output at inputs, (n, dim + 1). The output itself is `gradients.hidden @ last`: it is linear in the last layer."""
        scale = len(self.first) ** -0.5
        hidden = (inputs @ self.first.T).relu() * scale
        return Gradients(inputs, (hidden > 0) * (self.last[:-1] * scale), torch.cat((hidden, hidden.new_ones(len(hidden), 1)), dim=1))


def network_inputs(features: Tensor) -> Tensor:
    """Features standardised over the pool, scaled to a mean squared length of 1, and a 1 for the bias: (candidates, dim + 1), fp32."""
    scaled = standardised(features) / features.shape[1] ** 0.5
    return torch.cat((scaled, scaled.new_ones(len(scaled), 1)), dim=1)


def initial_network(inputs: int, seed: int, width: int = WIDTH) -> Network:
    """Parameters of unit variance; the bias of the output is 0."""
    generator = torch.Generator().manual_seed(seed)
    first, last = torch.randn(width, inputs, generator=generator), torch.randn(width + 1, generator=generator)
    last[-1] = 0.0
    return Network(first, last)


@torch.no_grad()
def fit(network: Network, inputs: Tensor, scores: Tensor, ridge: float, steps: int) -> Network:
    """Least squares by Adam over all observations at once, with weight decay lambda / t.

    Args:
        network: to begin with; it stays as it is.
        inputs: (t, dim + 1).
        scores: (t,).
        ridge: lambda.
        steps: of Adam.
    """
    first, last = (parameter.clone().requires_grad_() for parameter in (network.first, network.last))
    fitted = Network(first, last)
    optimizer = torch.optim.Adam([first, last], lr=LR, weight_decay=ridge / len(scores), fused=True)
    for _ in range(steps):
        gradients = fitted.gradients(inputs)
        # By hand: the factors are there, and autograd would take as long again.
        first.grad, last.grad = gradients.total((gradients.hidden @ last - scores) * (2 / len(scores)))
        optimizer.step()
    return Network(first.detach(), last.detach())


def full_variance(of: Gradients, asked: Gradients, ridge: float) -> Tensor:
    """The bonus lambda g^T U^-1 g for U = lambda I + G^T G, by Woodbury's identity: |g|^2 - (G g)^T (lambda I + G G^T)^-1 G g.

    Args:
        of: n gradients g.
        asked: t gradients, the rows of G; nothing larger than t x t is solved.
        ridge: lambda.

    Returns:
        (n,), at least 0.
    """
    gram = asked.dot(asked)
    factor = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram), dtype=gram.dtype))
    explained = torch.linalg.solve_triangular(factor, asked.dot(of), upper=False).square().sum(0)
    squares = of.squared()
    lengths = squares.upstream.sum(1) * squares.inputs.sum(1) + squares.hidden.sum(1)
    return (lengths - explained).clamp(min=0.0)


def diagonal_variance(of: Gradients, asked: Gradients, ridge: float) -> Tensor:
    """The bonus lambda g^T U^-1 g for U the diagonal of lambda I + G^T G; arguments and result as of `full_variance`."""
    squares, seen = of.squared(), asked.squared()
    first, last = seen.total(torch.ones_like(seen.hidden[:, 0]))
    by_first = ((squares.upstream @ (1 / (ridge + first))) * squares.inputs).sum(1)
    return ridge * (by_first + squares.hidden @ (1 / (ridge + last)))


VARIANCES: dict[str, Callable[[Gradients, Gradients, float], Tensor]] = {"full": full_variance, "diag": diagonal_variance}
"""By the name of the covariance."""


def standardised(values: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the first dimension, fp32; what varies by no more than rounding becomes 0."""
    precise = values.double()
    centred = precise - precise.mean(0)
    deviation = centred.square().mean(0).sqrt()
    return torch.where(deviation > 1e-6 * precise.abs().amax(0), centred / deviation, 0.0).float()
