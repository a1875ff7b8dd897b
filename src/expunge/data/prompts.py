"""`PromptBuilder` turns records into token ids for training, evaluation and serving alike; batching by length and padding."""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from expunge.data.records import Record, Turn
from expunge.errors import InputError

PLAIN_TURNS = {"system": "{content}\n\n", "user": "Question: {content}\nAnswer:", "assistant": " {content}\n"}
TEXT_PROMPT_SHARE = 0.8
PROMPT_TOKENS_PER_STEP = 25
"""Prompt tokens that are read in the time of one decoding step of a batch (135M parameters on two cores)."""
_SENTINEL = "\u2402{}\u2403"


@dataclass(frozen=True)
class Encoded:
    """Token ids of one prompt and its answer; the answer includes the end of turn, or is empty where only the prompt is needed."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Encoded prompts and answers, padded so that all prompts end at the same index: prompts on the left, answers on the right.

    Attributes:
        input_ids: (batch, prompt_length + answer_length).
        attention_mask: (batch, prompt_length + answer_length), 1 for real tokens.
        prompt_length: index of the first answer token, the same for every row.
        record_ids: for errors and logs.
    """

    input_ids: Tensor
    attention_mask: Tensor
    prompt_length: int
    record_ids: tuple[str, ...] = ()

    @property
    def labelled(self) -> Tensor:
        """Mask of the answer positions that have a label: (batch, answer_length) bool."""
        return self.attention_mask[:, self.prompt_length :].bool()

    @property
    def prompt_mask(self) -> Tensor:
        """Mask of the prompt tokens, without padding: (batch, seq) bool."""
        mask = self.attention_mask.bool().clone()
        mask[:, self.prompt_length :] = False
        return mask

    @property
    def position_ids(self) -> Tensor:
        """Position of each token in its row, counted from the first token that is not padding: (batch, seq)."""
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        return Batch(self.input_ids.to(device), self.attention_mask.to(device), self.prompt_length, self.record_ids)


