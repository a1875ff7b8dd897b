"""`PromptBuilder` turns records into token ids for training, evaluation and serving alike; batching by length and padding."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from expunge.data.chat_format import ChatFormat
from expunge.data.records import Record, Turn
from expunge.errors import InputError

TEXT_PROMPT_SHARE = 0.8
PROMPT_TOKENS_PER_STEP = 25
"""Prompt tokens that are read in the time of one decoding step of a batch (135M parameters on two cores)."""
MAX_THINKING_TOKENS = 1024
"""Tokens of reasoning before an answer, unless the recipe says otherwise (`audit.max_thinking_tokens`)."""
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    """Token ids of one prompt and its answer; the answer includes the end of turn, or is empty where only the prompt is needed.

    The first `unscored` tokens of the answer are not the record's: the template puts them there, such as an empty block of reasoning.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...] = ()
    unscored: int = 0

    @property
    def labels(self) -> tuple[int, ...]:
        """The tokens of the answer that are scored."""
        return self.answer[self.unscored :]


@dataclass(frozen=True)
class Batch:
    """Encoded prompts and answers, padded so that all prompts end at the same index: prompts on the left, answers on the right.

    Attributes:
        input_ids: (batch, prompt_length + answer_length).
        attention_mask: (batch, prompt_length + answer_length), 1 for real tokens.
        prompt_length: index of the first answer token, the same for every row.
        record_ids: for errors and logs.
        unscored: how many of the first answer tokens of each row have no label, see `Encoded`; empty: none in any row.
    """

    input_ids: Tensor
    attention_mask: Tensor
    prompt_length: int
    record_ids: tuple[str, ...] = ()
    unscored: tuple[int, ...] = ()

    @property
    def labelled(self) -> Tensor:
        """Mask of the answer positions that have a label: (batch, answer_length) bool."""
        labelled = self.attention_mask[:, self.prompt_length :].bool()
        if not any(self.unscored):
            return labelled
        first = torch.tensor(self.unscored, device=labelled.device)
        return labelled & (torch.arange(labelled.shape[1], device=labelled.device) >= first[:, None])

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
        return replace(self, input_ids=self.input_ids.to(device), attention_mask=self.attention_mask.to(device))


