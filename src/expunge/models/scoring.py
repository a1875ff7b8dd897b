"""The one seam between a model and everything that judges it: the summed NLL and token count of each answer."""

from collections.abc import Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from expunge.data.prompts import Batch
from expunge.models.blocks import decoder_blocks
from expunge.models.scores import Scores
from expunge.models.span import prompt_span


def score(model: nn.Module, batch: Batch, *, logits: bool = False, hidden: Iterable[int] = ()) -> Scores:
    """Score a batch of answers in one forward pass; gradients flow unless the caller turned them off.

    The output head runs over the answer's positions only: prompts end at one index in every row, so these are a slice.

    Args:
        model: a causal LM, with or without PEFT edits, also wrapped for distributed training.
        batch: rows with prompts padded on the left and answers on the right.
        logits: also return logits, targets and rows at the labelled positions.
        hidden: 0-based blocks whose outputs are wanted at the positions that predict the labels.

    Returns:
        `Scores`, NLL in nats and in fp32.
    """
    inner = unwrap(model)
    start, stop = batch.prompt_length - 1, batch.input_ids.shape[1] - 1
    labelled = batch.labelled
    kept: dict[int, Tensor] = {}

    def keep(block: int):
        def hook(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
            states = output[0] if isinstance(output, tuple) else output
            kept[block] = states[:, start:stop][labelled]

        return hook

    with ExitStack() as stack:
        if hidden := tuple(hidden):
            _, blocks = decoder_blocks(inner)
            for block in hidden:
                handle = blocks[block].register_forward_hook(keep(block))
                stack.callback(handle.remove)
        stack.enter_context(prompt_span(batch))
        output = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=torch.arange(start, stop, device=batch.input_ids.device),
        )
    predicted = output.logits[labelled]
    targets = batch.input_ids[:, batch.prompt_length :][labelled]
    rows = labelled.nonzero()[:, 0]
    loss = cross_entropy(predicted.to(torch.promote_types(predicted.dtype, torch.float32)), targets, reduction="none")
    return Scores(
        nll=loss.new_zeros(len(labelled)).index_add(0, rows, loss),
        tokens=labelled.sum(-1),
        logits=predicted if logits else None,
        targets=targets if logits else None,
        rows=rows if logits else None,
        hidden=kept or None,
    )


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a distributed wrapper."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
