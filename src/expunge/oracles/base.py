"""The protocol of an oracle, which scores texts for content that must be forgotten, and oracles defined by users."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from expunge.errors import ExpungeError, InputError


@runtime_checkable
class Oracle(Protocol):
    """Scores how strongly a text shows the content that must be forgotten."""

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return one number in [0, 1] for each text; equal texts get equal numbers.

        Raises:
            InputError: a setting of the oracle is wrong, or a file or package that it needs is missing.
            ExpungeError: it could not score the texts.
        """
        ...


@dataclass(frozen=True)
class CallableOracle:
    """Your own function as an oracle; only from Python, because a recipe never names code.

    Attributes:
        judge: returns the relevance of a text, in [0, 1].
    """

    judge: Callable[[str], float]

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Call the function for each text.

        Raises:
            ExpungeError: it returns a number outside [0, 1].
        """
        return checked_relevance(self.judge, [float(self.judge(text)) for text in texts])


@dataclass(frozen=True)
class CustomOracle:
    """The name of a user's oracle, read back from a recipe file. It cannot score texts, because a recipe never names code.

    Attributes:
        python: where the function or class was defined.
    """

    python: str

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Always raise `InputError`."""
        raise InputError(f"the oracle {self.python} is a custom one: continue from Python, and pass the oracle again")


def checked_relevance(oracle: object, values: list[float]) -> list[float]:
    """Return relevances, if all of them are in [0, 1].

    Raises:
        ExpungeError: one is not.
    """
    for value in values:
        if not 0 <= value <= 1:
            raise ExpungeError(f"the oracle {oracle!r} gave {value} for a text; relevance lies between 0 and 1")
    return values
