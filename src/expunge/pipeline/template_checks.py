"""Check at the door how a run's conversations are written, and what a user should know about it."""

import re
from collections.abc import Iterable, Iterator
from typing import cast

from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from expunge.config import DataSection
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.errors import InputError

INSTRUCT = re.compile(r"(?<![a-z])(instruct|chat|it|assistant|sft|dpo|rlhf|thinking|reasoning)(?![a-z])", re.IGNORECASE)
"""Words in the names of models that were trained on conversations."""


def check_template_args(data: DataSection, builder: PromptBuilder) -> None:
    """Raise `InputError` for template arguments that no chat template reads: a misspelt one would change nothing.

    Args:
        data: the recipe's section.
        builder: of the model's tokenizer.
    """
    if data.template_args and not builder.format.is_chat:
        raise InputError("data.template_args: the model has no chat template that could read them; give one with data.template")
    for name in data.template_args:
        if not builder.format.reads(name):
            raise InputError(f"data.template_args.{name}: the chat template has no such variable; correct its name, or leave it out")


def template_remarks(name: str, model: nn.Module, builder: PromptBuilder, records: Iterable[Record]) -> Iterator[str]:
    """Yield remarks for the user, each of one sentence.

    Args:
        name: of the model in the recipe.
        model: as it was loaded.
        builder: of its tokenizer.
        records: that the run reads from files.
    """
    if not builder.format.is_chat and suggests_instruct(name, model):
        plain = 'prompts have the plain form "Question: … Answer:"; if it was trained on a chat template, name its file in data.template'
        yield f"{name} looks like an instruct model, but it has no chat template: {plain}."
    has_system = builder.system is not None or any(record.turns and record.turns[0].role == "system" for record in records)
    if has_system and builder.format.folds_system:
        yield "The chat template has no place for a system message, so its text is put before the first question."


def suggests_instruct(name: str, model: nn.Module) -> bool:
    """Return whether a model's name, the name in its configuration, or several tokens that end an answer suggest an instruct model."""
    loaded = cast(PreTrainedModel, model)
    ends = cast(GenerationConfig, loaded.generation_config).eos_token_id
    names = [path.rstrip("/").rpartition("/")[2] for path in (name, loaded.config._name_or_path or "")]
    return any(INSTRUCT.search(word) for word in names) or (isinstance(ends, list) and len(ends) > 1)
