"""Gate first: a pooled gate trained alone on frozen states, at some blocks, weighed and calibrated, before suppression."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from expunge.config import Augmentation, EditSection, GatePool
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.edits import edit_named
from expunge.edits.active import pooled_gate
from expunge.edits.apply import apply_edit
from expunge.edits.base import PeftEdit
from expunge.edits.grun.config import GrunConfig
from expunge.edits.grun.gate import Parts, as_read, new_gate
from expunge.edits.requests import REQUEST
from expunge.gating.paraphrase import own_paraphrases
from expunge.gating.train import Threshold, calibrate, gate_logits, give_up, train_gate
from expunge.gating.training_prompts import GatePrompts, gate_prompts
from expunge.models.blocks import context_length, decoder_blocks
from expunge.models.hidden_states import prompt_states
from expunge.runs.splits import Sets, draw

MINED = 0.25
"""Share of the pool that is hard enough to learn from."""
CHECK_SCALE = 0.1
"""By how much better a block validates, in nats, for what it says to count e times as much."""
HEIGHTS = (8 / 30, 11 / 30, 14 / 30)
"""Where a gate reads, as shares of the depth; never above the first edited block."""


@dataclass(frozen=True)
class FittedGate:
    """A trained and calibrated gate.

    Attributes:
        gate: its parts, by the block that they read.
        threshold: at which it opens.
        coverage: share of the forget prompts, as they are given, that it opens for.
    """

    gate: dict[int, Parts]
    threshold: Threshold
    coverage: float


def fit_gate(
    model: nn.Module,
    builder: PromptBuilder,
    sets: Sets,
    edit: EditSection,
    seed: int,
    advance: Callable[[int], None],
    expect: Callable[[int], None] = lambda total: None,
) -> FittedGate:
    """Train the gate of an edit on frozen states and calibrate it.

    It learns from forget and retain prompts in several dresses, from strangers and from neutral instructions, and is calibrated on
    held-out retain prompts and other neutral instructions, each in the dress that comes nearest to opening it.

    Args:
        model: before the edit.
        builder: of its tokenizer.
        sets: of the run.
        edit: of what it says of the gate all is read, and `false_positive_rate`.
        seed: of everything that is drawn.
        advance: called with the number of prompts read, or put in other words.
        expect: called with the number of prompts to read, once it is known.
    """
    longest = context_length(model) or sys.maxsize
    made = reworded_sets(model, builder, sets, edit.gate_augmentations, seed, advance)
    lessons = gate_prompts(builder, sets, edit.gate_augmentations, longest, seed, made)
    expect(len(lessons.all))
    states = prompt_states(
        model, lessons.all, gate_blocks(model, edit), builder.pad, advance=advance, transform=partial(kept_states, edit=edit)
    )
    return fit_on(lessons, states, edit, seed)


def reworded_sets(
    model: nn.Module, builder: PromptBuilder, sets: Sets, wanted: Sequence[Augmentation], seed: int, advance: Callable[[int], None]
) -> tuple[list[Record], list[Record]]:
    """The forget set and as many retain records in the model's words, so that its way of putting them is no cue; none if not wanted."""
    if "paraphrases" not in wanted:
        return [], []
    retain = draw(sets.retain, len(sets.forget), seed)
    return own_paraphrases(model, builder, sets.forget, seed, advance), own_paraphrases(model, builder, retain, seed, advance)


def fit_on(lessons: GatePrompts, states: Mapping[int, list[Tensor]], edit: EditSection, seed: int) -> FittedGate:
    """Train the gate of an edit on what was read, at each block by itself, and calibrate what they say together.

    The better a block validates, the more it counts: which of them sees what is to be forgotten differs from set to set.

    Where there is a pool, a first gate picks those of it that it would soonest open for, and the gate learns again with them.

    Args:
        lessons: the prompts.
        states: {block: of each of `lessons.all` (tokens, hidden)}, as `kept_states` gives them.
        edit: `gate`, `gate_pool`, `gate_weight_decay`, `gate_class_balance` and `false_positive_rate` are read.
        seed: of initialisation and batches.
    """
    gate, losses = dict[int, Parts](), list[float]()
    for block, own in states.items():
        forget, others, pool, _, *checks = lessons.split(own)
        gate[block] = _trained(edit, forget, others, seed)
        if pool:
            hardest = gate_logits(gate[block], edit.gate_pool, pool).argsort(descending=True)[: round(MINED * len(pool))]
            gate[block] = _trained(edit, forget, [*others, *(pool[i] for i in hardest)], seed)
        losses.append(_check_loss(gate[block], edit, *checks))
    _weigh(gate, losses)
    opened, _, _, kept, *_ = lessons.split(said_together(gate, edit.gate_pool, states))
    # A prompt counts by the dress that comes nearest to opening the gate, so that what is stated holds in all of them.
    kept = torch.stack([logits.max() for logits in kept.split([len(versions) for versions in lessons.calibration])])
    return FittedGate(gate, *_calibrated(opened, kept, lessons.unaugmented, edit.false_positive_rate))


