"""Forget quality and model utility, TOFU's two summaries of a model (Maini et al., 2024, arXiv 2401.06121, §2.2)."""

from collections.abc import Mapping, Sequence
from statistics import harmonic_mean

from scipy.stats import ks_2samp


def forget_quality(unlearned_ratios: Sequence[float], control_ratios: Sequence[float]) -> float:
    """Return the two-sample Kolmogorov-Smirnov p-value of the forget set's truth ratios, unlearned model against control.

    Args:
        unlearned_ratios: `truth_ratio` of each forget record under the unlearned model.
        control_ratios: `truth_ratio` under a model trained on the retain set only.

    Returns:
        Near 1 if the two distributions look the same; below 0.05 they differ significantly.

    Raises:
        ValueError: if either is empty.
    """
    if not unlearned_ratios or not control_ratios:
        raise ValueError("forget quality needs the truth ratios of both models")
    return float(ks_2samp(unlearned_ratios, control_ratios).pvalue)


def model_utility(parts: Mapping[str, float]) -> float:
    """Return the harmonic mean of the utility metrics; 0 if one of them is 0.

    Args:
        parts: by name, each 0 or more. TOFU has nine: {retain, real authors, world facts} x {probability, rouge, truth ratio};
            with fewer sets the mean has fewer parts, and is only comparable to a mean of the same parts.

    Raises:
        ValueError: if there is no part, or one is negative.
    """
    if not parts:
        raise ValueError("model utility needs at least one part")
    return harmonic_mean(list(parts.values()))
