"""The oracle `classifier`: the probability of a label, by a transformers classifier in a local folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from expunge.errors import InputError
from expunge.oracles.sequence_classifier import classifier_logits, label_index, label_names, load_classifier

_MULTI_LABEL, _REGRESSION = "multi_label_classification", "regression"


@dataclass(frozen=True)
class Classifier:
    """The probability of a label, from the first 512 tokens of a text.

    Labels exclude each other (softmax) unless the folder's `problem_type` is multi-label or there is only one (sigmoid).

    Attributes:
        folder: a local folder with a sequence classifier and its tokenizer.
        label: its name in the folder's `id2label`, or its number.
    """

    folder: Annotated[str, Field(min_length=1)]
    label: str | int

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return the label's probability for each text.

        Raises:
            InputError: the folder holds no such classifier, or the classifier has no such label.
        """
        model, tokenizer = load_classifier("classifier.folder", self.folder)
        label, config = label_index(model, self.label, "classifier.label"), model.config
        if config.problem_type == _REGRESSION:
            raise InputError(f"classifier.folder: {self.folder} is a regression model, which gives no probabilities")
        independent = config.problem_type == _MULTI_LABEL or len(label_names(model)) == 1
        logits = classifier_logits(model, tokenizer, texts)
        return (logits.sigmoid() if independent else logits.softmax(-1))[:, label].tolist()
