"""Text embeddings for the diversity of responses: hidden states of the target, an encoder in a folder, or a user's own embedder."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from expunge.data.prompts import PromptBuilder, batches_by_length
from expunge.data.texts import neutral_instructions
from expunge.errors import InputError
from expunge.models.blocks import context_length, decoder_blocks
from expunge.models.hidden_states import prompt_states
from expunge.models.sources import check_model_exists

BATCH_SIZE, MAX_TOKENS = 32, 512


@runtime_checkable
class Embedder(Protocol):
    """Maps texts to vectors; similar texts get similar directions."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings, (texts, dim); a row depends only on its text."""
        ...


@dataclass(frozen=True)
class Encoder:
    """Embeds by a transformers encoder, such as a sentence-transformers model: the mean of the last states of the first 512 tokens.

    Attributes:
        folder: a local folder with safetensors and a tokenizer; nothing is downloaded, and no remote code is run.
    """

    folder: str

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings, (texts, hidden), fp32.

        Raises:
            InputError: the folder holds no such model.
        """
        model, tokenizer = _load(self.folder)
        rows = torch.empty(len(texts), model.config.hidden_size)
        for chosen in batches_by_length(texts, BATCH_SIZE):
            batch = tokenizer([texts[i] for i in chosen], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            mask = cast(Tensor, batch["attention_mask"])[..., None]
            states = model(**batch).last_hidden_state
            rows[chosen] = (states * mask).sum(1) / mask.sum(1)
        return rows


def make_embedder(given: str | Embedder) -> Embedder:
    """Return an embedder, given the folder of an encoder, or an object with the method `embed`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(given, Embedder):
        return given
    if not isinstance(given, str) or not given:
        raise ValueError("give the folder of an encoder, or from Python an object with a method embed(texts)")
    return Encoder(given)


def as_plain_embedder(embedder: Embedder | None) -> str | None:
    """Return what a recipe file saves: the folder, or the class of a user's own embedder, which cannot be read back."""
    if embedder is None:
        return None
    return embedder.folder if isinstance(embedder, Encoder) else f"{type(embedder).__module__}.{type(embedder).__qualname__}"


class StateEmbedder:
    """Embeds by the hidden states of a causal LM, so that no second model is needed.

    An embedding is the mean over the text's tokens of their normalised states after the last block. Without normalisation the first
    state, which is many times longer than the others (an attention sink), would encode the length of the text. The states of one model
    have similar directions, and a few dimensions dominate. So each dimension is centred and scaled by its mean and standard deviation
    over the shipped neutral instructions.
    """

    def __init__(self, model: nn.Module, builder: PromptBuilder):
        """Compute mean and standard deviation over the neutral instructions.

        Args:
            model: a causal LM; make a new embedder if its weights change.
            builder: of its tokenizer.
        """
        self._model, self._builder = model, builder
        self._last_block = len(decoder_blocks(model)[1]) - 1
        neutral = torch.cat(self._states(neutral_instructions()))
        self._centre, deviation = neutral.mean(0, keepdim=True), neutral.std(0)
        self._scale = torch.where(deviation > 0, deviation, 1.0)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings, (texts, hidden), fp32, in main memory.

        Tokens beyond the model's context are not read. An empty text gets the embedding of the end-of-turn token.
        """
        states = torch.cat((self._centre[:0], *self._states(texts)))
        return (states - self._centre) / self._scale

    def _states(self, texts: Sequence[str]) -> list[Tensor]:
        max_tokens = context_length(self._model) or sys.maxsize
        ids = [self._builder.plain_text(text)[:max_tokens] or (self._builder.end_of_turn,) for text in texts]
        return prompt_states(self._model, ids, [self._last_block], self._builder.pad, transform=_mean_direction)[self._last_block]


def _mean_direction(states: Tensor) -> Tensor:
    """(tokens, hidden) -> (1, hidden)."""
    return normalize(states.float(), dim=-1).mean(0, keepdim=True)


@cache
def _load(folder: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if not Path(folder).is_dir():
        raise InputError(f"reveal.embedder: {folder} is not a folder; give a local folder, or from Python your own object")
    check_model_exists(folder)
    local: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, mistral_format=False, **local))
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **local)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"reveal.embedder: {folder} could not be loaded: {str(error).strip().splitlines()[0]}") from error
    return cast(PreTrainedModel, model.eval()), tokenizer
