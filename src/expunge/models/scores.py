"""What a model says of a batch of answers: the only thing an objective or a metric ever sees of it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Scores of a batch of answers; everything but the first two is there only when asked for.

    Attributes:
        nll: (batch,), nats, summed over the answer's tokens (end of turn included, prompt never).
        tokens: (batch,), number of those tokens.
        logits: (labels, vocab), at the positions that predict the labelled tokens, rows one after the other.
        targets: (labels,), the labelled token ids.
        rows: (labels,), the row of the batch that each label belongs to.
        hidden: {block: (labels, hidden)}, outputs of the named blocks, after their edit, at the positions that predict the
            labelled tokens (the first of them is the last prompt token, where a gated edit acts).
        reference_nll, reference_logits, reference_hidden: the same from the model with this request's edit off.
        alternative_nll, alternative_reference_nll: (batch,), of the answer to be given instead (a refusal, say).
    """

    nll: Tensor
    tokens: Tensor
    logits: Tensor | None = None
    targets: Tensor | None = None
    rows: Tensor | None = None
    hidden: dict[int, Tensor] | None = None
    reference_nll: Tensor | None = None
    reference_logits: Tensor | None = None
    reference_hidden: dict[int, Tensor] | None = None
    alternative_nll: Tensor | None = None
    alternative_reference_nll: Tensor | None = None
