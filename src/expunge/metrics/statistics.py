"""Every number of an audit with its 95 % interval and its n."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import beta

from expunge.metrics.gate import auroc

RESAMPLES = 2000
SEED = 0
Z95 = 1.959963984540054
# Resampled values held at once: 32 MB of indices.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class MetricValue:
    """A number, and the count of records, entities or samples that it was computed from."""

    value: float
    n: int


@dataclass(frozen=True)
class Summary:
    """A number of an audit.

    Attributes:
        value: the estimate.
        n: how many records it rests on.
        ci95: lower and upper end of its 95 % interval; None where an interval has no meaning (a p-value).
    """

    value: float
    n: int
    ci95: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, float | int | list[float] | None]:
        """The form it has in JSON."""
        return {"value": self.value, "n": self.n, "ci95": None if self.ci95 is None else list(self.ci95)}


def mean_ci(values: Sequence[float]) -> Summary:
    """Mean with a percentile bootstrap interval (Efron, 1979): the same values give the same interval.

    Raises:
        ValueError: if there is no value, or one is not finite.
    """
    return of_means_ci([values], lambda means: means[0])


def excess_ci(ours: Sequence[float], theirs: Sequence[float] | None = None) -> Summary:
    """Mean of differences, each in [-1, 1], or difference of two means, with an interval that keeps a width where all values are alike.

    There a resample knows of no other value; as many records all alike leave room for a share of others of `rate_bound`.

    Args:
        ours: differences; with `theirs`, the values of one model.
        theirs: the values of another on other records, resampled apart; n counts both.

    Raises:
        ValueError: if there is no value, or one is not finite.
    """
    first, second = mean_ci(ours), None if theirs is None else mean_ci(theirs)
    if second is None or theirs is None:
        found, fewest = first, len(ours)
    else:
        drawn = [
            np.concatenate([np.asarray(values, dtype=np.float64)[i].mean(-1) for i in _resamples(len(values), seed)])
            for seed, values in enumerate((ours, theirs))
        ]
        fewest = min(len(ours), len(theirs))
        interval = percentile_interval(drawn[0] - drawn[1]) if fewest > 1 else None
        found = Summary(first.value - second.value, first.n + second.n, interval)
    if found.ci95 is None or found.ci95[0] < found.ci95[1]:
        return found
    room = rate_bound(0, fewest)
    return Summary(found.value, found.n, (found.value - room, found.value + room))


def of_means_ci(columns: Sequence[Sequence[float]], of: Callable[[np.ndarray], np.ndarray]) -> Summary:
    """A function of several means over the same records, with a percentile bootstrap interval: records are drawn whole.

    Args:
        columns: (columns, records), a number of each record.
        of: gives the function of the means along the first axis: (columns, ...) -> (...).

    Raises:
        ValueError: if there is no value, or one is not finite.
    """
    sample = np.asarray(columns, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError("a mean needs at least one value, all finite")
    n = sample.shape[1]
    means = np.concatenate([sample[:, drawn].mean(-1) for drawn in _resamples(n)], axis=1)
    # One record says nothing about its spread.
    return Summary(float(of(sample.mean(-1))), n, percentile_interval(of(means)) if n > 1 else None)


def proportion_ci(successes: int, n: int) -> Summary:
    """Share of successes with Wilson's score interval (Wilson, 1927), which keeps a width at 0 and at n.

    Raises:
        ValueError: if n is 0, or successes are not in 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no proportion")
    share, z2 = successes / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and at n an end is exactly there, which rounding misses.
    return Summary(share, n, (centre - half if successes else 0.0, centre + half if successes < n else 1.0))


def rate_bound(successes: int, n: int) -> float:
    """The highest rate that 95 % of samples like this one leave possible (Clopper and Pearson, 1934, one-sided).

    No success in n draws gives 1 - 0.05^(1/n), about 3/n.

    Raises:
        ValueError: if n is 0, or successes are not in 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no proportion")
    return float(beta.ppf(0.95, successes + 1, n - successes)) if successes < n else 1.0


def auroc_ci(positives: Sequence[float], negatives: Sequence[float]) -> Summary:
    """AUROC with a percentile bootstrap interval, positives and negatives resampled apart; n counts both.

    Raises:
        ValueError: if either is empty.
    """
    value = auroc(positives, negatives)
    return Summary(value, len(positives) + len(negatives), percentile_interval(resampled_auroc(positives, negatives)))


def resampled_auroc(positives: Sequence[float], negatives: Sequence[float]) -> np.ndarray:
    """(resamples,): AUROC of each bootstrap sample.

    Two models' scores of the same records, in the same order, are resampled alike: what is computed of both is paired.
    """
    high, low = np.asarray(positives, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    # A resample repeats pairs of the sample, so its AUROC is a weighted mean over the pairs, decided once.
    wins = (high[:, None] > low).astype(np.float64) + 0.5 * (high[:, None] == low)
    generator = np.random.default_rng(SEED)
    times_high = generator.multinomial(high.size, np.full(high.size, 1 / high.size), size=RESAMPLES)
    times_low = generator.multinomial(low.size, np.full(low.size, 1 / low.size), size=RESAMPLES)
    return ((times_high @ wins) * times_low).sum(1) / wins.size


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of resampled values."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def _resamples(n: int, seed: int = SEED) -> Iterator[np.ndarray]:
    """RESAMPLES rows of n indices drawn with replacement, in blocks that fit in memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // n)
    for start in range(0, RESAMPLES, rows):
        yield generator.integers(n, size=(min(rows, RESAMPLES - start), n))
