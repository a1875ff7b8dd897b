"""What oracles and embedders say, checked: those of the caller's own may say anything."""

from collections.abc import Sequence

from expunge.errors import ExpungeError
from expunge.metrics.diversity import diversity
from expunge.oracles import Oracle
from expunge.oracles.embedders import Embedder


def judge_texts(oracle: Oracle, texts: Sequence[str]) -> list[float]:
    """The relevance of each text.

    Raises:
        ExpungeError: the oracle gives another number of values, or one that is not in [0, 1].
    """
    judged = [float(value) for value in oracle.relevance(texts)]
    if len(judged) != len(texts):
        raise ExpungeError(f"the oracle {oracle!r} gave {len(judged)} values for {len(texts)} texts")
    for value in judged:
        if not 0 <= value <= 1:
            raise ExpungeError(f"the oracle {oracle!r} gave {value} for a text; relevance lies between 0 and 1")
    return judged


def diversity_of(embedder: Embedder, texts: Sequence[str]) -> float:
    """How different texts are from each other, see `expunge.metrics.diversity.diversity`; empty ones say nothing.

    Raises:
        ExpungeError: the embedder gives a row without a length.
    """
    spoken = [text for text in texts if text.strip()]
    if len(spoken) < 2:
        return 0.0
    try:
        return diversity(embedder.embed(spoken))
    except ValueError as error:
        raise ExpungeError(f"the embedder {embedder!r}: {error}") from error
