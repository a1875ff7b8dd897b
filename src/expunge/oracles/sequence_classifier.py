"""Load a transformers sequence classifier from a local folder and run it: for the oracles `classifier` and `detoxify`."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from expunge.data.prompts import batches_by_length
from expunge.errors import InputError
from expunge.models.blocks import context_length
from expunge.models.sources import check_model_exists

BATCH_SIZE, MAX_TOKENS = 32, 512


@cache
def load_classifier(setting: str, folder: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a sequence classifier and its tokenizer from a local folder; safetensors only, no remote code, no download.

    Raises:
        InputError: the folder holds no such classifier; the message names the setting.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{setting}: {folder} is not a folder; give a local folder with config.json, safetensors and a tokenizer")
    check_model_exists(folder)
    local = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, mistral_format=False, **local))
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **local
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{setting}: {folder} could not be loaded as a classifier: {str(error).strip().splitlines()[0]}") from error
    # transformers only warns of these and initialises them at random: the folder of a language model would get a random head.
    if wrong := sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}):
        raise InputError(f"{setting}: {folder}: its safetensors lack {wrong[0]}, or have it in another shape ({len(wrong)} such weights)")
    if tokenizer.pad_token_id is None:
        raise InputError(f"{setting}: {folder}: its tokenizer has no pad_token; add one to tokenizer_config.json")
    return model.eval(), tokenizer


def label_index(model: PreTrainedModel, label: str | int, setting: str) -> int:
    """Return the index of a label, given its name or its index; raise `InputError` if there is none."""
    labels = label_names(model)
    chosen = [number for number, name in labels.items() if label in (number, name)]
    if not chosen:
        raise InputError(f"{setting}: there is no label {label!r}; there are {', '.join(f'{n} ({name})' for n, name in labels.items())}")
    return chosen[0]


def label_names(model: PreTrainedModel) -> dict[int, str]:
    """Return the names of the labels."""
    return cast(dict[int, str], model.config.id2label)


@torch.no_grad()
def classifier_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """Return the logits of texts, (texts, labels)."""
    max_length = min(MAX_TOKENS, tokenizer.model_max_length, context_length(model) or MAX_TOKENS)
    logits = torch.zeros(len(texts), len(label_names(model)))
    for chosen in batches_by_length(texts, BATCH_SIZE):
        # Some tokenizers add no special tokens, and an empty text would have no tokens at all.
        batch = tokenizer([texts[i] or " " for i in chosen], return_tensors="pt", padding=True, truncation=True, max_length=max_length)
        logits[chosen] = model(**batch).logits
    return logits
