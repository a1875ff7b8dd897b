"""The one seam between a model and everything that judges it: the summed NLL and token count of each answer."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from expunge.data.prompts import Batch
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import batch_context
from expunge.models.head import frozen_head, head_inputs, token_scores
from expunge.models.prefix import Prefix, entered, from_last_prompt_token
from expunge.models.scores import NOT_COMPUTED, Scores


def score(model: nn.Module, batch: Batch, *, logits: bool = False, hidden: Iterable[int] = (), prefix: Prefix | None = None) -> Scores:
    """Score a batch of answers in one forward pass; gradients flow unless the caller turned them off.

    The output head runs over the answer's positions only: prompts end at one index in every row, so these are a slice. Where it is
    frozen and no logits are wanted, it runs over the labelled ones alone, in chunks that keep no logits.

    Args:
        model: a causal LM, with or without PEFT edits, also wrapped for distributed training.
        batch: rows with prompts padded on the left and answers on the right.
        logits: also return logits, targets and rows at the labelled positions.
        hidden: 0-based blocks whose outputs are wanted at the positions that predict the labels; with a prefix not below its block.
        prefix: of this batch, to run only the blocks above it over the last prompt token and the answers; the scores are the same.

    Returns:
        `Scores`, NLL in nats and in fp32.
    """
    inner = unwrap(model)
    run = batch if prefix is None else from_last_prompt_token(batch)
    start, stop = run.prompt_length - 1, run.input_ids.shape[1] - 1
    labelled = run.labelled
    kept: dict[int, Tensor] = {}

    def keep(block: int):
        def hook(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
            states = output[0] if isinstance(output, tuple) else output
            kept[block] = states[:, start:stop][labelled]

        return hook

    # PromptCache before the blocks are entered: the answer may take a forward pass of its own.
    head = None if logits else frozen_head(inner)
    with ExitStack() as stack:
        if hidden := tuple(hidden):
            _, blocks = decoder_blocks(inner)
            for block in hidden:
                handle = blocks[block].register_forward_hook(keep(block))
                stack.callback(handle.remove)
        past: dict[str, object] = {"use_cache": False}
        if prefix is not None:
            stack.enter_context(entered(inner, prefix))
            past = {"use_cache": True, "past_key_values": prefix.cache()}
        states = stack.enter_context(head_inputs(inner, head)) if head else []
        stack.enter_context(batch_context(run, {} if prefix is None else prefix.gates))
        output = model(
            input_ids=run.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids[:, batch.prompt_length - run.prompt_length :],
            logits_to_keep=torch.arange(start, stop, device=run.input_ids.device),
            **past,
        )
    targets = run.input_ids[:, run.prompt_length :][labelled]
    scores = answer_scores(states[0][labelled] if head else output.logits[labelled], head, targets, labelled)
    if not logits:
        scores = replace(scores, logits=NOT_COMPUTED, targets=NOT_COMPUTED, rows=NOT_COMPUTED)
    return replace(scores, hidden=kept or NOT_COMPUTED)


def answer_scores(last: Tensor, head: nn.Linear | None, targets: Tensor, labelled: Tensor) -> Scores:
    """Scores of answers from the end of a forward pass.

    Args:
        last: (labels, hidden), what the head would read at the positions that predict the labelled tokens; without a head
            (labels, vocab), their logits.
        head: frozen, see `expunge.models.head.frozen_head`.
        targets: (labels,), the labelled token ids.
        labelled: (batch, answer_length) bool, where the labels are.
    """
    rows = labelled.nonzero()[:, 0]
    if head is not None:
        nll, greedy = token_scores(last, head, targets)
        return Scores(_by_row(nll, rows, labelled), labelled.sum(-1), nll, greedy)
    nll = cross_entropy(last.to(torch.promote_types(last.dtype, torch.float32)), targets, reduction="none")
    greedy = last.argmax(-1) == targets
    return Scores(_by_row(nll, rows, labelled), labelled.sum(-1), nll, greedy, logits=last, targets=targets, rows=rows)


def _by_row(nll: Tensor, rows: Tensor, labelled: Tensor) -> Tensor:
    return nll.new_zeros(len(labelled)).index_add(0, rows, nll)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a distributed wrapper."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
