"""Load a causal LM and its tokenizer from a hub id, a folder or a GGUF file, without pickled weights and remote code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from expunge.console import SafeConsole
from expunge.data.chat_format import ChatFormat, TemplateRefused
from expunge.data.records import Turn
from expunge.errors import InputError, first_line
from expunge.models.gguf import read_gguf, read_tokenizer
from expunge.models.identity import chat_template_sha256, configuration_sha256, generation_sha256, tokenizer_sha256
from expunge.models.merged_adapter import merge_adapter
from expunge.models.placement import Placement, choose_placement
from expunge.models.quantised import loading_arguments, method_of, settle, stored_in_folder
from expunge.models.sizes import check_sizes
from expunge.models.sources import base_of_adapter, is_adapter, local_model

# `expunge.console` shows progress; a second bar for each file would disturb its display.
disable_progress_bar()

PLAIN_TOKENIZER = {"mistral_format": False}
"""With the package mistral-common, transformers would read Mistral's tokenizers through it: no chat template, and no special tokens."""
OFFLINE = {"trust_remote_code": False, "local_files_only": True}
TOKENIZER_CONFIG = "tokenizer_config.json"

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load(name: str | Path, placement: Placement | None = None) -> Loaded:
    """Load a model and its tokenizer.

    Args:
        name: `smollm2-135m` (the default model), a local folder, a `.gguf` file, or a hub id, with `@revision` or without. The folder may
            hold a LoRA adapter as PEFT stores it, which is merged into its base model.
        placement: device and dtype of the weights; None: chosen for this machine and this model.

    Returns:
        The model in evaluation mode, and the tokenizer, which pads on the left.

    Raises:
        InputError: there is no such model, or it is not a causal LM with safetensors weights and a tokenizer.
    """
    path, placement = local_model(str(name)), placement or choose_placement()
    if placement.quantise is not None and (is_adapter(path) or path.suffix == ".gguf"):
        what = "an adapter, which is merged into unquantised weights" if is_adapter(path) else "a GGUF file"
        raise InputError(f"{name}: is {what}, and cannot be loaded in {placement.quantise}; give a model folder, or leave quantise out")
    if is_adapter(path):
        return _load_merged(str(name), path, placement)
    if path.suffix == ".gguf":
        return _ready(*read_gguf(path, placement))
    try:
        config = AutoConfig.from_pretrained(path, **OFFLINE)
        check_sizes(path, config.to_dict())
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(path, **OFFLINE, **PLAIN_TOKENIZER))
    # A damaged file may raise whatever the libraries did not expect to fail.
    except Exception as error:
        raise InputError(f"{name}: could not be loaded as a causal LM: {first_line(error)}") from error
    return _ready(_read_weights(str(name), path, config, placement), tokenizer)


