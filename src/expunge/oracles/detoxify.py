"""The oracle `detoxify`: the probability of toxicity, by a Detoxify model in a local folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from expunge.oracles.sequence_classifier import classifier_logits, label_index, label_names, load_classifier


@dataclass(frozen=True)
class Detoxify:
    """The probability of toxicity, by a model of Detoxify (Hanu and Unitary, 2020) in its transformers form.

    The pickled checkpoints of the package detoxify are not loaded, because unpickling runs the code in them.

    Attributes:
        checkpoint: a local folder of `unitary/toxic-bert`, `unitary/unbiased-toxic-roberta` or another with a label `toxic` or `toxicity`.
    """

    checkpoint: Annotated[str, Field(min_length=1)]

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return the probability of toxicity for each text.

        Raises:
            InputError: the folder holds no such classifier.
        """
        model, tokenizer = load_classifier("detoxify.checkpoint", self.checkpoint)
        name = "toxic" if "toxic" in label_names(model).values() else "toxicity"
        label = label_index(model, name, "detoxify.checkpoint")
        # The labels of Detoxify never exclude each other, even if the folder says so.
        return classifier_logits(model, tokenizer, texts).sigmoid()[:, label].tolist()