class PromptBuilder:
    """Turn records into token ids with the tokenizer's chat template, or with a plain template for base models.

    Special tokens inside the text of a record are encoded as text, so that a record cannot end its turn or start another.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, system: str | None = None):
        self.tokenizer = tokenizer
        self.system = system

    def record(self, record: Record, answer: str | None = None, prompt: str | None = None) -> Encoded:
        """Return the token ids of a record, optionally with another answer or another wording of its last question.

        The first 80 % of the tokens of a plain text are its prompt; the rest is its answer, without an end of turn.

        Raises:
            InputError: a plain text is too short to be split.
        """
        if not record.turns:
            return self._text(record)
        turns = record.turns
        if prompt is not None:
            turns = (*turns[:-1], Turn(turns[-1].role, prompt))
        if answer is None and record.unfinished:
            return Encoded(self.prompt(turns), self.unfinished_answer(record.answer))
        return Encoded(self.prompt(turns), self.answer(record.answer if answer is None else answer))

    def prompt(self, turns: tuple[Turn, ...]) -> tuple[int, ...]:
        """Return the token ids of the turns, up to where the model answers."""
        if self.system is not None and turns[0].role != "system":
            turns = (Turn("system", self.system), *turns)
        contents = [turn.content for turn in turns]
        if not any(special in content for special in self._special.values() for content in contents):
            return tuple(self.tokenizer(self._render(turns), add_special_tokens=False).input_ids)
        marked = tuple(Turn(turn.role, _SENTINEL.format(i)) for i, turn in enumerate(turns))
        rest, ids = self._render(marked), []
        for i, content in enumerate(contents):
            before, rest = rest.split(_SENTINEL.format(i), 1)
            ids += self.tokenizer(before, add_special_tokens=False).input_ids
            ids += self._as_text(content)
        return tuple(ids + self.tokenizer(rest, add_special_tokens=False).input_ids)

    def answer(self, answer: str) -> tuple[int, ...]:
        """Return the token ids of an answer with the end of turn."""
        return (*self.unfinished_answer(answer), self.end_of_turn)

    def unfinished_answer(self, text: str) -> tuple[int, ...]:
        """Return the token ids of the beginning of an answer, without an end of turn."""
        return tuple(self._as_text(text if self._chat else " " + text.strip()))

    def plain_text(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text without any template, with the special tokens that the tokenizer adds."""
        return tuple(self.tokenizer(text, split_special_tokens=True).input_ids)

    def max_tokens(self, record: Record) -> int:
        """Return the length of a record's longest prompt with its longest answer, over all its wordings."""
        encoded = self.record(record)
        prompts = [encoded.prompt]
        if record.paraphrased_prompt:
            prompts.append(self.record(record, prompt=record.paraphrased_prompt).prompt)
        answers = [record.paraphrased_answer, *record.wrong_answers, *record.alternatives]
        return max(map(len, prompts)) + max(len(encoded.answer), *(len(self.answer(text)) for text in answers if text), 0)

    @cached_property
    def end_of_turn(self) -> int:
        """The token that the chat template puts after an answer; the end of sequence without a template."""
        if self._chat:
            messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _SENTINEL.format(0)}]
            tail = cast(str, self.tokenizer.apply_chat_template(messages, tokenize=False)).split(_SENTINEL.format(0))[-1]
            ids = self.tokenizer(tail, add_special_tokens=False).input_ids
            if ids and ids[0] in self._special:
                return ids[0]
        return self.tokenizer.eos_token_id

    @property
    def pad(self) -> int:
        """The padding token, which no token attends to."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    @property
    def _chat(self) -> bool:
        return self.tokenizer.chat_template is not None

    @cached_property
    def _special(self) -> dict[int, str]:
        # Not `all_special_ids`: the end of turn of a template may be missing from the tokenizer's named tokens (as Gemma's is).
        return {token_id: str(token) for token_id, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    def _render(self, turns: tuple[Turn, ...]) -> str:
        if self._chat:
            messages = [{"role": turn.role, "content": turn.content} for turn in turns]
            return cast(str, self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        start = self.tokenizer.bos_token or ""
        return start + "".join(PLAIN_TURNS[turn.role].format(content=turn.content) for turn in turns)

    def _as_text(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids

    def _text(self, record: Record) -> Encoded:
        start = () if self.tokenizer.bos_token_id is None else (self.tokenizer.bos_token_id,)
        ids = (*start, *self._as_text(record.answer))
        if len(ids) < 2:
            raise InputError(f'record "{record.id}": a text of one token leaves nothing to predict; give a longer text')
        cut = max(1, min(len(ids) - 1, len(start) + int((len(ids) - len(start)) * TEXT_PROMPT_SHARE)))
        return Encoded(ids[:cut], ids[cut:])


def batches_by_length(sequences: Sequence[Sized], size: int) -> Iterator[list[int]]:
    """Yield the indices of all sequences in batches of `size`, shortest first, so that batches need little padding."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def decoding_batches(prompts: Sequence[Sized], size: int, max_new_tokens: int) -> Iterator[list[int]]:
    """Yield the indices of all prompts in batches, shortest first, split where padding and decoding together cost least.

    More batches need more decoding steps in total; fewer batches pad short prompts to the length of long ones.

    Args:
        prompts: the prompts to answer.
        size: maximum number of prompts in a batch.
        max_new_tokens: of each answer.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    # best[n]: the lowest cost (in tokens) of the n shortest prompts, and the index at which their last batch starts.
    best = [(0, 0)]
    for end in range(1, len(order) + 1):
        longest = len(prompts[order[end - 1]])
        costs = ((best[start][0] + (end - start) * longest, start) for start in range(max(0, end - size), end))
        cost, start = min(costs)
        best.append((cost + PROMPT_TOKENS_PER_STEP * (1 + max_new_tokens), start))
    cuts = [len(order)]
    while cuts[-1]:
        cuts.append(best[cuts[-1]][1])
    for start, end in pairwise(reversed(cuts)):
        yield order[start:end]


def collate(rows: list[Encoded], pad: int, record_ids: tuple[str, ...] = ()) -> Batch:
    """Pad rows into a batch: prompts on the left, answers on the right."""
    prompt_length = max(len(row.prompt) for row in rows)
    answer_length = max(len(row.answer) for row in rows)
    ids = torch.full((len(rows), prompt_length + answer_length), pad)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        start, stop = prompt_length - len(row.prompt), prompt_length + len(row.answer)
        ids[i, start:stop] = torch.tensor((*row.prompt, *row.answer))
        mask[i, start:stop] = 1
    return Batch(ids, mask, prompt_length, record_ids)
