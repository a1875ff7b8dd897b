"""Read the gate of a run on one prompt, as a whole and token by token."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.edits import edit_of
from expunge.edits.active import gate_config, pooled_gate
from expunge.edits.grun.gate import gate_input, token_scores
from expunge.edits.requests import REQUEST
from expunge.errors import InputError
from expunge.models.hidden_states import prompt_gate_logits, prompt_states
from expunge.runs.loaded import OpenedRun


@dataclass(frozen=True)
class GateReading:
    """The output of a gate for one prompt.

    Attributes:
        logit: of the gate; with gates at several blocks the largest.
        threshold: at which a calibrated gate opens; None for a soft gate, whose edit acts with strength sigmoid(logit).
        tokens: (text, score) of each prompt token, in order; empty for a gate that reads the last token only.
    """

    logit: float
    threshold: float | None
    tokens: list[tuple[str, float]]

    @property
    def description(self) -> str:
        """What the gate does with the prompt, as the end of a sentence that begins with "The gate"."""
        if self.threshold is None:
            return f"is open by {1 / (1 + math.exp(-self.logit)):.0%} (logit {self.logit:.2f})"
        opens = self.logit >= self.threshold
        effect = "opens: the edit acts" if opens else "stays closed: the edit changes nothing, bit for bit"
        return f"{effect} (logit {self.logit:.2f}, threshold {self.threshold:.2f})"


def check_gated(run: OpenedRun) -> None:
    """Raise `InputError` for a run whose edit has no gate."""
    recipe = run.recipe
    if not edit_of(recipe).gated:
        raise InputError(f"{run.folder}: its edit ({'a release' if recipe.release else recipe.edit.name}) has no gate")


def read_gate(model: nn.Module, builder: PromptBuilder, ids: tuple[int, ...]) -> GateReading:
    """Run a gate on one prompt.

    Args:
        model: with a GRUN edit.
        builder: of its tokenizer.
        ids: the prompt's token ids.
    """
    config = gate_config(model, REQUEST)
    logit = prompt_gate_logits(model, [ids], REQUEST, config.last_gate, builder.pad).item()
    if not config.pooled:
        return GateReading(logit, config.threshold, [])
    gate = pooled_gate(model, REQUEST)
    states = prompt_states(model, [ids], list(gate), builder.pad)
    with torch.no_grad():
        devices = {block: parts["grun_gate"].weight.device for block, parts in gate.items()}
        inputs = {block: gate_input(states[block][0], config.gate_layer_norm).to(device) for block, device in devices.items()}
        scores = torch.stack([token_scores(gate[block], tokens).cpu() for block, tokens in inputs.items()]).mean(0).tolist()
    texts = [cast(str, builder.tokenizer.decode([token])) for token in ids]
    return GateReading(logit, config.threshold, list(zip(texts, scores, strict=True)))
