"""Objectives that train another answer: a refusal (IDK), a made-up answer (alternatives), or a preference (DPO)."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from expunge.models.scores import Scores
from expunge.objectives.base import Objective, Positive, Weight
from expunge.objectives.retain import answer_nll


@dataclass(frozen=True)
class IDK(Objective):
    """Answer forget prompts with a refusal, drawn anew for each record and epoch (Maini et al., 2024, arXiv 2401.06121)."""

    answer = "alternative"

    def forget(self, scores: Scores) -> Tensor:
        """Return the NLL per token of each refusal, nll/|y|, averaged over the batch. `scores.nll`, `scores.tokens`: (batch,)."""
        return answer_nll(scores)


@dataclass(frozen=True)
class Alternatives(Objective):
    """Answer with a plausible wrong alternative, and make the tokens that only the true answer contains unlikely.

    Where a record has no alternatives, the model generates them, as in AltPO (Mekala et al., 2024, arXiv 2409.13474). Instead of
    AltPO's unbounded preference, the NLL of the true answer's distinctive tokens is pushed up to `target_nll` and no further, so
    that training cannot overshoot.

    Attributes:
        push_weight: weight of the second term.
        target_nll: nats of each distinctive token at which the push stops.
    """

    push_weight: Weight = 1.0
    target_nll: Positive = 3.0
    uses_record_alternatives = True
    generates_alternatives = True
    forget_fields = ("alternative_nll", "distinctive")

    def forget(self, scores: Scores) -> Tensor:
        """Return mean(nll/|y|) of the alternatives + push_weight * mean(max(0, target_nll - nll)) of the true answer's distinctive tokens.

        `scores.distinctive`: (labels,) bool.
        """
        short = relu(self.target_nll - scores.token_nll[scores.distinctive])
        # A micro-batch may have no distinctive token.
        return (scores.alternative_nll / scores.alternative_tokens).mean() + self.push_weight * short.sum() / max(1, len(short))


@dataclass(frozen=True)
class DPO(Objective):
    """Prefer an alternative answer (the record's, or else a refusal) to the true answer (Rafailov et al., 2023, arXiv 2305.18290)."""

    beta: Positive = 0.1
    uses_record_alternatives = True
    forget_fields = ("reference_nll", "alternative_nll", "alternative_reference_nll")

    def forget(self, scores: Scores) -> Tensor:
        """Return the mean loss of a batch. All nll: (batch,), nats summed over the tokens of the true or the alternative answer."""
        alternative = scores.alternative_reference_nll - scores.alternative_nll
        true = scores.reference_nll - scores.nll
        return -(2 / self.beta) * logsigmoid(self.beta * (alternative - true)).mean()
