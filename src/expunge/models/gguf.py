"""Read a GGUF file as an ordinary transformers model."""

from pathlib import Path
from typing import cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from expunge.errors import InputError
from expunge.models.placement import Placement
from expunge.models.sizes import check_gguf_sizes


def read_gguf(path: Path, placement: Placement) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read and dequantise a GGUF file; the model can be trained and saved as safetensors.

    Args:
        path: of the file.
        placement: a GGUF file names no dtype, so that its weights are in bf16 where the dtype of a checkpoint would be used. They are
            dequantised in main memory.

    Raises:
        InputError: the file is not a GGUF file of a known architecture.
    """
    check_gguf_sizes(path)
    # Dequantising takes the memory of fp32 weights, so that none is saved where it is short.
    dtype = placement.dtype or torch.bfloat16
    try:
        source = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
        tokenizer = read_tokenizer(path)
    # A damaged file may raise whatever the libraries did not expect to fail.
    except Exception as error:
        raise InputError(f"{path}: could not be read as a GGUF model: {next(iter(str(error).strip().splitlines()), 'damaged')}") from error
    config = source.config
    # Trainers and save_pretrained refuse a model with a quantisation config, although the weights are not quantised any more.
    if "quantization_config" in config.__dict__:
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(source.state_dict())
    model.tie_weights()
    return (model if placement.sharded else model.to(placement.device)), tokenizer


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a GGUF file as transformers reads it."""
    return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, mistral_format=False))
