"""`ModelIdentity`: hashes of everything in a model and its tokenizer that changes an answer."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging

from expunge.errors import WrongBase

UNUSED_BY_ANSWERS = (
    *("_name_or_path", "_model_name_or_path", "_commit_hash", "transformers_version", "architectures", "auto_map", "dtype"),
    *("id2label", "label2id", "problem_type", "return_dict", "output_attentions", "output_hidden_states"),
    *("quantization_config", "_is_quantized"),
)
"""Fields of a configuration that say where a model comes from, or what a classifier or a caller gets; no answer depends on them.

Loading changes the last two, and differently on each machine: a quantised checkpoint counts as its config.json describes it.
"""
UNUSED_BY_GREEDY_DECODING = (
    *("_from_model_config", "transformers_version", "pad_token_id", "use_cache", "cache_implementation", "cache_config"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate", "num_return_sequences"),
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
)
"""Generation defaults that change sampled answers only, or none. Loading resets some of them, and expunge never samples by them."""
TOKENIZER_SETTINGS = (
    *("split_special_tokens", "padding_side", "clean_up_tokenization_spaces"),
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
)
UNUSED_BY_SLOW_TOKENIZERS = (
    *("name_or_path", "is_local", "local_files_only", "backend", "chat_template", "model_max_length", "tokenizer_class", "auto_map"),
    *("added_tokens_decoder", "processor_class", "vocab_file", "merges_file", "tokenizer_file", "spm_file", "source_spm", "target_spm"),
)
"""Arguments of a tokenizer written in Python that name its files, whose content is hashed, or that change no token."""


@dataclass(frozen=True)
class ModelIdentity:
    """Hashes (SHA-256, hex) of everything that changes an answer of a model, part by part.

    Attributes:
        checkpoint: of the weights: names, shapes, dtypes and bytes of the tensors as they are stored, with the edits that the model
            carries. It does not depend on the dtype that the model is loaded in.
        configuration: of the architecture, such as `rope_theta`.
        tokenizer: vocabulary, merges, normaliser, special tokens and settings.
        chat_template: the template, or the templates by name.
        generation: the generation defaults that greedy decoding follows, such as the tokens that end an answer.
    """

    checkpoint: str
    configuration: str
    tokenizer: str
    chat_template: str
    generation: str

    @property
    def parts(self) -> dict[str, str]:
        """The hash of each part, by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def sha256(self) -> str:
        """The hash of all parts."""
        return _hash(self.parts)

    def differences(self, other: "ModelIdentity") -> list[str]:
        """Return the names of the parts in which two models differ, as words."""
        return [part_name(name) for name, sha256 in self.parts.items() if sha256 != other.parts[name]]

    @classmethod
    def from_parts(cls, parts: object) -> Self | None:
        """Return the identity with these parts, as read from a file; None if a part is missing or is not a text."""
        names = {field.name for field in fields(cls)}
        if not isinstance(parts, Mapping) or set(parts) != names or not all(isinstance(sha256, str) for sha256 in parts.values()):
            return None
        return cls(**parts)


def check_same_base(subject: str, trained_on: ModelIdentity, identity: ModelIdentity) -> None:
    """Raise `WrongBase`, which names the parts, if a model differs from the one that something was trained on.

    Args:
        subject: what was trained, for the sentence.
        trained_on: the recorded model.
        identity: of the model that is there now.
    """
    if names := trained_on.differences(identity):
        listed = " and ".join([part for part in (", ".join(names[:-1]), names[-1]) if part])
        raise WrongBase(f"{subject}: was trained on another base model; this one differs in its {listed}")


def recorded_identity(parts: Mapping[str, str]) -> str | None:
    """Return the hash of the recorded parts of a model; None if they are not all parts and nothing else.

    Earlier versions called the part `checkpoint` by the name `weights`, and hashed the weights in memory.
    """
    names = {field.name for field in fields(ModelIdentity)}
    return _hash(parts) if set(parts) in (names, names - {"checkpoint"} | {"weights"}) else None


def part_name(part: str) -> str:
    """Return the name of a part of an identity in words."""
    return {"checkpoint": "weights", "chat_template": "chat template", "generation": "generation defaults"}.get(part, part)


