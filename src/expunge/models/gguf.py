"""Read a GGUF file as an ordinary transformers model."""

from pathlib import Path
from typing import cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from expunge.errors import InputError
from expunge.models.sizes import check_gguf_sizes


def read_gguf(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read and dequantise a GGUF file; the model can be trained and saved as safetensors.

    Raises:
        InputError: the file is not a GGUF file of a known architecture.
    """
    check_gguf_sizes(path)
    try:
        source = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name))
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
    return model, tokenizer
