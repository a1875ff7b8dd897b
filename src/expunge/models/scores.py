"""`Scores`: the log-likelihoods of a batch of answers, the only view of a model that objectives and metrics get."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

# None at run time. The type checker sees no None, because an objective names the fields that it reads (`Objective.forget_fields`).
NOT_COMPUTED: Any = None


@dataclass(frozen=True)
class Scores:
    """Scores of a batch of answers; all fields but the first two are optional.

    "Labels" are the labelled tokens of the whole batch, one row after the other.

    Attributes:
        nll: (batch,), nats, summed over the answer's tokens (end of turn included, prompt excluded).
        tokens: (batch,), number of these tokens.
        token_nll: (labels,), nats of each token.
        greedy: (labels,) bool, whether the labelled token is the most likely one; not computed where gradients flow.
        logits: (labels, vocab), at the positions that predict the labelled tokens.
        targets: (labels,), the labelled token ids.
        rows: (labels,), the batch row of each label.
        hidden: {block: (labels, hidden)}, edited outputs of the chosen blocks at the positions that predict the labelled tokens
            (the first of them is the last prompt token, where a gated edit acts).
        reference_nll, reference_logits, reference_hidden: the same from the model with the edit of this request switched off.
        alternative_nll, alternative_tokens, alternative_reference_nll: (batch,), of the alternative answer (a refusal, for example).
        distinctive: (labels,) bool, the tokens that only the true answer contains, see `expunge.metrics.distinctive_tokens`.
    """

    nll: Tensor
    tokens: Tensor
    token_nll: Tensor = NOT_COMPUTED
    greedy: Tensor = NOT_COMPUTED
    logits: Tensor = NOT_COMPUTED
    targets: Tensor = NOT_COMPUTED
    rows: Tensor = NOT_COMPUTED
    hidden: dict[int, Tensor] = NOT_COMPUTED
    reference_nll: Tensor = NOT_COMPUTED
    reference_logits: Tensor = NOT_COMPUTED
    reference_hidden: dict[int, Tensor] = NOT_COMPUTED
    alternative_nll: Tensor = NOT_COMPUTED
    alternative_tokens: Tensor = NOT_COMPUTED
    alternative_reference_nll: Tensor = NOT_COMPUTED
    distinctive: Tensor = NOT_COMPUTED
