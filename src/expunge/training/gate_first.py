"""Prepare a gate before suppression: which prompts it learns from, which it is calibrated on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.texts import neutral_instructions, wrappers
from expunge.edits.grun.config import GrunConfig
from expunge.edits.grun.layer import GrunLayer
from expunge.models.features import prompt_states
from expunge.training.gate import Threshold, calibrate, pooled_logits, train_gate

FORGET_WRAPPERS, RETAIN_WRAPPERS = 5, 2
NEUTRAL_CALIBRATION = 40


def gate_first(
    model: nn.Module,
    builder: PromptBuilder,
    forget: Sequence[Record],
    retain: Sequence[Record],
    held_out: Sequence[Record],
    alpha: float,
    seed: int,
    advance: Callable[[int, int], None],
) -> Threshold:
    """Train the pooled gate of a fresh GRUN edit on frozen states, calibrate its threshold, freeze it.

    It learns from forget prompts (as they are, in lower case, and in shipped wrappers), retain prompts and neutral
    instructions; it is calibrated on held-out retain prompts and other neutral instructions.

    Args:
        model: a PEFT model with a GRUN edit of `gate_pool` max.
        builder: of its tokenizer.
        forget, retain: records to learn from.
        held_out: retain records that nothing is trained on.
        alpha: the false-positive rate to calibrate for.
        seed: of the choice of wrappers and of the training.
        advance: called with prompts done and prompts in all.

    Returns:
        The threshold, also stored in the adapter's configuration.
    """
    config = model.active_peft_config
    rng = np.random.default_rng([seed, 4])
    # A retain set made from the model itself consists of these instructions: what is held out stays held out.
    known = {builder.record(record).prompt for record in (*retain, *held_out)}
    neutral = [p for p in (builder.prompt((Turn("user", text),)) for text in neutral_instructions()) if p not in known]
    positive = [p for record in forget for p in _variants(builder, record, rng, FORGET_WRAPPERS, lower=True)]
    negative = [p for record in retain for p in _variants(builder, record, rng, RETAIN_WRAPPERS, lower=False)]
    negative += neutral[NEUTRAL_CALIBRATION:]
    calibration = [builder.record(record).prompt for record in held_out] + neutral[:NEUTRAL_CALIBRATION]
    prompts, done = [*positive, *negative, *calibration], 0

    def step(rows: int) -> None:
        nonlocal done
        done += rows
        advance(done, len(prompts))

    states = prompt_states(model, prompts, config.gate_block, builder.pad, advance=step)
    layer = gate_layer(model, config)
    adapter = model.active_adapter
    scores, parameters = partial(layer.token_scores, adapter), layer.gate_parameters(adapter)
    cut = len(positive) + len(negative)
    train_gate(scores, parameters, states[: len(positive)], states[len(positive) : cut], seed)
    for parameter in parameters:
        parameter.requires_grad_(False)
    with torch.no_grad():
        threshold = calibrate(pooled_logits(scores, states[cut:]), alpha)
    config.threshold, config.calibration_n, config.calibration_alpha = threshold.logit, threshold.n, threshold.alpha
    return threshold


def gate_layer(model: nn.Module, config: GrunConfig) -> GrunLayer:
    """The block that carries the one gate of an edit with `gate_pool` max."""
    return next(m for m in model.modules() if isinstance(m, GrunLayer) and m.block == config.gate_block)


def _variants(builder: PromptBuilder, record: Record, rng: np.random.Generator, wrapped: int, lower: bool) -> list[tuple[int, ...]]:
    prompts = [builder.record(record).prompt]
    if not record.turns:
        return prompts
    said = record.prompt
    others = [said.lower()] if lower else []
    others += [wrapper.format(prompt=said) for wrapper in rng.choice(wrappers(), wrapped, replace=False)]
    return prompts + [builder.record(replace(record, turns=(*record.turns[:-1], Turn("user", text)))).prompt for text in others]
