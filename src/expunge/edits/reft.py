"""The `reft` edit: a low-rank intervention on hidden states (LoReFT; Wu et al., 2024, arXiv 2404.03592)."""

from typing import Any, cast

from peft import PeftModel
from torch import nn
from transformers import PreTrainedConfig

from expunge.config import EditSection
from expunge.edits.base import PeftEdit
from expunge.edits.grun.config import ReftConfig
from expunge.edits.requests import REQUEST
from expunge.models.blocks import decoder_blocks

RANK = 4


class Reft(PeftEdit):
    """Change the outputs of some decoder blocks, for every prompt."""

    name = "reft"
    description = "a low-rank intervention on hidden states, always on (LoReFT)"
    epochs = 20
    most_steps = 250
    lr = 4e-3
    edits_block_outputs = True

    def config(self, model: nn.Module, settings: EditSection, base_sha256: str = "") -> ReftConfig:
        """Return the adapter's configuration, resolved for the model; raise `ValueError` if it does not fit."""
        config = ReftConfig(rank=settings.rank or RANK, positions=settings.positions or "last_prompt", **shared(settings, base_sha256))
        config.resolve(*depth_and_width(model))
        return config

    def blocks(self, model: nn.Module) -> tuple[int, ...]:
        """Return the blocks that the model's trained adapter edits."""
        return tuple(cast(ReftConfig, cast(PeftModel, model).peft_config[REQUEST]).blocks or ())


def shared(settings: EditSection, base_sha256: str) -> dict[str, Any]:
    """Return the fields that the configurations of ReFT and GRUN copy from the settings."""
    return {"blocks": settings.blocks, "base_sha256": base_sha256}


def depth_and_width(model: nn.Module) -> tuple[int, int]:
    """Return a base model's number of blocks and its hidden size."""
    return len(decoder_blocks(model)[1]), cast(PreTrainedConfig, model.config).get_text_config().hidden_size
