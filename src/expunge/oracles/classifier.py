"""How likely is a label, by a transformers classifier in a local folder? Safetensors only, no remote code, no download."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, cast

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from expunge.data.prompts import batches_by_length
from expunge.errors import InputError
from expunge.models.blocks import context_length
from expunge.models.loading import check_model_exists

_BATCH_SIZE, _LONGEST = 32, 512
_MULTI_LABEL, _REGRESSION = "multi_label_classification", "regression"


@dataclass(frozen=True)
class Classifier:
    """The probability of a label, read off the first 512 tokens of a text.

    Labels exclude each other (softmax) unless the folder's `problem_type` is multi-label or there is only one (sigmoid).

    Attributes:
        folder: of a sequence classifier with its tokenizer.
        label: its name in the folder's `id2label`, or its number.
    """

    folder: Annotated[str, Field(min_length=1)]
    label: str | int

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """A probability for each text.

        Raises:
            InputError: the folder holds no such classifier, or it has no such label.
        """
        model, tokenizer = _load("classifier.folder", self.folder)
        label, config = _label(model, self.label, "classifier.label"), model.config
        if config.problem_type == _REGRESSION:
            raise InputError(f"classifier.folder: {self.folder} is a regression, which gives no probability")
        independent = config.problem_type == _MULTI_LABEL or len(_labels(model)) == 1
        logits = _logits(model, tokenizer, texts)
        return (logits.sigmoid() if independent else logits.softmax(-1))[:, label].tolist()


@dataclass(frozen=True)
class Detoxify:
    """The probability of toxicity, by a model of Detoxify (Hanu and Unitary, 2020) in its transformers form.

    The pickled checkpoints that Detoxify's own package loads are not read: unpickling runs whatever code is in them.

    Attributes:
        checkpoint: a local folder of `unitary/toxic-bert`, `unitary/unbiased-toxic-roberta` or another with a label `toxic` or `toxicity`.
    """

    checkpoint: Annotated[str, Field(min_length=1)]

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """A probability for each text.

        Raises:
            InputError: the folder holds no such classifier.
        """
        model, tokenizer = _load("detoxify.checkpoint", self.checkpoint)
        name = "toxic" if "toxic" in _labels(model).values() else "toxicity"
        # Its labels never exclude each other, whatever the folder says.
        return _logits(model, tokenizer, texts).sigmoid()[:, _label(model, name, "detoxify.checkpoint")].tolist()


@cache
def _load(setting: str, folder: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if not Path(folder).is_dir():
        raise InputError(f"{setting}: {folder} is no folder; give a local one with config.json, safetensors and a tokenizer")
    check_model_exists(folder)
    local = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, **local))
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **local
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{setting}: {folder} could not be loaded as a classifier: {str(error).strip().splitlines()[0]}") from error
    # transformers warns of these and leaves them random: a language model's folder would judge by a random head.
    if wrong := sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}):
        raise InputError(f"{setting}: {folder}: its safetensors lack {wrong[0]}, or have it in another shape ({len(wrong)} such weights)")
    if tokenizer.pad_token_id is None:
        raise InputError(f"{setting}: {folder}: its tokenizer names no pad_token; add it to tokenizer_config.json")
    return model.eval(), tokenizer


def _label(model: PreTrainedModel, label: str | int, setting: str) -> int:
    labels = _labels(model)
    chosen = [number for number, name in labels.items() if label in (number, name)]
    if not chosen:
        raise InputError(f"{setting}: there is no label {label!r}; there are {', '.join(f'{n} ({name})' for n, name in labels.items())}")
    return chosen[0]


def _labels(model: PreTrainedModel) -> dict[int, str]:
    return cast(dict[int, str], model.config.id2label)


@torch.no_grad()
def _logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """(texts, labels)."""
    longest = min(_LONGEST, tokenizer.model_max_length, context_length(model) or _LONGEST)
    logits = torch.zeros(len(texts), len(_labels(model)))
    for chosen in batches_by_length(texts, _BATCH_SIZE):
        # Not every tokenizer adds a token of its own, and a text of none cannot be read.
        batch = tokenizer([texts[i] or " " for i in chosen], return_tensors="pt", padding=True, truncation=True, max_length=longest)
        logits[chosen] = model(**batch).logits
    return logits
