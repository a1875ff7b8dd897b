"""What the edited blocks of one model share during a forward: where the prompts lie and what the gates said."""

import inspect
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch
from expunge.errors import ExpungeError
from expunge.models.forward_context import continuation_gate_logits, current_batch, known_gate_logits


@dataclass(frozen=True)
class Prompts:
    """Where the prompts of a batch lie.

    Attributes:
        tokens: (batch, seq) bool, the real prompt tokens.
        real: (batch, seq) bool, all real tokens.
        last: (batch,), index of each row's last prompt token.
        first_last: the smallest of `last`, known without asking the device; `last_last`: the largest.
    """

    tokens: Tensor
    real: Tensor
    last: Tensor
    first_last: int
    last_last: int

    @classmethod
    def of_batch(cls, batch: Batch) -> "Prompts":
        """The prompts of a batch of [prompt | answer] rows."""
        index = batch.prompt_length - 1
        last = torch.full((len(batch.input_ids),), index, device=batch.input_ids.device)
        return cls(batch.prompt_mask, batch.attention_mask.bool(), last, index, index)

    @classmethod
    def of_mask(cls, real: Tensor) -> "Prompts":
        """Rows that are all prompt, padded on either side. `real`: (batch, seq) bool."""
        last = (real * torch.arange(real.shape[1], device=real.device)).amax(-1)
        first_last, last_last = torch.stack(last.aminmax()).tolist()
        return cls(real, real, last, first_last, last_last)


@dataclass(frozen=True)
class Window:
    """The slice `start:stop` of the sequence and, within it, the tokens to edit: `mask`, (batch, stop - start) bool."""

    start: int
    stop: int
    mask: Tensor


@dataclass
class PromptState:
    """Shared by the edited blocks of one model.

    Attributes:
        prompts: of the current forward; none while an answer is generated token by token.
        logits: {(adapter, block): (batch,)}, the gates' logits, on the graph, kept until the next prompt.
        said: {adapter: [((batch,), (batch, seq))]}, what a pooled gate that reads several blocks said so far: logits and scores.
        fired: {adapter: (batch, seq) bool}, the tokens of the current prompts at which a pooled gate fires.
    """

    prompts: Prompts | None = None
    logits: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    said: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    fired: dict[str, Tensor] = field(default_factory=dict)

    def __reduce__(self) -> tuple:
        """A copied or pickled model starts afresh: tensors that lie on a graph can be neither copied nor pickled."""
        return PromptState, ()

    def observe(self, decoder: nn.Module, args: tuple, kwargs: dict) -> None:
        """Forward pre-hook of the decoder: within `batch_context` a forward is over its batch; otherwise one without a past is
        over prompts, and one with a past goes on with the answer.

        Raises:
            ExpungeError: if the prompt cannot be told from the arguments.
        """
        if (batch := current_batch()) is not None:
            self.logits = dict(known_gate_logits())
            self.prompts = Prompts.of_batch(batch)
            return
        if (gates := continuation_gate_logits()) is not None:
            self.logits = dict(gates)
            self.prompts = None
            return
        given = inspect.signature(decoder.forward).bind_partial(*args, **kwargs).arguments
        ids, past, mask = given.get("input_ids"), given.get("past_key_values"), given.get("attention_mask")
        tokens = given["inputs_embeds"] if ids is None else ids
        if past is not None and past.get_seq_length() > 0:
            if tokens.shape[1] > 1:
                raise ExpungeError(
                    "several tokens after a filled cache may be prompt or answer: run the prompt in one forward, without a cache"
                )
            self.prompts = None
            return
        self.logits.clear()
        if mask is None:
            mask = torch.ones(tokens.shape[:2], device=tokens.device)
        if not isinstance(mask, Tensor) or mask.ndim != 2:
            raise ExpungeError("the prompt cannot be read from this attention mask: give one of shape (batch, seq) and a dynamic cache")
        self.prompts = Prompts.of_mask(mask.bool())

    def window(self, positions: str, adapter: str, hidden: Tensor) -> Window | None:
        """Where an adapter is to edit `hidden`, (batch, seq, hidden); none: nowhere.

        Raises:
            ExpungeError: if the sequence is not the one that the prompts lie in.
        """
        batch, seq, _ = hidden.shape
        if self.prompts is None:
            onward = torch.ones(batch, seq, dtype=torch.bool, device=hidden.device)
            return Window(0, seq, onward) if positions in ("onward", "every_token") else None
        prompts = self.prompts
        if prompts.tokens.shape != (batch, seq):
            raise ExpungeError(f"hidden states of shape {(batch, seq)} (batch, seq) do not fit prompts of {tuple(prompts.tokens.shape)}")
        index, last = torch.arange(seq, device=prompts.last.device), prompts.last[:, None]
        start, stop = 0, prompts.last_last + 1
        match positions.split(":"):
            case ["last_prompt"]:
                start, mask = prompts.first_last, index == last
            case ["onward"]:
                start, stop, mask = prompts.first_last, seq, (index >= last) & prompts.real
            case ["every_token"]:
                stop, mask = seq, prompts.real
            case ["fired"]:
                mask = self.fired[adapter].to(prompts.last.device)
            case ["prompt_suffix", count]:
                start, mask = max(0, prompts.first_last + 1 - int(count)), (index > last - int(count)) & prompts.tokens
            case _:
                mask = prompts.tokens
        return Window(start, stop, mask[:, start:stop].to(hidden.device))
