"""Logit lens (nostalgebraist, 2020): decode each block's hidden states, to see whether an answer is suppressed or erased."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from expunge.data.prompts import PromptBuilder, batches_by_length, collate
from expunge.data.records import Record
from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks, final_norm
from expunge.models.head import frozen_head, token_scores
from expunge.models.scoring import score

# A token's NLL in bf16 differs by this much between two ways to compute the logits.
TOLERANCE = 0.05

Row = dict[str, Any]


@torch.no_grad()
def lens_rows(
    model: nn.Module,
    builder: PromptBuilder,
    records: Sequence[Record],
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Row]:
    """Decode every block's output, after its edit, through the final norm and the output head.

    Compare each block with the same block of the original. If a middle block gives the answer the same likelihood and only the last
    blocks give it less, the answer is suppressed. If every block gives it less, the answer is erased, or stored in a form that the
    lens cannot decode. The lower blocks of any model may score worse than a uniform guess.

    Args:
        model: a causal LM in evaluation mode, with or without edits.
        builder: of its tokenizer.
        records: whose answers are scored.
        batch_size: records at once.
        advance: called with the number of records done.

    Returns:
        One row for each record, in the order of the records: `id`, and `nll` with one value for each block (nats, mean over the answer's
        tokens). The last value is that of the model itself.

    Raises:
        ExpungeError: the model's logits are not its head applied to its final norm, for example because they are scaled or capped.
    """
    depth, norm, head = len(decoder_blocks(model)[1]), final_norm(model), frozen_head(model)
    if head is None:
        raise ExpungeError(f"{type(model).__name__}: its logits are not its output head's; the logit lens does not support such models")
    encoded = [builder.record(record) for record in records]
    rows: list[Row] = [{} for _ in records]
    device = next(model.parameters()).device
    for chosen in batches_by_length([(*row.prompt, *row.answer) for row in encoded], batch_size):
        scores = score(model, collate([encoded[i] for i in chosen], builder.pad).to(device), hidden=range(depth))
        lengths, targets = scores.tokens.tolist(), torch.tensor([token for i in chosen for token in encoded[i].labels], device=device)
        by_block = [token_scores(norm(scores.hidden[block]), head, targets)[0] for block in range(depth)]
        if not torch.allclose(by_block[-1], scores.token_nll, rtol=TOLERANCE, atol=TOLERANCE):
            raise ExpungeError(
                f"{type(model).__name__}: its last block, norm and head do not give its logits; the logit lens does not support this model"
            )
        means = torch.stack([torch.stack([part.mean() for part in nll.split(lengths)]) for nll in by_block], dim=1)
        for i, nll in zip(chosen, means.tolist(), strict=True):
            rows[i] = {"id": records[i].id, "nll": nll}
        advance(len(chosen))
    return rows
