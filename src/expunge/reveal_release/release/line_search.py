"""Line search for lambda_f, how many times a forget module is subtracted, under a utility budget on validation records."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import exp, inf, isfinite
from typing import Any

import torch
from torch import nn

from expunge.config import ReleaseSection
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.metrics.token_nll import HIGHEST_NLL, token_nll
from expunge.models.finite import finite_or_none
from expunge.models.placement import fast_dtype

BATCH_SIZE = 16


@dataclass(frozen=True)
class ValidationMetrics:
    """What a model scores on the validation records.

    Attributes:
        forget_nll: of the forget data, nats per token.
        retain_perplexity: of retain records.
        neutral_perplexity: of the original's answers to neutral instructions.
    """

    forget_nll: float
    retain_perplexity: float
    neutral_perplexity: float

    def utility_drop(self, original: "ValidationMetrics") -> float:
        """Return the relative rise of the perplexity that rose more; negative if both fell, infinite for a model that is broken."""
        if not all(map(isfinite, (self.forget_nll, self.retain_perplexity, self.neutral_perplexity))):
            return inf
        return max(self.retain_perplexity / original.retain_perplexity, self.neutral_perplexity / original.neutral_perplexity) - 1


@dataclass(frozen=True)
class LambdaEvaluation:
    """A value of lambda_f and the model it leads to; for `utility_drop` see `ValidationMetrics.utility_drop`."""

    lambda_f: float
    metrics: ValidationMetrics
    utility_drop: float

    def as_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON values; null stands for a number that is not finite, so this value broke the model."""
        metrics = {name: finite_or_none(value) for name, value in asdict(self.metrics).items()}
        return {"lambda_f": self.lambda_f, "metrics": metrics, "utility_drop": finite_or_none(self.utility_drop)}


def validation_metrics(
    model: nn.Module, builder: PromptBuilder, forget: Sequence[Record], retain: Sequence[Record], neutral: Sequence[Record]
) -> ValidationMetrics:
    """Measure a model on validation records."""

    def no_progress(_rows: int) -> None: ...

    examples = [[builder.record(record) for record in records] for records in (forget, retain, neutral)]
    # In the dtype in which this machine is fast, as in training: a search only compares measurements made alike.
    device = next(model.parameters()).device
    with torch.autocast(device.type, fast_dtype(device), enabled=fast_dtype(device) != torch.float32):
        forget_nll, *nlls = (token_nll(model, some, builder.pad, BATCH_SIZE, no_progress).value for some in examples)
    return ValidationMetrics(forget_nll, *(exp(min(nll, HIGHEST_NLL)) for nll in nlls))


def search_lambda(
    measure: Callable[[float], ValidationMetrics], original: ValidationMetrics, max_drop: float, settings: ReleaseSection
) -> list[LambdaEvaluation]:
    """Evaluate values of lambda_f: double them while they fit the budget, then bisect between one that fits and one that does not.

    Args:
        measure: the metrics of the model that a value leads to.
        original: the metrics of the original model.
        max_drop: the budget, a `ValidationMetrics.utility_drop`.
        settings: `lambda_max`, `lambda_evaluations` and `target_forget_nll` are read.

    Returns:
        All evaluations, in order; `best_lambda` chooses among them.
    """
    evaluations: list[LambdaEvaluation] = []
    fits, too_large, value = 0.0, None, min(1.0, settings.lambda_max)
    while len(evaluations) < settings.lambda_evaluations:
        metrics = measure(value)
        evaluations.append(LambdaEvaluation(value, metrics, metrics.utility_drop(original)))
        if evaluations[-1].utility_drop <= max_drop:
            fits = value
            if value == settings.lambda_max or reaches_target(metrics, settings.target_forget_nll):
                break
        else:
            too_large = value
        value = min(2 * fits, settings.lambda_max) if too_large is None else (fits + too_large) / 2
    return evaluations


def best_lambda(evaluations: Sequence[LambdaEvaluation], max_drop: float, start_nll: float) -> LambdaEvaluation | None:
    """Return the evaluation with the highest forget NLL that fits the budget; None if none fits or none raises the NLL.

    Args:
        evaluations: by `search_lambda`.
        max_drop: the budget.
        start_nll: `ValidationMetrics.forget_nll` before the round.
    """
    fitting = [one for one in evaluations if one.utility_drop <= max_drop and one.metrics.forget_nll > start_nll]
    return max(fitting, key=lambda one: one.metrics.forget_nll, default=None)


def reaches_target(metrics: ValidationMetrics, target_forget_nll: float | None) -> bool:
    """Return whether the forget NLL has reached the target, if there is one."""
    return target_forget_nll is not None and metrics.forget_nll >= target_forget_nll
