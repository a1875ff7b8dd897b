"""Render conversations as text: with the chat template of a tokenizer, or in a plain form for models that have none."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from expunge.data.reasoning import closing
from expunge.data.records import Turn
from expunge.errors import InputError, first_line

PLAIN_TURNS = {"system": "{content}\n\n", "user": "Question: {content}\nAnswer:", "assistant": " {content}\n"}
RESERVED_ARGS = frozenset(
    {
        *("conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize", "padding"),
        *("truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
    }
)
"""Arguments of `apply_chat_template` that expunge sets itself."""
_MARK = "\u2402{}\u2403"
_MARKS = re.compile("\u2402(\\d+)\u2403")
_NAMES = re.compile(r"\w+")
_QUESTION = (Turn("user", "a"),)


class TemplateRefused(InputError):
    """A chat template raised an error for a conversation."""


class ChatFormat:
    """How a model writes conversations.

    Attributes:
        tokenizer: with its chat template, or without one.
        args: further variables of the chat template, such as `enable_thinking`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, args: Mapping[str, Any] | None = None):
        self.tokenizer = tokenizer
        self.args = dict(args or {})

    @property
    def is_chat(self) -> bool:
        """Whether there is a chat template."""
        return self.tokenizer.chat_template is not None

    def reads(self, variable: str) -> bool:
        """Return whether the name of a variable is in the chat template."""
        templates = self.tokenizer.chat_template
        texts = templates.values() if isinstance(templates, dict) else [templates or ""]
        return any(variable in _NAMES.findall(text) for text in texts)

    def prompt(self, turns: tuple[Turn, ...]) -> str:
        """Return the text of the turns, up to where the model answers.

        Raises:
            TemplateRefused: the chat template cannot render these turns.
        """
        return self._render(self._folded(turns), add_generation_prompt=True)

    def marked_prompt(self, turns: tuple[Turn, ...]) -> list[tuple[str, bool]]:
        """Return the text of `prompt` in parts: (text, whether it is the content of a turn)."""
        folded = self._folded(turns)
        text = self._render(tuple(Turn(turn.role, _MARK.format(i)) for i, turn in enumerate(folded)), add_generation_prompt=True)
        # Parts with an odd index are the numbers of turns. A template may move a turn, or leave it out.
        parts = enumerate(_MARKS.split(text))
        return [(folded[int(part)].content, True) if i % 2 else (part, False) for i, part in parts]

    @cached_property
    def question(self) -> str:
        """The prompt of a short question, which ends as every prompt does."""
        return self.prompt(_QUESTION)

    @cached_property
    def before_answer(self) -> str:
        """The text between the end of a prompt and the answer: a space in some templates, an empty block of reasoning in others.

        Where the prompt itself begins the reasoning, it is what ends it.
        """
        if not self.is_chat:
            return " "
        before = self._answered.partition(_MARK.format(0))[0]
        return before.removeprefix(self.question) if before.startswith(self.question) else closing(self.question)

    @cached_property
    def after_answer(self) -> str:
        """The text that the chat template puts after an answer."""
        return self._answered.rpartition(_MARK.format(0))[2]

    @cached_property
    def trims_answers(self) -> bool:
        """Whether an answer loses the spaces around it."""
        return not self.is_chat or f" {_MARK.format(0)} " not in self._spaced

    @cached_property
    def folds_system(self) -> bool:
        """Whether the chat template has no system turn, so that its text goes before the first question."""
        if not self.is_chat:
            return False
        try:
            text = self._render((Turn("system", _MARK.format(0)), Turn("user", _MARK.format(1))), add_generation_prompt=True)
        except TemplateRefused:
            return True
        return _MARK.format(0) not in text

    @cached_property
    def _answered(self) -> str:
        return self._with_answer(_MARK.format(0))

    @cached_property
    def _spaced(self) -> str:
        return self._with_answer(f"  {_MARK.format(0)}  ")

    def _with_answer(self, answer: str) -> str:
        try:
            return self._render((*_QUESTION, Turn("assistant", answer)), add_generation_prompt=False)
        except TemplateRefused:
            # Some templates render prompts only.
            return self.question + answer

    def _folded(self, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        if len(turns) < 2 or turns[0].role != "system" or turns[1].role != "user" or not self.folds_system:
            return turns
        return (Turn("user", f"{turns[0].content}\n\n{turns[1].content}"), *turns[2:])

    def _render(self, turns: Iterable[Turn], add_generation_prompt: bool) -> str:
        if not self.is_chat:
            return "".join(PLAIN_TURNS[turn.role].format(content=turn.content) for turn in turns)
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        options: dict[str, Any] = {**self.args, "tokenize": False, "add_generation_prompt": add_generation_prompt}
        try:
            return cast(str, self.tokenizer.apply_chat_template(messages, **options))
        # Whatever a template raises in Jinja.
        except Exception as error:
            raise TemplateRefused(first_line(error)) from error
