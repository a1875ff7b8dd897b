"""What the edited blocks of a model share during a forward pass: the positions of the prompts, and the gate logits."""

import inspect
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch
from expunge.errors import ExpungeError
from expunge.models.forward_context import continuation_gate_logits, current_batch, known_gate_logits
from expunge.models.kv_cache import CACHE_NAMES, is_filled


@dataclass(frozen=True)
class Prompts:
    """The positions of the prompts of a batch.

    Attributes:
        tokens: (batch, seq) bool, the real prompt tokens.
        real: (batch, seq) bool, all real tokens.
        last: (batch,), index of each row's last prompt token.
        min_last, max_last: the smallest and the largest of `last`, stored on the host to save a device synchronisation.
    """

    tokens: Tensor
    real: Tensor
    last: Tensor
    min_last: int
    max_last: int

    @classmethod
    def from_batch(cls, batch: Batch) -> "Prompts":
        """Return the prompt positions of a batch of [prompt | answer] rows."""
        index = batch.prompt_length - 1
        last = torch.full((len(batch.input_ids),), index, device=batch.input_ids.device)
        return cls(batch.prompt_mask, batch.attention_mask.bool(), last, index, index)

    @classmethod
    def from_mask(cls, real: Tensor) -> "Prompts":
        """Return the positions of rows that contain only a prompt, padded on either side. `real`: (batch, seq) bool."""
        last = (real * torch.arange(real.shape[1], device=real.device)).amax(-1)
        min_last, max_last = torch.stack(last.aminmax()).tolist()
        return cls(real, real, last, min_last, max_last)


@dataclass(frozen=True)
class Window:
    """The slice `start:stop` of the sequence and, within it, the tokens to edit: `mask`, (batch, stop - start) bool."""

    start: int
    stop: int
    mask: Tensor


@dataclass
class PromptState:
    """The prompts and the gate logits of the current forward pass, shared by the edited blocks of one model.

    Attributes:
        prompts: of the current forward pass; None while an answer is generated token by token.
        logits: {(adapter, block): (batch,)}, the gate logits, with gradient; valid until the next prompt.
        new_tokens: (batch, seq) bool, the real tokens of a pass that continues answers; None: all of them.
        partial: {adapter: [((batch,), (batch, seq))]}, logits and token scores of the blocks that a pooled gate has read so far.
        answer_scores: {adapter: (batch, seq)}, the scores of all tokens by a part that reads answers; the sum over the blocks that have
            been read, if the gate reads on.
        answer_open: {adapter: (batch, seq) bool}, the tokens of answers from which on the gate is open, whatever the prompt was.
        fired: {adapter: (batch, seq) bool}, the prompt tokens at which a pooled gate fires.
    """

    prompts: Prompts | None = None
    logits: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    new_tokens: Tensor | None = None
    partial: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    answer_scores: dict[str, Tensor] = field(default_factory=dict)
    answer_open: dict[str, Tensor] = field(default_factory=dict)
    fired: dict[str, Tensor] = field(default_factory=dict)

    def __reduce__(self) -> tuple:
        """Copy and pickle an empty state: tensors with a gradient graph can be neither copied nor pickled."""
        return PromptState, ()

    def observe(self, decoder: nn.Module, args: tuple, kwargs: dict) -> None:
        """Find the prompts of a forward pass; a pre-hook of the decoder, or of a module around it that gets the attention mask first.

        Inside `batch_context` the pass is over the context's batch. Otherwise a pass without a KV cache is over prompts, and a pass
        with one continues the answers.

        Raises:
            ExpungeError: if the arguments do not determine the prompt.
        """
        self.answer_open.clear()
        self.new_tokens = None
        if (batch := current_batch()) is not None:
            self.logits = dict(known_gate_logits())
            self.prompts = Prompts.from_batch(batch)
            return
        arguments = inspect.signature(decoder.forward).bind_partial(*args, **kwargs).arguments
        ids, mask = arguments.get("input_ids"), arguments.get("attention_mask")
        tokens = arguments["inputs_embeds"] if ids is None else ids
        if (gates := continuation_gate_logits()) is not None:
            self.logits = dict(gates)
            self.prompts = None
            if isinstance(mask, Tensor) and mask.ndim == 2:
                self.new_tokens = mask[:, -tokens.shape[1] :].bool()
            return
        if any(is_filled(arguments[name]) for name in CACHE_NAMES if arguments.get(name) is not None):
            if tokens.shape[1] > 1:
                raise ExpungeError(
                    "several tokens after a filled KV cache may be prompt or answer: run the whole prompt in one pass without a cache"
                )
            self.prompts = None
            return
        self.logits.clear()
        if mask is None:
            mask = torch.ones(tokens.shape[:2], device=tokens.device)
        if not isinstance(mask, Tensor) or mask.ndim != 2:
            raise ExpungeError("the prompt cannot be read from this attention mask: give one of shape (batch, seq) and a dynamic cache")
        self.prompts = Prompts.from_mask(mask.bool())

    def reached(self, scores: Tensor) -> Tensor:
        """Return the largest score of the answer's tokens up to each token, minus infinity before the first: (batch, seq)."""
        return scores.masked_fill(~self.answer(scores), -torch.inf).cummax(-1).values

    def answer(self, tokens: Tensor) -> Tensor:
        """Return which tokens of this pass belong to an answer: (batch, seq) bool, for a tensor of that shape (or with more dimensions)."""
        shape = tokens.shape[:2]
        if self.prompts is None:
            answer = torch.ones(shape, dtype=torch.bool) if self.new_tokens is None else self.new_tokens
        else:
            index = torch.arange(shape[1], device=self.prompts.last.device)
            answer = (index > self.prompts.last[:, None]) & self.prompts.real
        return answer.to(tokens.device)

    def window(self, positions: str, adapter: str, hidden: Tensor) -> Window | None:
        """Return where an adapter edits `hidden`, (batch, seq, hidden); None means nowhere.

        Raises:
            ExpungeError: if the sequence is not the one that contains the prompts.
        """
        batch, seq, _ = hidden.shape
        if self.prompts is None:
            onward = torch.ones(batch, seq, dtype=torch.bool, device=hidden.device)
            return Window(0, seq, onward) if positions in ("onward", "every_token") else None
        prompts = self.prompts
        if prompts.tokens.shape != (batch, seq):
            raise ExpungeError(f"hidden states of shape {(batch, seq)} (batch, seq) do not fit prompts of {tuple(prompts.tokens.shape)}")
        index, last = torch.arange(seq, device=prompts.last.device), prompts.last[:, None]
        start, stop = 0, prompts.max_last + 1
        match positions.split(":"):
            case ["last_prompt"]:
                start, mask = prompts.min_last, index == last
            case ["onward"]:
                start, stop, mask = prompts.min_last, seq, (index >= last) & prompts.real
            case ["every_token"]:
                stop, mask = seq, prompts.real
            case ["fired"]:
                mask = self.fired[adapter].to(prompts.last.device)
            case ["prompt_suffix", count]:
                start, mask = max(0, prompts.min_last + 1 - int(count)), (index > last - int(count)) & prompts.tokens
            case _:
                mask = prompts.tokens
        return Window(start, stop, mask[:, start:stop].to(hidden.device))
