"""Generate answers to many prompts, by greedy decoding or sampling, in batches of similar length."""

import sys
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from expunge.data.prompts import PromptBuilder, decoding_batches
from expunge.data.reasoning import Answer
from expunge.models.blocks import context_length
from expunge.models.continuation import NOTHING, Avoided, Continuation
from expunge.models.forward_context import GateLogits, is_memory, rows_of_gates
from expunge.models.kv_cache import select_rows
from expunge.models.process_memory import return_free_memory
from expunge.models.prompt_cache import PromptCache, forward_continuation, read_prompts, reopen_prompts

MOST_IN_NUCLEUS = 4096
"""So many tokens are sorted first; where a nucleus has more, the whole vocabulary is."""
PROMPT_END = 24
"""So many tokens at the end of a prompt show whether it begins the model's reasoning."""
NO_ANSWER = Answer("")
TAKEN_BACK = (
    "An answer in which the gate opens was taken back, and generated again from its first token with the edit on. A program that serves "
    "the model in another way, such as `generate` of transformers, shows the words before the gate opened."
)
"""What a report and an attestation say of a run whose gate reads answers."""

Sampler = Callable[[Tensor], Tensor]
"""Choose the next tokens: logits (rows, vocab) -> token ids (rows,)."""


def greedy(logits: Tensor) -> Tensor:
    """Return the most likely tokens."""
    return logits.argmax(-1)


def nucleus_sampler(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> Sampler:
    """Return a sampler of the nucleus, the fewest tokens with a total probability of `top_p` (Holtzman et al., 2020, arXiv 1904.09751)."""
    generator = torch.Generator().manual_seed(seed)

    def from_vocabulary(logits: Tensor) -> Tensor:
        # Inverse transform sampling: to sort the vocabulary would take longer than the model's forward pass.
        # Moved before it is widened: GPUs of Apple have no float64.
        cumulative = (logits.cpu().double() / temperature).softmax(-1).cumsum(-1)
        drawn = torch.rand((len(cumulative), 1), generator=generator, dtype=cumulative.dtype) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, drawn, right=True)[:, 0].clamp(max=cumulative.shape[-1] - 1).to(logits.device)

    def from_nucleus(logits: Tensor) -> Tensor:
        probability = (logits.float().cpu() / temperature).softmax(-1)
        # To sort the whole vocabulary takes longer than a step of a small model, and its end is hardly ever in the nucleus.
        highest, tokens = probability.topk(min(MOST_IN_NUCLEUS, probability.shape[-1]))
        cumulative = highest.cumsum(-1)
        if (cumulative[:, -1] < top_p).any():
            highest, tokens = probability.sort(descending=True)
            cumulative = highest.cumsum(-1)
        highest[cumulative - highest >= top_p] = 0.0
        # As `torch.multinomial` draws: the largest ratio of a probability and exponential noise. The noise is drawn for all tokens, so that
        # a seed gives the same answers however many of them are sorted.
        noise = torch.empty_like(probability).exponential_(generator=generator)[:, : highest.shape[-1]]
        return tokens.gather(-1, (highest / noise).argmax(-1, keepdim=True))[:, 0].to(logits.device)

    return from_vocabulary if top_p == 1.0 else from_nucleus


def generate(
    model: nn.Module,
    builder: PromptBuilder,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda prompts: None,
    sampler: Sampler = greedy,
    avoid: Sequence[Avoided] = (),
) -> list[str]:
    """Return the text of the answer to each prompt, without the reasoning before it; see `generate_answers`."""
    return [answer.text for answer in generate_answers(model, builder, prompts, max_new_tokens, batch_size, advance, sampler, avoid)]


def generate_answers(
    model: nn.Module,
    builder: PromptBuilder,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda prompts: None,
    sampler: Sampler = greedy,
    avoid: Sequence[Avoided] = (),
) -> list[Answer]:
    """Return the model's answer to each prompt, up to its end of turn or the end of the model's context.

    Args:
        model: a causal LM with or without edits.
        builder: of its tokenizer.
        prompts: token ids of each prompt.
        max_new_tokens: maximum length of an answer, without the reasoning before it, which has its own limit
            (`PromptBuilder.max_thinking_tokens`).
        batch_size: maximum number of prompts in a batch; batches are formed by length and padded on the left.
        advance: called with the number of prompts finished.
        sampler: chooses the next tokens.
        avoid: for each prompt what its answer must not have; none: nothing is avoided.

    Returns:
        Texts in the order of the prompts, without special tokens.
    """
    answers = [NO_ANSWER] * len(prompts)
    for chosen in decoding_batches(prompts, batch_size, max_new_tokens):
        cached = read_prompts(model, [prompts[i] for i in chosen], builder.pad)
        avoided = [avoid[i] for i in chosen] if avoid else ()
        for i, answer in zip(chosen, decode_answers(model, builder, cached, max_new_tokens, sampler, avoided), strict=True):
            answers[i] = answer
        # Each token makes the KV cache a little larger, so that the heap is full of gaps by now.
        del cached
        return_free_memory()
        advance(len(chosen))
    return answers


