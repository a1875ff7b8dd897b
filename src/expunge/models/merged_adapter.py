"""Merge a PEFT adapter into its base model, where a model's name is the folder of an adapter."""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel

from expunge.documents import read_json
from expunge.errors import InputError, first_line
from expunge.models.sources import ADAPTER_CONFIG, ADAPTER_WEIGHTS

WITHOUT_EFFECT = ("base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping")
"""Fields of an adapter's configuration that say where its base is, or who made it."""
OF_ADAPTERS = ("lora_", "modules_to_save")
"""Parts of the names of weights that an adapter brings."""


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Merge a LoRA adapter into its base model, in place, and return the model.

    Raises:
        InputError: it is no LoRA adapter, it does not fit the model, or a merged weight is not finite.
    """
    kind = read_json(folder / ADAPTER_CONFIG, dict[str, Any]).get("peft_type")
    if kind != "LORA":
        raise InputError(f"{folder / ADAPTER_CONFIG}: peft_type is {kind!r}; only LoRA adapters can be merged, so merge it with PEFT first")
    try:
        adapted = PeftModel(model, LoraConfig.from_pretrained(str(folder)))
        result = set_peft_model_state_dict(adapted, load_file(folder / ADAPTER_WEIGHTS))
        lacking = [name for name in result.missing_keys if any(part in name for part in OF_ADAPTERS)]
        if wrong := sorted({*lacking, *result.unexpected_keys}):
            raise InputError(f"{folder / ADAPTER_WEIGHTS}: does not fit its configuration and base model ({wrong[0]})")
        merged = cast(PreTrainedModel, adapted.merge_and_unload(safe_merge=True))
    except InputError:
        raise
    # A damaged adapter may raise whatever the library did not expect to fail.
    except Exception as error:
        raise InputError(f"{folder}: could not be merged into its base model: {first_line(error)}") from error
    # PEFT froze the base model; a model that was loaded from one folder is not frozen.
    return merged.requires_grad_(True)


def with_adapter(checkpoint: str, folder: Path, tensors: str) -> str:
    """Return the hash of a checkpoint with an adapter merged into it.

    Args:
        checkpoint: the hash of the base model's checkpoint.
        folder: of the adapter.
        tensors: the hash of its tensors.
    """
    given = read_json(folder / ADAPTER_CONFIG, dict[str, Any])
    configuration = {name: value for name, value in given.items() if name not in WITHOUT_EFFECT and value is not None}
    parts = {"checkpoint": checkpoint, "adapter": tensors, "configuration": configuration}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
