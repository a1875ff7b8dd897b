"""What an audit finds out of each model beside what it measures on its sets."""

from typing import Protocol

from torch import nn

from expunge.auditing.summary import SetSummary
from expunge.data.prompts import PromptBuilder


class Examination(Protocol):
    """One kind of question to one model after the other."""

    def examine(self, name: str, model: nn.Module, builder: PromptBuilder, identity: str) -> None:
        """Put it to a model, or look up what was found before.

        Args:
            name: original, unlearned or control.
            model: in evaluation mode, with its edit on or off.
            builder: of its tokenizer.
            identity: says which model it is: a hash of all that it is made of.
        """

    def summary(self, name: str) -> dict[str, SetSummary]:
        """What was found of a model as numbers, by set; nothing where it was not examined."""
