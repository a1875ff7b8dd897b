"""Choose between a gate that looks for names and one that weighs all tokens, by forget records that it was not trained on."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from expunge.config import EditSection, Gate, GatePool
from expunge.data.evasions import TRAINED
from expunge.edits.grun.gate import GateParts, new_gate
from expunge.gating.train import NO_DROPOUT, Dropout, prompt_logits, train_gate
from expunge.gating.training_prompts import GatePrompts


class GateKind(NamedTuple):
    """What a pooled gate consists of, and how it pools; see `expunge.edits.grun.gate`."""

    gate: Gate
    pool: GatePool


OF_NAMES, OF_SUBJECTS = GateKind("linear", "top2"), GateKind("mlp", "attention")
OF_TEXTS = Dropout(tokens=0.3, features=0.2)
"""Without it the gate of a text remembers the passages that it is trained on. A question has too few tokens to leave some out."""
HELD_OUT_EVERY, LEAST_HELD_OUT = 5, 4
RECOGNISED = 0.9
"""Share of the held-out forget records from which a gate of names recognises the forget set."""


def chosen_kind(settings: EditSection, prompts: GatePrompts, states: Mapping[int, list[Tensor]], seed: int) -> GateKind:
    """Return the kind of gate that the settings name, and where they leave it open, the one that suits the forget set.

    A linear map with the mean of its two largest scores finds a person's name in any question, and stays closed for people whom it has
    never seen. Unseen passages of a book and unseen questions about a topic often hold none of the words that it looks for. There a
    small network that weighs all tokens finds more. With names that network also opens for people whom it has never seen, unless it
    trains on evasions: these bring many more strangers, and names in more forms than a linear map can tell apart.

    So it is the network if the gate trains on evasions. If not, it is the linear map if most forget records are questions with names,
    or if there are too few to hold some out. Otherwise a linear map is trained without every fifth forget record. If at one of the
    blocks it opens for nine tenths of these, at the false-positive rate of the settings, it stays the linear map. The neighbours of a
    held-out passage in its document are trained on.

    Args:
        settings: of the edit.
        prompts: of the gate.
        states: as for `expunge.gating.fit.fit_on_states`.
        seed: of initialisation and batches.
    """
    chosen = OF_NAMES
    if settings.gate_pool is None and (trains_on_evasions(settings) or _misses_held_out(settings, prompts, states, seed)):
        chosen = OF_SUBJECTS
    return GateKind(settings.gate or chosen.gate, settings.gate_pool or chosen.pool)


def trains_on_evasions(settings: EditSection) -> bool:
    """Return whether the gate of an edit trains on some kind of evasion."""
    return any(name in settings.gate_augmentations for name in TRAINED)


def dropout_for(kind: GateKind, prompts: GatePrompts) -> Dropout:
    """Return what is left out of the states while a gate is trained."""
    return OF_TEXTS if kind == OF_SUBJECTS and prompts.subject == "texts" else NO_DROPOUT


def trained_gate(
    kind: GateKind,
    settings: EditSection,
    forget: Sequence[Tensor],
    negatives: Sequence[Tensor],
    seed: int,
    dropout: Dropout = NO_DROPOUT,
) -> GateParts:
    """Return the parts of a gate at one block, trained and frozen; see `expunge.gating.train.train_gate` for the other arguments."""
    torch.manual_seed(seed)
    parts = new_gate(kind.gate, kind.pool, forget[0].shape[-1])
    train_gate(parts, kind.pool, settings, forget, negatives, seed, dropout)
    for part in parts.values():
        part.requires_grad_(False)
    return parts


def _misses_held_out(settings: EditSection, prompts: GatePrompts, states: Mapping[int, list[Tensor]], seed: int) -> bool:
    """Return whether a gate of names opens for too few of the records that it is not trained on; False where no record is held out."""
    if prompts.subject == "names" or prompts.unaugmented < HELD_OUT_EVERY * LEAST_HELD_OUT:
        return False
    return not any(_recall(settings, prompts, of_block, seed) >= RECOGNISED for of_block in states.values())


def _recall(settings: EditSection, prompts: GatePrompts, states: Sequence[Tensor], seed: int) -> float:
    """Return the share of every fifth forget record that a gate of names opens for, trained without them."""
    trained, negatives, _, calibration, *_ = prompts.split(states)
    forget = trained[: prompts.unaugmented]
    parts = trained_gate(OF_NAMES, settings, [state for i, state in enumerate(forget) if i % HELD_OUT_EVERY], negatives, seed)
    # The first variant of a calibration prompt is the prompt as given.
    places = [0, *accumulate(len(variants) for variants in prompts.calibration)][:-1]
    as_given = prompt_logits(parts, OF_NAMES.pool, [calibration[place] for place in places])
    opened = prompt_logits(parts, OF_NAMES.pool, forget[::HELD_OUT_EVERY]) > as_given.quantile(1 - settings.false_positive_rate)
    return opened.float().mean().item()
