"""What a gate says of one prompt, as a whole and token by token."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from peft import PeftModel
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.edits import edit_of
from expunge.edits.active import pooled_gate
from expunge.edits.grun.config import GrunConfig
from expunge.edits.grun.gate import as_read, gate_scores
from expunge.edits.requests import REQUEST
from expunge.errors import InputError
from expunge.models.hidden_states import prompt_gate_logits, prompt_states
from expunge.runs.folder import Run


@dataclass(frozen=True)
class Look:
    """A gate's word on a prompt.

    Attributes:
        logit: the gate's; of gates at several blocks the largest.
        threshold: at which a calibrated gate opens; none for a soft one, whose edit acts with the strength sigmoid(logit).
        tokens: (text, score) of each prompt token, in order; empty for a gate that reads the last token alone.
    """

    logit: float
    threshold: float | None
    tokens: list[tuple[str, float]]

    @property
    def word(self) -> str:
        """What becomes of the prompt."""
        if self.threshold is None:
            return f"is open by {1 / (1 + math.exp(-self.logit)):.0%} (logit {self.logit:.2f})"
        said = "opens: the edit acts" if self.logit >= self.threshold else "stays closed: the edit changes nothing, bit for bit"
        return f"{said} (logit {self.logit:.2f}, threshold {self.threshold:.2f})"


def check_gated(run: Run) -> None:
    """Raise `InputError` for a run whose edit has no gate."""
    recipe = run.recipe
    if not edit_of(recipe).gated:
        raise InputError(f"{run.folder}: its edit ({'a release' if recipe.release else recipe.edit.name}) has no gate")


def look_at(model: nn.Module, builder: PromptBuilder, ids: tuple[int, ...]) -> Look:
    """Ask a gate about one prompt.

    Args:
        model: with a GRUN edit.
        builder: of its tokenizer.
        ids: the prompt's token ids.
    """
    config = cast(GrunConfig, cast(PeftModel, model).peft_config[REQUEST])
    logit = prompt_gate_logits(model, [ids], REQUEST, config.last_gate, builder.pad).item()
    if not config.pooled:
        return Look(logit, config.threshold, [])
    gate = pooled_gate(model, REQUEST)
    states = prompt_states(model, [ids], list(gate), builder.pad)
    with torch.no_grad():
        places = {block: parts["grun_gate"].weight.device for block, parts in gate.items()}
        read = {block: as_read(states[block][0], config.gate_layer_norm).to(place) for block, place in places.items()}
        scores = torch.stack([gate_scores(gate[block], own).cpu() for block, own in read.items()]).mean(0).tolist()
    return Look(
        logit, config.threshold, [(cast(str, builder.tokenizer.decode([token])), said) for token, said in zip(ids, scores, strict=True)]
    )
