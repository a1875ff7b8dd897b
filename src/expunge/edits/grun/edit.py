"""The `grun` edit: ReFT behind a gate that opens for forget prompts only (Ren et al., 2025, arXiv 2502.17823)."""

from torch import nn

from expunge.config import EditSection
from expunge.edits.grun.config import GrunConfig
from expunge.edits.reft import Reft, depth_and_width, shared

RANK, POOLED_RANK = 4, 8


class Grun(Reft):
    """Change the outputs of some decoder blocks, for the prompts that a gate opens for."""

    name = "grun"
    description = "ReFT behind a gate that opens for forget prompts only (GRUN)"
    gated = True

    def config(self, model: nn.Module, settings: EditSection, base_sha256: str = "") -> GrunConfig:
        """Return the adapter's configuration, resolved for the model; raise `ValueError` if it does not fit."""
        pooled = has_pooled_gate(settings)
        if settings.answer_gate and not self.trains_gate_first(settings):
            raise ValueError("answer_gate needs a gate that is trained before the edit: leave out gate_first: false and gate_pool: last")
        config = GrunConfig(
            rank=settings.rank or (POOLED_RANK if pooled else RANK),
            positions=settings.positions or ("onward" if pooled else "last_prompt"),
            gate=settings.gate or "linear",
            gate_pool=settings.gate_pool or "top2",
            gate_blocks=settings.gate_blocks,
            gate_layer_norm=settings.gate_layer_norm,
            answer_gate=settings.answer_gate,
            **shared(settings, base_sha256),
        )
        config.resolve(*depth_and_width(model))
        return config

    def trains_gate_first(self, settings: EditSection) -> bool:
        """Return whether the gate is trained and calibrated before the rest of the edit, which needs a pooled gate."""
        return has_pooled_gate(settings) and settings.gate_first is not False


def has_pooled_gate(settings: EditSection) -> bool:
    """Return whether one gate reads the whole prompt."""
    return settings.gate_pool != "last"
