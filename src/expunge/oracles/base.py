"""What every oracle is: a judge of texts with one method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from expunge.errors import ExpungeError, InputError


@runtime_checkable
class Oracle(Protocol):
    """Says of texts how much of what is to be forgotten is in them."""

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """One number in [0, 1] for each text, in their order; the same text always has the same.

        Raises:
            InputError: a setting of the oracle is wrong, or what it needs is not installed.
            ExpungeError: it could not judge.
        """
        ...


@dataclass(frozen=True)
class CallableOracle:
    """Your own function as an oracle; through the Python API only, because a recipe never names code.

    Attributes:
        judge: a text -> its relevance in [0, 1].
    """

    judge: Callable[[str], float]

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """What the function says of each text.

        Raises:
            ExpungeError: it says something that is not in [0, 1].
        """
        judged = [float(self.judge(text)) for text in texts]
        for value in judged:
            if not 0 <= value <= 1:
                raise ExpungeError(f"the oracle {self.judge!r} gave {value} for a text; relevance lies between 0 and 1")
        return judged


@dataclass(frozen=True)
class OwnOracle:
    """What a recipe file keeps of an oracle of the caller's own: its name. A recipe never names code, so it cannot judge.

    Attributes:
        python: where the function or class was defined.
    """

    python: str

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Not possible.

        Raises:
            InputError: always.
        """
        raise InputError(f"the oracle {self.python} is one of your own: go on through the Python API, which can be given it again")