def said_together(gate: Mapping[int, Parts], pool: GatePool, states: Mapping[int, Sequence[Tensor]]) -> Tensor:
    """What a gate says of prompts, the mean over the blocks that it reads: (prompts,). `states`: as for `fit_on`."""
    return torch.stack([gate_logits(parts, pool, states[block]) for block, parts in gate.items()]).mean(0)


def gate_blocks(model: nn.Module, edit: EditSection) -> list[int]:
    """The blocks that a gate reads: the edit's own, or some below the first edited one."""
    if edit.gate_blocks:
        return sorted(set(edit.gate_blocks))
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    config = cast(GrunConfig, cast(PeftEdit, edit_named(edit.name)).config(base, edit))
    depth, first = len(decoder_blocks(model)[1]), (config.blocks or [0])[0]
    return sorted({min(round(depth * height), first) for height in HEIGHTS})


def apply_with_gate(model: nn.Module, edit: EditSection, base_sha256: str, fitted: FittedGate) -> nn.Module:
    """Put a fresh edit on a model with a fitted gate in it, frozen, its threshold in the adapter's configuration.

    The other arguments and the errors are those of `expunge.edits.apply.apply_edit`.
    """
    model = apply_edit(model, edit.model_copy(update={"gate_blocks": list(fitted.gate)}), base_sha256)
    config = cast(GrunConfig, cast(PeftModel, model).peft_config[REQUEST])
    for block, parts in pooled_gate(model, REQUEST).items():
        for name, part in parts.items():
            part.load_state_dict(fitted.gate[block][name].state_dict())
            part.requires_grad_(False)
    config.threshold, config.calibration_n = fitted.threshold.logit, fitted.threshold.n
    config.calibration_alpha = None if fitted.threshold.given_up else fitted.threshold.alpha
    return model


def kept_states(states: Tensor, edit: EditSection) -> Tensor:
    """What is kept of hidden states: a pooled gate reads no more of them, and they are many prompts' every token."""
    # As they are they may be too large for half precision.
    return as_read(states, edit.gate_layer_norm).to(torch.float16 if edit.gate_layer_norm else torch.float32)


def _trained(edit: EditSection, forget: list[Tensor], others: list[Tensor], seed: int) -> Parts:
    torch.manual_seed(seed)
    parts = new_gate(edit.gate, edit.gate_pool, forget[0].shape[-1])
    train_gate(parts, edit, forget, others, seed)
    for part in parts.values():
        part.requires_grad_(False)
    return parts


@torch.no_grad()
def _check_loss(parts: Parts, edit: EditSection, forget: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Cross-entropy on the prompts to validate on, both kinds counting alike."""
    losses = [
        binary_cross_entropy_with_logits(logits, torch.full_like(logits, target)).item()
        for own, target in ((forget, 1.0), (others, 0.0))
        for logits in [gate_logits(parts, edit.gate_pool, own)]
    ]
    return sum(losses)


@torch.no_grad()
def _weigh(gate: Mapping[int, Parts], losses: Sequence[float]) -> None:
    """Scale what each block says, so that the mean is weighted by how well the blocks validated."""
    weights = len(losses) * torch.softmax(-torch.tensor(losses) / CHECK_SCALE, 0)
    for parts, weight in zip(gate.values(), weights.tolist(), strict=True):
        parts["grun_gate"].weight.mul_(weight)
        parts["grun_gate"].bias.mul_(weight)


def _calibrated(opened: Tensor, closed: Tensor, given: int, alpha: float) -> tuple[Threshold, float]:
    """The threshold, and the share of the forget prompts as they are, the first `given`, that it lets pass."""
    threshold, as_given = calibrate(closed, opened, alpha), opened[:given]
    if as_given.median().item() < threshold.logit:
        # Forgetting comes first: a gate that stays closed for most of what is to be forgotten would be worth nothing.
        threshold = give_up(threshold, closed, as_given)
    return threshold, (as_given >= threshold.logit).float().mean().item()
