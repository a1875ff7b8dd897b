"""What every objective is: a forget term, a retain term, their weights, and which scores it needs for them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from expunge.models.scores import Scores
from expunge.objectives.retain import RETAIN_PARTS, RETAIN_TERMS

# Checked where a recipe is read.
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Objective(ABC):
    """Total loss = forget_weight * forget + retain_weight * retain (spec: gamma, alpha).

    Attributes:
        forget_weight: gamma.
        retain_weight: alpha; with 0 the retain set is not even scored.
        retain_loss: `nll` (cross-entropy of the retain answers) or `kl` (stay close to the reference on them).
        parts: the names of the `Scores` fields that `forget` reads besides nll and tokens.
        answer: which text of a forget record `forget` scores: its own `answer` or the `alternative` (a refusal).
        own_alternatives: whether that is one of the record's own alternatives where it has some; else it is a refusal.
        invents: whether the model makes the alternatives that a record lacks, see `expunge.training.alternatives`.
    """

    forget_weight: Weight = 1.0
    retain_weight: Weight = 1.0
    retain_loss: Literal["nll", "kl"] = "nll"

    parts: ClassVar[tuple[str, ...]] = ()
    answer: ClassVar[Literal["answer", "alternative"]] = "answer"
    own_alternatives: ClassVar[bool] = False
    invents: ClassVar[bool] = False

    @abstractmethod
    def forget(self, scores: Scores) -> Tensor:
        """Mean forget loss of a batch, a scalar."""

    def retain(self, scores: Scores) -> Tensor:
        """Mean retain loss of a batch, a scalar."""
        return RETAIN_TERMS[self.retain_loss](scores)

    @property
    def retain_parts(self) -> tuple[str, ...]:
        """The names of the `Scores` fields that `retain` reads besides nll and tokens."""
        return RETAIN_PARTS[self.retain_loss]
