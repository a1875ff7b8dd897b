"""The oracle `profanity`: the probability that a text is offensive, by the package alt-profanity-check."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from expunge.errors import InputError


@dataclass(frozen=True)
class Profanity:
    """The probability that a text is offensive, by a linear bag-of-words classifier; English only, and weaker on long texts.

    The model is a pickle inside the installed package, which is as trustworthy as the package's code.
    """

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return a probability for each text.

        Raises:
            InputError: the package is not installed.
        """
        # scikit-learn raises an error for an empty list.
        return [float(value) for value in _predictor()(list(texts))] if texts else []


@cache
def _predictor() -> Callable[[list[str]], Any]:
    with warnings.catch_warnings():
        # The import unpickles the model, and scikit-learn warns if another version has saved it.
        warnings.simplefilter("ignore")
        try:
            from profanity_check import predict_prob
        except ImportError as error:
            raise InputError('profanity: the package alt-profanity-check is missing; pip install "expunge[toxicity]"') from error
    return predict_prob
