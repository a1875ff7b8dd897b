"""Statistics of an audit: means, shares and AUROC with 95 % intervals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import beta

from expunge.metrics.gate import auroc

RESAMPLES = 2000
SEED = 0
Z95 = 1.959963984540054
# Maximum number of resampled values in memory at once; their indices take 32 MB.
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
        n: the number of records that it was computed from.
        ci95: lower and upper end of its 95 % interval; None where an interval has no meaning (a p-value).
    """

    value: float
    n: int
    ci95: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, float | int | list[float] | None]:
        """Return it as plain values for JSON."""
        return {"value": self.value, "n": self.n, "ci95": None if self.ci95 is None else list(self.ci95)}


def mean_ci(values: Sequence[float]) -> Summary:
    """Return the mean with a percentile bootstrap interval (Efron, 1979); the same values give the same interval.

    Raises:
        ValueError: if there is no value, or one is not finite.
    """
    return combined_means_ci([values], lambda means: means[0])


def excess_ci(values: Sequence[float], other_values: Sequence[float] | None = None) -> Summary:
    """Return the mean of differences, each in [-1, 1], or the difference of two means, with an interval.

    If all values are equal, resampling gives an interval of width 0. The interval then extends by `rate_bound(0, n)` on both sides: the
    share of records with another value may still be that large.

    Args:
        values: differences; with `other_values`, the values of one model.
        other_values: the values of another model on other records, resampled separately; n counts both.

    Raises:
        ValueError: if there is no value, or one is not finite.
    """
    first, second = mean_ci(values), None if other_values is None else mean_ci(other_values)
    if second is None or other_values is None:
        excess, smallest_n = first, len(values)
    else:
        resampled = [
            np.concatenate([np.asarray(sample, dtype=np.float64)[i].mean(-1) for i in _resamples(len(sample), seed)])
            for seed, sample in enumerate((values, other_values))
        ]
        smallest_n = min(len(values), len(other_values))
        interval = percentile_interval(resampled[0] - resampled[1]) if smallest_n > 1 else None
        excess = Summary(first.value - second.value, first.n + second.n, interval)
    if excess.ci95 is None or excess.ci95[0] < excess.ci95[1]:
        return excess
    margin = rate_bound(0, smallest_n)
    return Summary(excess.value, excess.n, (excess.value - margin, excess.value + margin))


def combined_means_ci(columns: Sequence[Sequence[float]], combine: Callable[[np.ndarray], np.ndarray]) -> Summary:
    """Return a function of several means over the same records, with a percentile bootstrap interval over whole records.

    Args:
        columns: (columns, records), one number a record.
        combine: the function of the means, applied along the first axis: (columns, ...) -> (...).

    Raises:
        ValueError: if there is no value, or one is not finite.
    """
    sample = np.asarray(columns, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError("a mean needs at least one value, all finite")
    n = sample.shape[1]
    means = np.concatenate([sample[:, drawn].mean(-1) for drawn in _resamples(n)], axis=1)
    # The spread cannot be estimated from one record.
    return Summary(float(combine(sample.mean(-1))), n, percentile_interval(combine(means)) if n > 1 else None)


def proportion_ci(successes: int, n: int) -> Summary:
    """Return the share of successes with Wilson's score interval (Wilson, 1927), which has a width even at 0 and at n.

    Raises:
        ValueError: if n is 0, or successes are not in 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a proportion")
    share, z2 = successes / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and at n one end of the interval is exactly 0 or 1, which rounding would miss.
    return Summary(share, n, (centre - half if successes else 0.0, centre + half if successes < n else 1.0))


def rate_bound(successes: int, n: int) -> float:
    """Return the one-sided 95 % upper bound of a rate (Clopper and Pearson, 1934).

    No success in n draws gives 1 - 0.05^(1/n), about 3/n.

    Raises:
        ValueError: if n is 0, or successes are not in 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a proportion")
    return float(beta.ppf(0.95, successes + 1, n - successes)) if successes < n else 1.0


def auroc_ci(positives: Sequence[float], negatives: Sequence[float]) -> Summary:
    """Return AUROC with a percentile bootstrap interval; positives and negatives are resampled separately, and n counts both.

    Raises:
        ValueError: if either is empty.
    """
    value = auroc(positives, negatives)
    return Summary(value, len(positives) + len(negatives), percentile_interval(resampled_auroc(positives, negatives)))


def resampled_auroc(positives: Sequence[float], negatives: Sequence[float]) -> np.ndarray:
    """Return the AUROC of each bootstrap sample: (resamples,).

    Scores of two models on the same records, in the same order, are resampled alike, so that a comparison of both is paired.
    """
    high, low = np.asarray(positives, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    # A resample repeats pairs of the sample, so its AUROC is a weighted mean over pairs that are compared only once.
    wins = (high[:, None] > low).astype(np.float64) + 0.5 * (high[:, None] == low)
    generator = np.random.default_rng(SEED)
    high_counts = generator.multinomial(high.size, np.full(high.size, 1 / high.size), size=RESAMPLES)
    low_counts = generator.multinomial(low.size, np.full(low.size, 1 / low.size), size=RESAMPLES)
    return ((high_counts @ wins) * low_counts).sum(1) / wins.size


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """Return the middle 95 % of resampled values."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def _resamples(n: int, seed: int = SEED) -> Iterator[np.ndarray]:
    """Yield `RESAMPLES` rows of n indices drawn with replacement, in blocks that fit in memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // n)
    for start in range(0, RESAMPLES, rows):
        yield generator.integers(n, size=(min(rows, RESAMPLES - start), n))
