"""Fit a gate before the edit is trained: train it on frozen hidden states of several blocks, calibrate it, and install it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from expunge.edits.active import gate_config, pooled_gate_layers
from expunge.edits.apply import apply_edit
from expunge.edits.base import PeftEdit
from expunge.edits.grun.config import GrunConfig
from expunge.edits.grun.gate import GateParts
from expunge.edits.requests import REQUEST
from expunge.gating.answer_gate import FittedAnswerGate, fit_answer_gate
from expunge.gating.answer_rows import answer_rows
from expunge.gating.calibrate import CalibrationLogits, Threshold, choose_threshold
from expunge.gating.choose import GateKind, chosen_kind, dropout_for, trained_gate
from expunge.gating.paraphrase import paraphrase
from expunge.gating.reading_on import fit_reading_on
from expunge.gating.state_store import StateStore
from expunge.gating.train import LOWER_DECAY, prompt_logits
from expunge.gating.training_prompts import GatePrompts, Subject, gate_prompts
from expunge.models.blocks import context_length, decoder_blocks
from expunge.models.finite import check_finite
from expunge.models.hidden_states import prompt_states
from expunge.runs.splits import Splits, draw

MINED_SHARE = 0.25
"""Share of the pool that a gate trains on: its hardest negatives."""
VALIDATION_SCALE = 0.1
"""Difference of validation losses, in nats, that makes one block count e times as much as another."""
DEPTH_SHARES = (8 / 30, 11 / 30, 14 / 30)
"""Blocks that a gate reads, as shares of the depth; never above the first edited block."""
DEPTH_SHARES_OF_TEXTS = (2 / 30, 6 / 30)
"""The same for a gate of texts: one text differs from another by its words, which show in lower blocks as well, in half the time."""


@dataclass(frozen=True)
class FittedGate:
    """A trained and calibrated gate.

    Attributes:
        gate: its parts, by the block that they read.
        kind: of its parts, and how it pools.
        threshold: at which it opens.
        coverage: share of the forget prompts, unaugmented, that it opens for.
        answers: the part that reads answers, or None.
    """

    gate: dict[int, GateParts]
    kind: GateKind
    threshold: Threshold
    coverage: float
    answers: FittedAnswerGate | None = None


def fit_gate(
    model: nn.Module,
    builder: PromptBuilder,
    splits: Splits,
    settings: EditSection,
    seed: int,
    advance: Callable[[int], None],
    expect: Callable[[int], None] = lambda prompts: None,
) -> FittedGate:
    """Train the gate of an edit on frozen states and calibrate it.

    It is trained on variants of forget and retain prompts, on prompts with other names and on neutral instructions. It is calibrated
    on held-out retain prompts and other neutral instructions; each of them counts by its variant with the highest logit.

    Args:
        model: before the edit.
        builder: of its tokenizer.
        splits: of the run.
        settings: of the edit; all settings of the gate are read.
        seed: of everything that is drawn.
        advance: called with the number of prompts read or paraphrased.
        expect: called with the number of prompts that are still to be read, once it is known.
    """
    max_tokens = context_length(model) or sys.maxsize
    paraphrases = paraphrased_sets(model, builder, splits, settings.gate_augmentations, seed, advance)
    prompts = gate_prompts(builder, splits, settings.gate_augmentations, max_tokens, seed, paraphrases)
    expect(len(prompts.all))
    blocks, store = gate_blocks(model, settings, prompts.subject), StateStore(settings)
    states = prompt_states(model, prompts.all, blocks, builder.pad, advance=advance, transform=store, share_beginning=True)
    fitted = fit_on_states(prompts, states, settings, seed)
    if not settings.answer_gate:
        return fitted
    if prompts.subject != "names":
        # A text or a topic has no fact that one word gives away. The more of an answer there is, the surer the gate is of its subject.
        answers = fit_reading_on(model, builder, splits, (fitted.gate, fitted.kind, fitted.threshold), settings, seed, advance, expect)
        return replace(fitted, answers=answers)
    # Higher blocks tie the answer more closely to its question: they miss more of the facts that come out by way of another question.
    lowest, rows = min(fitted.gate), answer_rows(model, builder, splits, seed)
    expect(len(rows.all))
    answers = fit_answer_gate(model, builder, rows, settings, lowest, fitted.threshold.logit, advance)
    return replace(fitted, answers=answers)


def paraphrased_sets(
    model: nn.Module,
    builder: PromptBuilder,
    splits: Splits,
    augmentations: Sequence[Augmentation],
    seed: int,
    advance: Callable[[int], None],
) -> tuple[list[Record], list[Record]]:
    """Return paraphrases of the forget set and of as many retain records, so that their wording does not give the class away.

    Both lists are empty if `paraphrases` is not among the augmentations.
    """
    if "paraphrases" not in augmentations:
        return [], []
    forget, retain = (
        paraphrase(model, builder, records, seed, advance, splits.language)
        for records in (splits.forget, draw(splits.retain, len(splits.forget), seed))
    )
    return forget, retain


def fit_on_states(prompts: GatePrompts, states: Mapping[int, list[Tensor]], settings: EditSection, seed: int) -> FittedGate:
    """Train a gate at each block by itself, weight the blocks by their validation losses, and calibrate their mean.

    Which block separates the forget set best differs from set to set. If there is a pool, a first gate picks the prompts of the pool
    that it gives the highest logits, and the gate is trained again with them.

    Args:
        prompts: to train, validate and calibrate on.
        states: {block: one (tokens, hidden) tensor for each of `prompts.all`}, as `StateStore` returns them.
        settings: `gate`, `gate_pool`, `gate_weight_decay`, `gate_class_balance` and `false_positive_rate` are read. What kind of gate
            they leave open is chosen, see `expunge.gating.choose.chosen_kind`.
        seed: of initialisation and batches.

    Raises:
        ExpungeError: a state, a weight of the gate, a logit or the threshold is not finite.
    """
    for block, block_states in states.items():
        named = ((f"the hidden state after block {block} of a prompt", state) for state in block_states)
        check_finite(named, "so no gate can be trained; check the base model's weights")
    kind, gate, losses = chosen_kind(settings, prompts, states, seed), dict[int, GateParts](), list[float]()
    train = partial(trained_gate, kind, settings, seed=seed, dropout=dropout_for(kind, prompts))
    for block, block_states in states.items():
        forget, negatives, pool, _, *validation = prompts.split(block_states)
        gate[block] = train(forget, negatives)
        if pool:
            hardest = prompt_logits(gate[block], kind.pool, pool).argsort(descending=True)[: round(MINED_SHARE * len(pool))]
            gate[block] = train(forget, [*negatives, *(pool[i] for i in hardest)])
        losses.append(_validation_loss(gate[block], kind.pool, *validation))
    _weight_blocks(gate, losses)
    for block, parts in gate.items():
        named = (
            (f"{name}.{tensor} of the gate of block {block}", p) for name, part in parts.items() for tensor, p in part.named_parameters()
        )
        check_finite(named, f"after the training of the gate; {LOWER_DECAY}")
    logits = mean_gate_logits(gate, kind.pool, states)
    check_finite([("a logit of the gate", logits)], f"after the training of the gate; {LOWER_DECAY}")
    trained, _, _, calibration, held_out, _ = prompts.split(logits)
    forget, by_prompt = trained[: prompts.unaugmented], calibration.split([len(variants) for variants in prompts.calibration])
    threshold = choose_threshold(CalibrationLogits(by_prompt, forget, trained, held_out), settings.false_positive_rate)
    # Never infinite, not even to say "always closed": a gate that opens for nothing forgets nothing.
    check_finite([("the threshold of the gate", torch.tensor(threshold.logit))], f"after its calibration; {LOWER_DECAY}")
    return FittedGate(gate, kind, threshold, (forget >= threshold.logit).float().mean().item())


def mean_gate_logits(gate: Mapping[int, GateParts], pool: GatePool, states: Mapping[int, Sequence[Tensor]]) -> Tensor:
    """Return a gate's logits, the mean over the blocks that it reads: (prompts,). `states`: as for `fit_on_states`."""
    return torch.stack([prompt_logits(parts, pool, states[block]) for block, parts in gate.items()]).mean(0)