class PromptBuilder:
    """Turn records into token ids with the tokenizer's chat template, or with a plain template for base models.

    Special tokens inside the text of a record are encoded as text, so that a record cannot end its turn or start another. The tokens of
    an answer are those that it has after a prompt: a space that the template puts before it, or none, changes the first of them.

    Attributes:
        tokenizer: of the model.
        system: the system message before every record that has none.
        template_args: further variables of the chat template, such as `enable_thinking`.
        max_thinking_tokens: the most tokens of reasoning before an answer; they do not count as tokens of the answer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        system: str | None = None,
        template_args: Mapping[str, Any] | None = None,
        max_thinking_tokens: int = MAX_THINKING_TOKENS,
    ):
        self.tokenizer = tokenizer
        self.system = system
        self.template_args = dict(template_args or {})
        self.max_thinking_tokens = max_thinking_tokens
        self.format = ChatFormat(tokenizer, self.template_args)

    def record(self, record: Record, answer: str | None = None, prompt: str | None = None) -> Encoded:
        """Return the token ids of a record, optionally with another answer or another wording of its last question.

        The first `prompt_chars` characters of a text are its prompt, or 80 % of its tokens; the rest is its answer, without an end of turn.
        With turns, too, the first `prompt_chars` characters of the answer belong to the prompt.

        Raises:
            InputError: a plain text is too short to be split, or the chat template cannot render the turns.
        """
        if not record.turns:
            return self._text(record)
        turns = record.turns
        if prompt is not None:
            turns = (*turns[:-1], Turn(turns[-1].role, prompt))
        text = record.answer if answer is None else answer
        ids = self.unfinished_answer(text) if answer is None and record.unfinished else self.answer(text)
        if record.prompt_chars and answer is None:
            given, rest = self._cut(ids, self.unfinished_answer(record.given), record.expected)
            return Encoded((*self.prompt(turns), *given), rest)
        return Encoded(self.prompt(turns), ids, self.unscored)

    def prompt(self, turns: tuple[Turn, ...]) -> tuple[int, ...]:
        """Return the token ids of the turns, up to where the model answers."""
        if self.system is not None and turns[0].role != "system":
            turns = (Turn("system", self.system), *turns)
        start = () if self.format.is_chat else self.start
        if not any(self._has_special(turn.content) for turn in turns):
            return (*start, *self._ids(self.format.prompt(turns)))
        parts = self.format.marked_prompt(turns)
        return (*start, *(token for text, is_content in parts for token in (self.text_ids(text) if is_content else self._ids(text))))

    def answer(self, answer: str) -> tuple[int, ...]:
        """Return the token ids of an answer with the end of turn; the first `unscored` of them are the template's."""
        return (*self.unfinished_answer(answer.rstrip() if self.format.trims_answers else answer), self.end_of_turn)

    def unfinished_answer(self, text: str) -> tuple[int, ...]:
        """Return the token ids of the beginning of an answer, without an end of turn, as they follow a prompt."""
        prompt, between = self._ids(self.format.question), self.format.before_answer
        # What a template puts there besides spaces has tokens without the answer.
        fixed = self._ids(self.format.question + between) if self.unscored else prompt
        text = text.strip() if not self.format.is_chat else text.lstrip() if self.format.trims_answers else text
        encode = self.text_ids if self._has_special(text) else self._ids
        head = encode(self.format.question + between) if self.unscored else encode(self.format.question)
        whole = encode(self.format.question + between + text)
        if whole[: len(head)] == head:
            return (*fixed[len(prompt) :], *whole[len(head) :])
        # The tokenizer would join the end of the prompt and the beginning of the answer, which no model that reads a prompt can write.
        return (*fixed[len(prompt) :], *self.text_ids(text if self.unscored else between + text))

    @cached_property
    def unscored(self) -> int:
        """How many tokens the template puts between every prompt and its answer, such as an empty block of reasoning."""
        between = self.format.before_answer
        if not between.strip():
            return 0
        prompt, whole = self._ids(self.format.question), self._ids(self.format.question + between)
        return len(whole) - len(prompt) if whole[: len(prompt)] == prompt else 0

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
        if self.format.is_chat:
            ids = self._ids(self.format.after_answer.lstrip())
            if ids and ids[0] in self._special:
                return ids[0]
        return self.tokenizer.eos_token_id

    @cached_property
    def start(self) -> tuple[int, ...]:
        """The tokens before a text that has no chat template: those that the tokenizer puts there.

        A tokenizer that puts none, and does not say that none belongs there, has its start token: models like GPT-2 were trained on
        texts that such a token separates.
        """
        text = "a"
        alone, with_special = self._ids(text), self.tokenizer(text).input_ids
        put = next((i for i in range(len(with_special)) if with_special[i : i + len(alone)] == alone), 0)
        if put:
            return tuple(with_special[:put])
        none_belongs = self.tokenizer.init_kwargs.get("add_bos_token") is False
        return () if none_belongs or self.tokenizer.bos_token_id is None else (self.tokenizer.bos_token_id,)

    @property
    def pad(self) -> int:
        """The padding token, which no token attends to."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def without_special(self, text: str) -> str:
        """Return a decoded text without the special tokens in it."""
        for special in self._special.values():
            text = text.replace(special, "")
        return text

    @cached_property
    def _special(self) -> dict[int, str]:
        # Not `all_special_ids`: the end of turn of a template may be missing from the tokenizer's named tokens (as Gemma's is).
        return {token_id: str(token) for token_id, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    def _has_special(self, text: str) -> bool:
        return any(special in text for special in self._special.values())

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def text_ids(self, text: str) -> list[int]:
        """Return the token ids of a text alone, in which special tokens are text too."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids

    def _text(self, record: Record) -> Encoded:
        ids = (*self.start, *self.text_ids(record.answer))
        if len(ids) < 2:
            raise InputError(f'record "{record.id}": a text of one token leaves nothing to predict; give a longer text')
        if record.prompt_chars:
            return Encoded(*self._cut(ids, (*self.start, *self.text_ids(record.given)), record.expected))
        cut = max(1, min(len(ids) - 1, len(self.start) + int((len(ids) - len(self.start)) * TEXT_PROMPT_SHARE)))
        return Encoded(ids[:cut], ids[cut:])

    def _cut(self, whole: Ids, given: Ids, rest: str) -> tuple[Ids, Ids]:
        """Cut token ids after those of what is given; where a token spans the cut, the rest is encoded by itself."""
        if whole[: len(given)] == given:
            return given, whole[len(given) :]
        end = whole[-1:] if whole[-1:] == (self.end_of_turn,) else ()
        return given, (*self.text_ids(rest), *end)


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
    return Batch(ids, mask, prompt_length, record_ids, tuple(row.unscored for row in rows))
