"""What every objective has: a forget term, a retain term, their weights, and the scores that each term reads."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from expunge.models.scores import Scores
from expunge.objectives.retain import RETAIN_FIELDS, RETAIN_TERMS

# Reading a recipe checks these bounds.
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Objective(ABC):
    """A loss: forget_weight * forget + retain_weight * retain.

    Attributes:
        forget_weight: gamma.
        retain_weight: alpha; with 0 the retain set is not scored at all.
        retain_loss: `nll` (cross-entropy of the retain answers) or `kl` (divergence from the reference model on them).
        forget_fields: the `Scores` fields that `forget` reads besides nll and tokens.
        answer: the text that `forget` scores: the record's true `answer`, or an `alternative` answer.
        uses_record_alternatives: whether the alternative is taken from the record if it has some; otherwise it is a refusal.
        generates_alternatives: whether the model generates alternatives for records without any, see `expunge.training.alternatives`.
    """

    forget_weight: Weight = 1.0
    retain_weight: Weight = 1.0
    retain_loss: Literal["nll", "kl"] = "nll"

    forget_fields: ClassVar[tuple[str, ...]] = ()
    answer: ClassVar[Literal["answer", "alternative"]] = "answer"
    uses_record_alternatives: ClassVar[bool] = False
    generates_alternatives: ClassVar[bool] = False

    @abstractmethod
    def forget(self, scores: Scores) -> Tensor:
        """Return the mean forget loss of a batch, a scalar."""

    def retain(self, scores: Scores) -> Tensor:
        """Return the mean retain loss of a batch, a scalar."""
        return RETAIN_TERMS[self.retain_loss](scores)

    @property
    def retain_fields(self) -> tuple[str, ...]:
        """The `Scores` fields that `retain` reads besides nll and tokens."""
        return RETAIN_FIELDS[self.retain_loss]

    @property
    def hidden_block(self) -> int | None:
        """The block whose hidden states an objective reads, if it reads any; None means the blocks that the edit acts on."""
        return None