@torch.no_grad()
def decode_answers(
    model: nn.Module,
    builder: PromptBuilder,
    prompts: PromptCache,
    max_new_tokens: int,
    sampler: Sampler = greedy,
    avoid: Sequence[Avoided] = (),
) -> list[Answer]:
    """Decode an answer to each cached prompt, token by token; finished rows leave the batch. See `generate_answers`.

    If an answer opens a gate that reads answers, it is taken back: it begins anew at its first token, with the gate open.
    """
    ends_of_prompts = prompts.batch.input_ids[:, -PROMPT_END:].tolist()
    avoided = avoid or [NOTHING] * len(ends_of_prompts)
    written = [Continuation(builder, ids, max_new_tokens, of_row) for ids, of_row in zip(ends_of_prompts, avoided, strict=True)]
    cache, mask, position = prompts.kv_cache(), prompts.batch.attention_mask, prompts.batch.position_ids[:, -1:]
    rows, last, gate_logits = torch.arange(len(written), device=mask.device), prompts.last, prompts.gate_logits
    ends, opened, taken_back = answer_ends(model, builder), rows < 0, list[tuple[Tensor, GateLogits]]()
    while len(rows):
        if opened.any():
            taken_back.append((rows[opened], rows_of_gates(gate_logits, opened)))
        logits = prompts.logits(last[:, -1])
        if avoid:
            for place, row in enumerate(rows.tolist()):
                logits[place, written[row].to_avoid()] = float("-inf")
        tokens = sampler(logits)
        going_on = []
        # One position stays free for the end of turn, in case a record is made of this answer.
        may_go_on = ((position[:, 0] + 4 <= (context_length(model) or sys.maxsize)) & ~opened).tolist()
        for place, (row, token) in enumerate(zip(rows.tolist(), tokens.tolist(), strict=True)):
            if written[row].goes_on_after(token, ends) and may_go_on[place]:
                going_on.append(place)
        unfinished = torch.tensor(going_on, dtype=torch.long, device=rows.device)
        rows = rows[unfinished]
        if not len(rows):
            break
        if len(unfinished) < len(tokens):
            select_rows(cache, unfinished)
            gate_logits = rows_of_gates(gate_logits, unfinished)
        mask = torch.cat((mask[unfinished], mask.new_ones(len(unfinished), 1)), dim=1)
        position = position[unfinished] + 1
        before = gate_logits
        last, gate_logits = forward_continuation(model, prompts.head, before, cache, tokens[unfinished, None], mask, position)
        opened = _raised(before, gate_logits, rows)
    answers = [row.answer() for row in written]
    if taken_back:
        again = torch.cat([of_step for of_step, _ in taken_back])
        gates = {gate: torch.cat([logits[gate] for _, logits in taken_back]) for gate in gate_logits}
        avoided = [avoid[row] for row in again.tolist()] if avoid else []
        anew = decode_answers(model, builder, reopen_prompts(model, prompts, again, gates), max_new_tokens, sampler, avoided)
        for row, answer in zip(again.tolist(), anew, strict=True):
            answers[row] = answer
    return answers


def _raised(before: GateLogits, after: GateLogits, rows: Tensor) -> Tensor:
    """Return whether some gate's logit rose in each of the rows, bool; only an answer that opens a gate raises one."""
    raised = torch.zeros_like(rows, dtype=torch.bool)
    for gate, logits in after.items():
        if not is_memory(gate) and logits is not before[gate]:
            raised |= (logits > before[gate]).to(rows.device)
    return raised


def answer_ends(model: nn.Module, builder: PromptBuilder) -> frozenset[int]:
    """Return every token that ends an answer: the template's end of turn, and those of tokenizer and generation defaults."""
    defaults = cast(PreTrainedModel, model).generation_config
    listed = None if defaults is None else defaults.eos_token_id
    several = [] if listed is None else [listed] if isinstance(listed, int) else listed
    return frozenset({builder.end_of_turn, builder.tokenizer.eos_token_id, *several})


def as_text(builder: PromptBuilder, ids: Sequence[int]) -> str:
    """Decode the token ids of an answer, without special tokens."""
    return cast(str, builder.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