def gate_blocks(model: nn.Module, settings: EditSection, subject: Subject = "topic") -> list[int]:
    """Return the blocks that a gate of a subject reads: those of the settings, or some at or below the first edited block."""
    if settings.gate_blocks:
        return sorted(set(settings.gate_blocks))
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    config = cast(GrunConfig, cast(PeftEdit, edit_named(settings.name)).config(base, settings))
    depth, first = len(decoder_blocks(model)[1]), (config.blocks or [0])[0]
    shares = DEPTH_SHARES_OF_TEXTS if subject == "texts" else DEPTH_SHARES
    return sorted({min(round(depth * share), first) for share in shares})


def apply_with_gate(model: nn.Module, settings: EditSection, base_sha256: str, fitted: FittedGate) -> nn.Module:
    """Put a fresh edit with a fitted, frozen gate on a model, and store the threshold in the adapter's configuration.

    The other arguments and the errors are those of `expunge.edits.apply.apply_edit`.
    """
    kind = {"gate": fitted.kind.gate, "gate_pool": fitted.kind.pool, "gate_blocks": list(fitted.gate)}
    model = apply_edit(model, settings.model_copy(update=kind), base_sha256)
    config, layers = gate_config(model, REQUEST), pooled_gate_layers(model, REQUEST)
    for layer in layers:
        for name, part in layer.gate(REQUEST).items():
            part.load_state_dict(fitted.gate[layer.block][name].state_dict())
            part.requires_grad_(False)
    if fitted.answers is not None:
        config.answer_margin = fitted.answers.margin
        if fitted.answers.part is not None:
            config.answer_maps = fitted.answers.part.out_features
            layers[0].grun_answer_gate[REQUEST] = fitted.answers.part.to(next(layers[0].parameters()).device)
    config.threshold, config.calibration_n = fitted.threshold.logit, fitted.threshold.n
    config.calibration_alpha = None if fitted.threshold.lowered else fitted.threshold.alpha
    return model


@torch.no_grad()
def _validation_loss(parts: GateParts, pool: GatePool, forget: Sequence[Tensor], negatives: Sequence[Tensor]) -> float:
    """Return the cross-entropy on the validation prompts, the sum of both classes' means."""
    losses = [
        binary_cross_entropy_with_logits(logits, torch.full_like(logits, target)).item()
        for states, target in ((forget, 1.0), (negatives, 0.0))
        for logits in [prompt_logits(parts, pool, states)]
    ]
    return sum(losses)


@torch.no_grad()
def _weight_blocks(gate: Mapping[int, GateParts], losses: Sequence[float]) -> None:
    """Scale each block's logits, so that their mean is weighted by how well the blocks validated."""
    weights = len(losses) * torch.softmax(-torch.tensor(losses) / VALIDATION_SCALE, 0)
    for parts, weight in zip(gate.values(), weights.tolist(), strict=True):
        parts["grun_gate"].weight.mul_(weight)
        parts["grun_gate"].bias.mul_(weight)
