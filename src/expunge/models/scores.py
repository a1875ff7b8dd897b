"""What a model says of a batch of answers: the only thing an objective or a metric ever sees of it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

# None at run time; the types leave that out, since who reads a part has asked for it (`Objective.parts`).
NOT_ASKED: Any = None


@dataclass(frozen=True)
class Scores:
    """Scores of a batch of answers; everything but the first two is there only when asked for.

    Attributes:
        nll: (batch,), nats, summed over the answer's tokens (end of turn included, prompt never).
        tokens: (batch,), number of those tokens.
        token_nll: (labels,), nats of each of those tokens, rows one after the other.
        greedy: (labels,) bool, whether the most likely token is the labelled one.
        logits: (labels, vocab), at the positions that predict the labelled tokens, rows one after the other.
        targets: (labels,), the labelled token ids.
        rows: (labels,), the row of the batch that each label belongs to.
        hidden: {block: (labels, hidden)}, outputs of the named blocks, after their edit, at the positions that predict the
            labelled tokens (the first of them is the last prompt token, where a gated edit acts).
        reference_nll, reference_logits, reference_hidden: the same from the model with this request's edit off.
        alternative_nll, alternative_tokens, alternative_reference_nll: (batch,), of the answer to be given instead (a refusal, say).
        distinctive: (labels,) bool, which of the labelled tokens nothing but the true answer says, see `expunge.metrics.distinctive_tokens`.
    """

    nll: Tensor
    tokens: Tensor
    token_nll: Tensor = NOT_ASKED
    greedy: Tensor = NOT_ASKED
    logits: Tensor = NOT_ASKED
    targets: Tensor = NOT_ASKED
    rows: Tensor = NOT_ASKED
    hidden: dict[int, Tensor] = NOT_ASKED
    reference_nll: Tensor = NOT_ASKED
    reference_logits: Tensor = NOT_ASKED
    reference_hidden: dict[int, Tensor] = NOT_ASKED
    alternative_nll: Tensor = NOT_ASKED
    alternative_tokens: Tensor = NOT_ASKED
    alternative_reference_nll: Tensor = NOT_ASKED
    distinctive: Tensor = NOT_ASKED