def load_tokenizer(name: str, template: str | None = None, source: str = "") -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model as `load` does, without the model.

    Args:
        name: as `load` takes it.
        template: a chat template in place of the model's own.
        source: the file of the template.

    Raises:
        InputError: there is no such model, or its tokenizer cannot be used.
    """
    path = local_model(name)
    folder = base_of_adapter(path) if is_adapter(path) and not (path / TOKENIZER_CONFIG).exists() else path
    try:
        tokenizer = (
            read_tokenizer(folder) if folder.suffix == ".gguf" else AutoTokenizer.from_pretrained(folder, **OFFLINE, **PLAIN_TOKENIZER)
        )
    # A damaged file may raise whatever the libraries did not expect to fail.
    except Exception as error:
        raise InputError(f"{name}: its tokenizer could not be read: {first_line(error)}") from error
    tokenizer = cast(PreTrainedTokenizerBase, tokenizer)
    if template is not None:
        tokenizer.chat_template = template
        check_template(tokenizer, source)
    _make_ready(tokenizer)
    return tokenizer


def _read_weights(name: str, path: Path, config: PreTrainedConfig, placement: Placement) -> PreTrainedModel:
    quantised = loading_arguments(name, config, placement)
    try:
        place = placement.for_model(config)
        with _without_pickles():
            model, info = AutoModelForCausalLM.from_pretrained(
                path,
                config=config,
                dtype=place.dtype or "auto",
                **{"device_map": place.device_map, **quantised},
                use_safetensors=True,
                **OFFLINE,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    # A damaged file may raise whatever the libraries did not expect to fail.
    except Exception as error:
        raise InputError(f"{name}: could not be loaded as a causal LM: {first_line(error)}") from error
    # transformers only warns about these weights and initialises them at random.
    if wrong := sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}):
        raise InputError(f"{name}: its safetensors lack {wrong[0]}, or contain it in another shape ({len(wrong)} such weights)")
    if quantised:
        settle(name, model, place.dtype)
    return model


def _load_merged(name: str, folder: Path, placement: Placement) -> Loaded:
    """Load the base model of an adapter and merge the adapter; its tokenizer is used if it has one."""
    base = base_of_adapter(folder)
    if (stored := stored_in_folder(base)) is not None:
        what = f"is a PEFT adapter on {base}, which is stored in {method_of(stored)} and cannot be merged with it exactly"
        raise InputError(f"{name}: {what}; merge the adapter into the unquantised model first")
    model, tokenizer = load(base, placement)
    SafeConsole(stderr=True).print(f"{name} is a PEFT adapter: it is merged into its base model {base}.")
    if (folder / TOKENIZER_CONFIG).exists():
        try:
            tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, **OFFLINE, **PLAIN_TOKENIZER))
        # A damaged file may raise whatever the libraries did not expect to fail.
        except Exception as error:
            raise InputError(f"{folder}: its tokenizer could not be read: {first_line(error)}") from error
    model = merge_adapter(model, folder)
    if len(tokenizer) > (rows := cast(nn.Embedding, model.get_input_embeddings()).num_embeddings):
        raise InputError(f"{folder}: its tokenizer has {len(tokenizer)} tokens, and the model has embeddings for {rows}")
    return _ready(model, tokenizer)


@contextmanager
def _without_pickles() -> Iterator[None]:
    """Refuse pickled weights within this context.

    In spite of `use_safetensors`, transformers opens them where an index of shards, the configuration or an adapter in the model's folder
    names them. There is no other way to forbid that for models of the hub, whose files are not there before they are loaded.
    """

    def refuse(f: object, *_args: object, **_kwargs: object) -> NoReturn:
        raise InputError(f"{f}: pickled weights are not loaded, convert them first")

    load_pickle = torch.load
    try:
        torch.load = refuse
        yield
    finally:
        torch.load = load_pickle


def parts_without_weights(folder: Path, template: str | None = None, base: Path | None = None) -> dict[str, str]:
    """Return the hash of each part of a model folder's `ModelIdentity` but the weights, which are not read.

    Args:
        folder: of a model, or of an adapter.
        template: a chat template that takes the place of the model's.
        base: the folder of the adapter's base model.

    Raises:
        InputError: a file is missing or damaged.
    """
    model = base or folder
    try:
        config = AutoConfig.from_pretrained(model, **OFFLINE)
        tokens = folder if (folder / TOKENIZER_CONFIG).exists() else model
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(tokens, **OFFLINE, **PLAIN_TOKENIZER))
        generation = _generation_defaults(model)
    # A damaged file may raise whatever the libraries did not expect to fail.
    except Exception as error:
        raise InputError(f"{folder}: its configuration or tokenizer could not be read: {first_line(error)}") from error
    tokenizer.chat_template = template or tokenizer.chat_template
    _make_ready(tokenizer)
    return {
        "configuration": configuration_sha256(config, stored_in_folder(model)),
        "tokenizer": tokenizer_sha256(tokenizer),
        "chat_template": chat_template_sha256(tokenizer),
        "generation": generation_sha256(generation),
    }


def _generation_defaults(folder: Path) -> GenerationConfig:
    """Read the generation defaults as loading the model does."""
    try:
        return GenerationConfig.from_pretrained(folder)
    except OSError:
        return GenerationConfig.from_pretrained(folder, config_file_name="config.json", _from_model_config=True)


def check_template(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Raise `InputError` for a chat template that cannot be used; `source` names where it is from."""
    try:
        ChatFormat(tokenizer).prompt((Turn("user", "Who?"),))
    except TemplateRefused as error:
        raise InputError(f"{source}: its chat template fails on a question: {error}") from error


def _make_ready(tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{tokenizer.name_or_path}: its tokenizer has no eos_token, so answers would not end; add it to tokenizer_config.json"
        )
    if not isinstance(tokenizer.model_max_length, int | float):
        raise InputError(f"{tokenizer.name_or_path}: model_max_length in its tokenizer_config.json is not a number")
    check_template(tokenizer, tokenizer.name_or_path)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token


def _ready(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Loaded:
    _make_ready(tokenizer)
    # Sampling defaults of a checkpoint cause warnings in greedy decoding, and sometimes change it.
    model.generation_config.temperature = model.generation_config.top_p = model.generation_config.top_k = None
    model.generation_config.do_sample = False
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer
