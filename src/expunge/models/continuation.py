"""The tokens that a model writes after one prompt: when they end, and how they split into reasoning and answer."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple, cast

from expunge.data.prompts import PromptBuilder
from expunge.data.reasoning import Answer, begins, opened, split

CHECK_EVERY = 16
"""Tokens of reasoning between two looks for its end."""


class Avoided(NamedTuple):
    """What an answer must not have.

    Attributes:
        text: token ids of a text; the answer has no three tokens in a row of it.
        tokens: the answer has none of them.
    """

    text: Sequence[int] = ()
    tokens: frozenset[int] = frozenset()


NOTHING = Avoided()


class Continuation:
    """What a model has written after one prompt.

    Args:
        builder: of the model's tokenizer.
        prompt: token ids of the prompt's end.
        max_new_tokens: of the answer, without the reasoning before it.
        avoid: what it must not write; the text would go on after the prompt.
    """

    def __init__(self, builder: PromptBuilder, prompt: list[int], max_new_tokens: int, avoid: Avoided = NOTHING):
        self.builder = builder
        self.prompt = prompt
        self.max_new_tokens = self._limit = max_new_tokens
        self.ids: list[int] = []
        self._never = avoid.tokens
        text, self._third = [*prompt[-2:], *avoid.text], defaultdict[tuple[int, ...], set[int]](set)
        for start in range(len(text) - 2):
            self._third[tuple(text[start : start + 2])].add(text[start + 2])

    def to_avoid(self) -> list[int]:
        """Return the tokens that it must not write now: with two before them, some would make three in a row of the text to avoid."""
        return [*self._never, *self._third.get(tuple([*self.prompt[-2:], *self.ids][-2:]), ())]

    def goes_on_after(self, token: int, ends: Collection[int]) -> bool:
        """Add a token, and return whether the model may write another one."""
        if token in ends:
            return False
        self.ids.append(token)
        if len(self.ids) < self._limit:
            return True
        self._limit = self._new_limit()
        return len(self.ids) < self._limit

    def answer(self) -> Answer:
        """Return the text of answer and reasoning, without special tokens."""
        builder, whole = self.builder, self._decode(len(self.ids))
        parts = split(whole, self._within)
        if parts is None:
            return Answer(cast(str, builder.tokenizer.decode(self.ids, skip_special_tokens=True)).strip())
        return Answer(builder.without_special(parts.text).strip(), builder.without_special(parts.reasoning).strip(), parts.unfinished)

    @property
    def _within(self) -> tuple[str, str] | None:
        return opened(cast(str, self.builder.tokenizer.decode(self.prompt, skip_special_tokens=False)))

    def _new_limit(self) -> int:
        """Return how many tokens the row may have, now that it has as many as it might: more if it begins with reasoning."""
        written = len(self.ids)
        markers = begins(self._decode(written), self._within)
        if markers is None:
            return written
        if markers[1] not in self._decode(written):
            return min(written + CHECK_EVERY, self.builder.max_thinking_tokens)
        low, high = 0, written
        # The fewest tokens whose text has the end of the reasoning.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if markers[1] in self._decode(middle) else (middle, high)
        del self.ids[high + self.max_new_tokens :]
        return high + self.max_new_tokens

    def _decode(self, count: int) -> str:
        return cast(str, self.builder.tokenizer.decode(self.ids[:count], skip_special_tokens=False))
