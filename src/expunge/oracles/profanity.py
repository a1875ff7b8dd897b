"""How likely is the text offensive, by the linear classifier of the package alt-profanity-check?"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from expunge.errors import InputError


@dataclass(frozen=True)
class Profanity:
    """The probability of a text to be offensive: bags of words, English, trained on comments; long texts water it down.

    The model is a pickle inside the installed package, as trusted as the package's code is.
    """

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """A probability for each text.

        Raises:
            InputError: the package is not installed.
        """
        # scikit-learn refuses to judge no text at all.
        return [float(value) for value in _predictor()(list(texts))] if texts else []


@cache
def _predictor() -> Callable[[list[str]], Any]:
    with warnings.catch_warnings():
        # Importing it unpickles its model, and scikit-learn warns if that is of another version than its own.
        warnings.simplefilter("ignore")
        try:
            from profanity_check import predict_prob
        except ImportError as error:
            raise InputError('profanity: the package alt-profanity-check is missing; pip install "expunge[toxicity]"') from error
    return predict_prob
