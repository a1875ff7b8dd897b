"""Score answers: `score` returns the NLL of each answer in a batch; objectives and metrics see a model only through it."""

import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from expunge.data.prompts import Batch, Encoded, batches_by_length, collate
from expunge.models.blocks import check_length, context_length, decoder_blocks
from expunge.models.forward_context import NO_GATE_LOGITS, batch_context
from expunge.models.head import frozen_head, head_inputs, token_scores
from expunge.models.prefix import Start
from expunge.models.scores import NOT_COMPUTED, Scores


def score(model: nn.Module, batch: Batch, *, logits: bool = False, hidden: Iterable[int] = (), prefix: Start | None = None) -> Scores:
    """Score a batch of answers in one forward pass; gradients flow unless the caller turned them off.

    The output head runs over the positions of the answers only, which are a slice because all prompts end at the same index. A frozen
    head runs over the labelled positions only, in chunks that store no logits, unless the caller needs the logits.

    Args:
        model: a causal LM, with or without PEFT edits, also wrapped for distributed training.
        batch: prompts padded on the left and answers padded on the right.
        logits: also return logits, targets and rows at the labelled positions.
        hidden: 0-based blocks whose outputs to return at the positions that predict the labels; with a prefix, blocks that run.
        prefix: of this batch; the forward pass then starts from it. The scores are the same.

    Returns:
        `Scores`, NLL in nats and in fp32.

    Raises:
        InputError: a prompt with its answer is longer than the model's context.
    """
    inner = unwrap(model)
    if batch.input_ids.shape[1] > (context_length(inner) or sys.maxsize):
        # Padding does not count: prompts are padded on the left, and answers on the right.
        check_length(inner, int(batch.attention_mask.sum(-1).max()))
    run = batch if prefix is None else prefix.rest(batch)
    start, stop = run.prompt_length - 1, run.input_ids.shape[1] - 1
    labelled = run.labelled
    states: dict[int, Tensor] = {}

    def store(block: int):
        def hook(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
            output = output[0] if isinstance(output, tuple) else output
            states[block] = output[:, start:stop][labelled]

        return hook

    # This comes before the hooks, because `frozen_head` may run a forward pass to find out.
    head = None if logits else frozen_head(inner)
    with ExitStack() as stack:
        if hidden := tuple(hidden):
            _, blocks = decoder_blocks(inner)
            for block in hidden:
                handle = blocks[block].register_forward_hook(store(block))
                stack.callback(handle.remove)
        if prefix is not None:
            stack.enter_context(prefix.applied(inner))
        past = {"use_cache": False} if prefix is None else prefix.options()
        inputs = stack.enter_context(head_inputs(inner, head)) if head else []
        stack.enter_context(batch_context(run, NO_GATE_LOGITS if prefix is None else prefix.gate_logits))
        output = model(
            input_ids=run.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids[:, batch.prompt_length - run.prompt_length :],
            logits_to_keep=torch.arange(start, stop, device=run.input_ids.device),
            **past,
        )
    targets = run.input_ids[:, run.prompt_length :][labelled]
    scores = answer_scores(inputs[0][labelled] if head else output.logits[labelled], head, targets, labelled)
    if not logits:
        scores = replace(scores, logits=NOT_COMPUTED, targets=NOT_COMPUTED, rows=NOT_COMPUTED)
    return replace(scores, hidden=states or NOT_COMPUTED)


def answer_scores(outputs: Tensor, head: nn.Linear | None, targets: Tensor, labelled: Tensor) -> Scores:
    """Score answers from the end of a forward pass.

    Args:
        outputs: at the positions that predict the labelled tokens: (labels, hidden), the inputs of a frozen head, or without a head
            (labels, vocab), the logits.
        head: frozen, see `expunge.models.head.frozen_head`.
        targets: (labels,), the labelled token ids.
        labelled: (batch, answer_length) bool, where the labels are.
    """
    rows = labelled.nonzero()[:, 0]
    if head is not None:
        nll, greedy = token_scores(outputs, head, targets)
        return Scores(_sum_by_row(nll, rows, labelled), labelled.sum(-1), nll, NOT_COMPUTED if greedy is None else greedy)
    nll = cross_entropy(outputs.to(torch.promote_types(outputs.dtype, torch.float32)), targets, reduction="none")
    greedy = outputs.argmax(-1) == targets
    return Scores(_sum_by_row(nll, rows, labelled), labelled.sum(-1), nll, greedy, logits=outputs, targets=targets, rows=rows)


def _sum_by_row(nll: Tensor, rows: Tensor, labelled: Tensor) -> Tensor:
    return nll.new_zeros(len(labelled)).index_add(0, rows, nll)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside a distributed wrapper, or the model itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def nll_in_batches(score_batch: Callable[[Batch], Scores], rows: list[Encoded], pad: int, batch_size: int) -> Tensor:
    """Return the summed NLL of every row, (rows,), in nats, scored in batches of similar length."""
    nll = torch.zeros(len(rows))
    for chosen in batches_by_length([(*row.prompt, *row.answer) for row in rows], batch_size):
        nll[chosen] = score_batch(collate([rows[i] for i in chosen], pad)).nll.float().cpu()
    return nll
