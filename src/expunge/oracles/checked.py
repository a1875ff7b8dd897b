"""Call oracles and embedders and check their results, because a user's own may return anything."""

from collections.abc import Sequence

from expunge.errors import ExpungeError
from expunge.metrics.diversity import diversity
from expunge.oracles.base import Oracle, checked_relevance
from expunge.oracles.embedders import Embedder


def judge_texts(oracle: Oracle, texts: Sequence[str]) -> list[float]:
    """Return the relevance of each text.

    Raises:
        ExpungeError: the oracle returns a wrong number of values, or one outside [0, 1].
    """
    values = [float(value) for value in oracle.relevance(texts)]
    if len(values) != len(texts):
        raise ExpungeError(f"the oracle {oracle!r} gave {len(values)} values for {len(texts)} texts")
    return checked_relevance(oracle, values)


def diversity_of(embedder: Embedder, texts: Sequence[str]) -> float:
    """Return the diversity of texts, see `expunge.metrics.diversity.diversity`; empty texts do not count.

    Raises:
        ExpungeError: the embedder returns a row without a length.
    """
    filled = [text for text in texts if text.strip()]
    if len(filled) < 2:
        return 0.0
    try:
        return diversity(embedder.embed(filled))
    except ValueError as error:
        raise ExpungeError(f"the embedder {embedder!r}: {error}") from error
