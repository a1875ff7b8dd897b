"""Prepare a gate before suppression: which prompts it learns from, which it is calibrated on."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.texts import neutral_instructions, wrappers
from expunge.edits import REQUEST
from expunge.edits.grun.config import GrunConfig
from expunge.edits.grun.layer import GrunLayer
from expunge.models.blocks import context_length
from expunge.models.features import prompt_states
from expunge.training.gate import Threshold, calibrate, give_up, pooled_logits, train_gate

FORGET_WRAPPERS, RETAIN_WRAPPERS = 5, 2
NEUTRAL_CALIBRATION = 40


def gate_first(
    model: nn.Module,
    builder: PromptBuilder,
    forget: Sequence[Record],
    retain: Sequence[Record],
    calibration: Sequence[Record],
    exam: Sequence[Record],
    alpha: float,
    seed: int,
    advance: Callable[[int], None],
) -> tuple[Threshold, float]:
    """Train the pooled gate of a fresh GRUN edit on frozen states, calibrate its threshold, freeze it.

    It learns from forget and retain prompts (as they are, in lower case, and in shipped wrappers, so that no such dress is a
    cue) and from neutral instructions; it is calibrated on held-out retain prompts and other neutral instructions.

    Args:
        model: a PEFT model with a GRUN edit of `gate_pool` max.
        builder: of its tokenizer.
        forget: records to learn to open for.
        retain: records to learn to stay closed for.
        calibration: retain records that nothing is trained on.
        exam: retain records that the gate is to be judged on: neither learnt from nor calibrated on.
        alpha: the false-positive rate to calibrate for.
        seed: of the choice of wrappers and of the training.
        advance: called with the number of prompts read.

    Returns:
        The threshold, also stored in the adapter's configuration, and the share of the forget prompts that it lets pass.
    """
    tuned = cast(PeftModel, model)
    config, adapter = cast(GrunConfig, tuned.peft_config[REQUEST]), REQUEST
    rng = np.random.default_rng([seed, 4])
    # A retain set made from the model itself consists of these instructions: what is held out stays held out.
    known = {builder.record(record).prompt for record in (*retain, *calibration, *exam)}
    longest = context_length(model) or sys.maxsize
    neutral = [builder.prompt((Turn("user", text),)) for text in neutral_instructions()]
    neutral = [p for p in neutral if p not in known and len(p) <= longest]
    positive = [p for r in forget for p in _variants(builder, r, rng, FORGET_WRAPPERS) if len(p) <= longest]
    negative = [p for r in retain for p in _variants(builder, r, rng, RETAIN_WRAPPERS) if len(p) <= longest]
    negative += neutral[NEUTRAL_CALIBRATION:]
    closed = [builder.record(record).prompt for record in calibration] + neutral[:NEUTRAL_CALIBRATION]
    layer = gate_layer(model, config)
    states = prompt_states(model, [*positive, *negative, *closed], layer.block, builder.pad, advance=advance)
    parameters = layer.gate_parameters(adapter)

    def scores(tokens: Tensor) -> Tensor:
        return layer.token_scores(adapter, tokens.to(parameters[0].device)).cpu()

    cut = len(positive) + len(negative)
    train_gate(scores, parameters, states[: len(positive)], states[len(positive) : cut], seed)
    for parameter in parameters:
        parameter.requires_grad_(False)
    plain = {builder.record(record).prompt for record in forget}
    with torch.no_grad():
        opened, kept = pooled_logits(scores, states[: len(positive)]), pooled_logits(scores, states[cut:])
    threshold, as_given = calibrate(kept, opened, alpha), opened[[prompt in plain for prompt in positive]]
    if as_given.median().item() < threshold.logit:
        # Forgetting comes first: a gate that stays closed for most of what is to be forgotten would be worth nothing.
        threshold = give_up(threshold, kept, as_given)
    config.threshold, config.calibration_n = threshold.logit, threshold.n
    config.calibration_alpha = None if threshold.given_up else threshold.alpha
    coverage = (as_given >= threshold.logit).float().mean().item()
    return threshold, coverage


def gate_layer(model: nn.Module, config: GrunConfig) -> GrunLayer:
    """The block that carries the one gate of an edit with `gate_pool` max."""
    return next(m for m in model.modules() if isinstance(m, GrunLayer) and m.block == config.gate_block)


def _variants(builder: PromptBuilder, record: Record, rng: np.random.Generator, wrapped: int) -> list[tuple[int, ...]]:
    """The record's prompt, and in other clothes: in lower case and in shipped wrappers, which a plain text does not go into."""
    prompts = [builder.record(record).prompt]
    if not record.turns:
        return prompts
    said = record.prompt
    others = [said.lower(), *(wrapper.format(prompt=said) for wrapper in rng.choice(wrappers(), wrapped, replace=False))]
    return prompts + [builder.record(replace(record, turns=(*record.turns[:-1], Turn("user", text)))).prompt for text in others]
