"""Read a saved PEFT adapter, checked against its manifest, and put it on a model. Only safetensors are opened; nothing is downloaded.

PEFT's own loader is not used: without safetensors it opens pickled weights, it looks for missing files on the hub, and tensors that a
file lacks stay at their random first values.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, PeftModelForCausalLM, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from expunge.documents import one_sentence, read_json
from expunge.edits.grun import GrunConfig, ReftConfig
from expunge.edits.manifest import ADAPTER_CONFIG, check_manifest, read_tensors
from expunge.errors import InputError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
CONFIGS: dict[str, type[PeftConfig]] = {"LORA": LoraConfig, "REFT": ReftConfig, "GRUN": GrunConfig}
"""The configuration class of each type of adapter that is loaded."""


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter as read from its folder.

    Attributes:
        folder: where it was read.
        recorded: the SHA-256 of its manifest that was recorded elsewhere, if any.
        config: its PEFT configuration.
        tensors: by the names in the file.
    """

    folder: Path
    recorded: str | None
    config: PeftConfig
    tensors: dict[str, Tensor]


def read_adapter(folder: Path, recorded: str | None = None) -> SavedAdapter:
    """Read an adapter that `expunge.edits.save.save_edit` or a release wrote.

    Args:
        folder: with a manifest.
        recorded: see `expunge.edits.manifest.check_manifest`.

    Raises:
        InputError: a file is damaged, or the folder holds something else.
    """
    check_manifest(folder, recorded)
    config = _config(folder / ADAPTER_CONFIG)
    return SavedAdapter(folder, recorded, config, read_tensors(folder / ADAPTER_WEIGHTS))


def put_on(model: nn.Module, adapter: SavedAdapter, name: str) -> PeftModel:
    """Add a saved adapter to a model, frozen, under a name, and return the model.

    Args:
        model: a causal LM, or one that carries other adapters; changed in place.
        adapter: as `read_adapter` returned it.
        name: of the new adapter.

    Raises:
        InputError: the file does not have exactly the tensors that the configuration calls for, or it changed while it was read.
    """
    adapter.config.inference_mode = True
    try:
        if isinstance(model, PeftModel):
            model.add_adapter(name, adapter.config)
        else:
            model = PeftModelForCausalLM(model, adapter.config, adapter_name=name)
    # On a crafted configuration PEFT fails in any way: it checks few of its settings.
    except Exception as error:
        raise InputError(f"{adapter.folder / ADAPTER_CONFIG}: does not fit this model: {one_sentence(error)}") from error
    _check_tensors(model, adapter, name)
    set_peft_model_state_dict(model, adapter.tensors, adapter_name=name)
    # The tensors were read from the file when they were copied, so only now is it known that they are the recorded ones.
    check_manifest(adapter.folder, adapter.recorded)
    return model.eval()


def _check_tensors(model: PeftModel, adapter: SavedAdapter, name: str) -> None:
    expected = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    where = adapter.folder / ADAPTER_WEIGHTS
    if missing := sorted(expected.keys() - adapter.tensors.keys()):
        raise InputError(f"{where}: lacks {missing[0]}, which {ADAPTER_CONFIG} calls for")
    if unknown := sorted(adapter.tensors.keys() - expected.keys()):
        raise InputError(f"{where}: has {unknown[0]}, which {ADAPTER_CONFIG} does not call for")
    if other := sorted(key for key, tensor in expected.items() if tensor.shape != adapter.tensors[key].shape):
        raise InputError(f"{where}: {other[0]} does not have the shape that {ADAPTER_CONFIG} calls for on this model")


def _config(path: Path) -> PeftConfig:
    if not path.exists():
        raise InputError(f"{path.parent}: no adapter there (it has no {ADAPTER_CONFIG})")
    settings = read_json(path, dict[str, Any])
    kind = settings.get("peft_type")
    if not isinstance(kind, str) or kind not in CONFIGS:
        raise InputError(f"{path}: peft_type: must be one of {', '.join(CONFIGS)}, this is {kind!r}")
    # Nothing here trains such an adapter, and PEFT reads this setting only when the model answers.
    if settings.get("alora_invocation_tokens") is not None:
        raise InputError(f"{path}: alora_invocation_tokens: an adapter that acts from certain tokens on is not loaded")
    try:
        return CONFIGS[kind](**settings)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: is not the configuration of an adapter: {error}") from error
