"""Objectives that give another answer: a refusal (IDK), others of its own, or one that is preferred (DPO)."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from expunge.models.scores import Scores
from expunge.objectives.base import Objective, Positive, Weight
from expunge.objectives.retain import answer_nll


@dataclass(frozen=True)
class IDK(Objective):
    """Learn to answer forget prompts with a refusal; each record's is drawn anew every epoch (Maini et al., 2024, arXiv 2401.06121)."""

    answer = "alternative"

    def forget(self, scores: Scores) -> Tensor:
        """Mean of nll/|y| of the refusals. `scores.nll`, `scores.tokens`: (batch,), of the refusal."""
        return answer_nll(scores)


@dataclass(frozen=True)
class Alternatives(Objective):
    """Answer as about somebody unknown: with an alternative of the record's or the model's own; what only the truth says becomes unlikely.

    Alternatives that the model makes are those of AltPO (Mekala et al., 2024, arXiv 2409.13474). In place of its unbounded preference
    the true answer's distinctive tokens are pushed up to an NLL of `target_nll` and no further, so that it cannot overshoot.

    Attributes:
        push_weight: weight of the second term.
        target_nll: nats of each distinctive token at which the push stops.
    """

    push_weight: Weight = 1.0
    target_nll: Positive = 3.0
    own_alternatives = True
    invents = True
    parts = ("alternative_nll", "distinctive")

    def forget(self, scores: Scores) -> Tensor:
        """Return mean(nll/|y|) of the alternatives + push_weight * mean(max(0, target_nll - nll)) of the true answer's distinctive tokens.

        `scores.distinctive`: (labels,) bool.
        """
        short = relu(self.target_nll - scores.token_nll[scores.distinctive])
        # A micro-batch may have no distinctive token.
        return (scores.alternative_nll / scores.alternative_tokens).mean() + self.push_weight * short.sum() / max(1, len(short))


@dataclass(frozen=True)
class DPO(Objective):
    """Prefer the alternative (the record's own, else a refusal) to the true answer (Rafailov et al., 2023, arXiv 2305.18290)."""

    beta: Positive = 0.1
    own_alternatives = True
    parts = ("reference_nll", "alternative_nll", "alternative_reference_nll")

    def forget(self, scores: Scores) -> Tensor:
        """Mean loss of a batch; all nll: (batch,), nats summed over the tokens of the true and the alternative answer."""
        alternative = scores.alternative_reference_nll - scores.alternative_nll
        true = scores.reference_nll - scores.nll
        return -(2 / self.beta) * logsigmoid(self.beta * (alternative - true)).mean()