def identify(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, checkpoint: str, quantisation: Mapping[str, Any] | None = None
) -> ModelIdentity:
    """Return the identity of a model as `expunge.models.loading.load` returns it.

    Args:
        model: as it was loaded.
        tokenizer: of the model.
        checkpoint: the hash of the checkpoint, from `expunge.models.checkpoint.checkpoint_sha256`; `weights_sha256` of a model that
            comes from no file.
        quantisation: see `configuration_sha256`.
    """
    loaded = cast(PreTrainedModel, model)
    return ModelIdentity(
        checkpoint=checkpoint,
        configuration=configuration_sha256(loaded.config, quantisation),
        tokenizer=tokenizer_sha256(tokenizer),
        chat_template=chat_template_sha256(tokenizer),
        generation=generation_sha256(cast(GenerationConfig, loaded.generation_config)),
    )


def with_edits(checkpoint: str, manifests: Sequence[str]) -> str:
    """Return the hash of a checkpoint with edits on it.

    Args:
        checkpoint: the hash of the checkpoint alone.
        manifests: the SHA-256 of each edit's manifest, in the order in which they were added.
    """
    return _hash({"checkpoint": checkpoint, "edits": list(manifests)}) if manifests else checkpoint


def weights_sha256(model: nn.Module) -> str:
    """Return the SHA-256 of the names, shapes, dtypes and bytes of a model's parameters and persistent buffers in memory."""
    tensors = sorted(model.state_dict().items())
    # hashlib releases the interpreter's lock, so that threads hash as many tensors at once as there are cores.
    with ThreadPoolExecutor() as pool:
        return _hash(list(pool.map(_tensor_facts, tensors)))


def configuration_sha256(config: PreTrainedConfig, quantisation: Mapping[str, Any] | None = None) -> str:
    """Return the hash of all fields that differ from the architecture's defaults, without `UNUSED_BY_ANSWERS`.

    Args:
        config: of the model.
        quantisation: the `quantization_config` in the checkpoint's config.json, if it is stored quantised.
    """
    stored = {} if quantisation is None else {"quantization_config": dict(quantisation)}
    return _hash({"model_type": config.model_type, **_differing(_plain(config), _defaults(type(config))), **stored})


def generation_sha256(config: GenerationConfig) -> str:
    """Return the hash of the generation defaults that are set, without `UNUSED_BY_GREEDY_DECODING`."""
    return _hash({name: value for name, value in _plain(config).items() if value is not None and name not in UNUSED_BY_GREEDY_DECODING})


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the hash of everything that turns texts into tokens and back, without the chat template."""
    added = {str(number): repr(token) for number, token in tokenizer.added_tokens_decoder.items()}
    facts = {
        "class": type(tokenizer).__name__,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "added": added,
        "settings": {name: getattr(tokenizer, name) for name in TOKENIZER_SETTINGS},
    }
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        return _hash([facts, _backend_sha256(tokenizer)])
    arguments = {name: repr(value) for name, value in tokenizer.init_kwargs.items() if name not in UNUSED_BY_SLOW_TOKENIZERS}
    return _hash([facts, tokenizer.get_vocab(), arguments, _vocabulary_files(tokenizer)])


def chat_template_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the hash of the chat template, of all templates if there are several, or of their absence."""
    return _hash(tokenizer.chat_template)


def _backend_sha256(tokenizer: PreTrainedTokenizerFast) -> str:
    # Every call of the tokenizer sets both anew, so they change no token, but the serialised form contains them.
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return hashlib.sha256(backend.to_str().encode()).hexdigest()


def _vocabulary_files(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the hashes of the files that a tokenizer written in Python saves: merges and sentencepiece models are nowhere else."""
    with TemporaryDirectory() as folder:
        written = tokenizer.save_vocabulary(folder) or ()
        return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in written]


def _tensor_facts(named: tuple[str, Tensor]) -> list[str]:
    name, tensor = named
    raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    digest = hashlib.sha256()
    digest.update(raw.data)
    return [name, str(tuple(tensor.shape)), str(tensor.dtype), digest.hexdigest()]


@cache
def _defaults(architecture: type[PreTrainedConfig]) -> dict[str, Any]:
    """Return the default configuration of an architecture; nothing for one that has no valid default."""
    verbosity = logging.get_verbosity()
    # The defaults of some architectures do not fit each other, of which transformers warns.
    logging.set_verbosity_error()
    try:
        return _plain(architecture())
    except (TypeError, ValueError, StrictDataclassError):
        return {}
    finally:
        logging.set_verbosity(verbosity)


def _plain(config: PreTrainedConfig | GenerationConfig) -> dict[str, Any]:
    return json.loads(config.to_json_string(use_diff=False))


def _differing(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that differ from the defaults, so that a later library's new fields do not make another model."""
    differing: dict[str, Any] = {}
    for name in {**defaults, **config}:
        value, default = config.get(name), defaults.get(name)
        if name in UNUSED_BY_ANSWERS or value == default:
            continue
        differing[name] = _differing(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
    return differing


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
