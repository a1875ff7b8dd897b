"""Choose lambda_f of a round: the factor by which its forget module is multiplied before it is subtracted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from expunge.data.records import Record
from expunge.reveal_release.release.context import RoundContext
from expunge.reveal_release.release.line_search import (
    LambdaEvaluation,
    ValidationMetrics,
    best_lambda,
    search_lambda,
    validation_metrics,
)
from expunge.reveal_release.release.lora_delta import LoraModule, temporary_deltas
from expunge.reveal_release.release.round_data import first_validation, utility_validation
from expunge.reveal_release.release.round_results import METRICS, is_recorded, read_round, write_round


@dataclass(frozen=True)
class RoundModules:
    """The modules of a round.

    Attributes:
        forget: the module to subtract.
        retain: the retain module, if there is one.
        lambda_r: the factor by which the retain module is multiplied before it is added; 0 in rounds that did not train it.
    """

    forget: LoraModule
    retain: LoraModule | None
    lambda_r: float

    def terms(self, lambda_f: float) -> list[tuple[float, LoraModule]]:
        """Return the modules with their coefficients."""
        added = [(self.lambda_r, self.retain)] if self.retain is not None and self.lambda_r else []
        return [(-lambda_f, self.forget), *added]


@dataclass(frozen=True)
class LambdaChoice:
    """What the line search of a round evaluated and chose.

    Attributes:
        max_drop: the utility budget of this round.
        evaluations: all values, in order.
        chosen: the best of them; none if no value fits the budget.
        metrics: of the chosen one, on the first round's validation records, which all rounds have in common.
    """

    max_drop: float
    evaluations: list[LambdaEvaluation]
    chosen: LambdaEvaluation | None
    metrics: ValidationMetrics | None


def original_metrics(context: RoundContext) -> ValidationMetrics:
    """Return the validation metrics of the original; measured once, as a resumed run no longer starts from the original's weights."""
    if not is_recorded(context.run, 0):
        with context.display.step("Measuring the original"):
            metrics = validation_metrics(context.model, context.builder, first_validation(context), *utility_validation(context))
        write_round(context.run, 0, {METRICS: asdict(metrics)})
    return ValidationMetrics(**read_round(context.run, 0)[METRICS])


def choose_lambda(
    context: RoundContext, number: int, modules: RoundModules, validation: Sequence[Record], original: ValidationMetrics
) -> LambdaChoice:
    """Choose lambda_f by line search; the model does not change.

    Args:
        context: of the run.
        number: of the round, from 1.
        modules: of the round.
        validation: of the round's forget data.
        original: metrics of the original model.
    """
    settings = context.settings
    max_drop = settings.max_utility_drop * number / settings.rounds

    def measure(lambda_f: float, forget: Sequence[Record] = validation) -> ValidationMetrics:
        with temporary_deltas(context.model, modules.terms(lambda_f)):
            return validation_metrics(context.model, context.builder, forget, *utility_validation(context))

    with context.display.step(f"Round {number}: choosing lambda"):
        start = measure(0.0)
        evaluations = search_lambda(measure, original, max_drop, settings)
        chosen = best_lambda(evaluations, max_drop, start.forget_nll)
        metrics = None if chosen is None else measure(chosen.lambda_f, first_validation(context))
    return LambdaChoice(max_drop, evaluations, chosen, metrics)
