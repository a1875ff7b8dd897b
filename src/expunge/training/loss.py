"""The loss of a training: the objective's terms, the gate loss, and the constraint of a release module."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from expunge.config.recipe import Recipe
from expunge.edits import edit_of
from expunge.errors import InputError
from expunge.models.blocks import decoder_blocks
from expunge.objectives import Objective


@dataclass(frozen=True)
class LossConstraint:
    """What a release module's loss has besides the objective.

    Attributes:
        penalty: returns a scalar of the parameters, with its weight; every step adds it once, whatever the number of micro-batches.
        retain_context: a context manager in which retain records are scored, for example as the model after the module is subtracted.
    """

    penalty: Callable[[], Tensor] | None = None
    retain_context: Callable[[], AbstractContextManager[None]] = nullcontext


UNCONSTRAINED = LossConstraint()


@dataclass(frozen=True)
class Loss:
    """Everything that a training minimises.

    Attributes:
        objective: forget and retain terms with their weights.
        gate_loss_weight: lambda_g of the gate's cross-entropy; 0 if the edit has no gate or the gate is trained already.
        gate_warmup: share of the steps over which w(t) of the objective's terms rises from 0 to 1.
        blocks: blocks whose hidden states the objective reads.
        constraint: of a release module.
    """

    objective: Objective
    gate_loss_weight: float = 0.0
    gate_warmup: float = 0.0
    blocks: tuple[int, ...] = ()
    constraint: LossConstraint = UNCONSTRAINED

    @property
    def scores_retain(self) -> bool:
        """Whether a step scores retain records at all."""
        return self.objective.retain_weight > 0 or self.gate_loss_weight > 0


def make_loss(recipe: Recipe, model: nn.Module, constraint: LossConstraint = UNCONSTRAINED) -> Loss:
    """Return the loss of a recipe on a model with its edit applied.

    Raises:
        InputError: the model does not have the block that the objective reads.
    """
    settings, edit = recipe.training, edit_of(recipe)
    trains_gate = edit.gated and not edit.trains_gate_first(recipe.edit)
    weight = settings.gate_loss_weight if trains_gate else 0.0
    return Loss(recipe.objective, weight, settings.gate_warmup, _read_blocks(recipe, model), constraint)


def _read_blocks(recipe: Recipe, model: nn.Module) -> tuple[int, ...]:
    objective = recipe.objective
    if "hidden" not in (*objective.forget_fields, *objective.retain_fields):
        return ()
    blocks = edit_of(recipe).blocks(model) if objective.hidden_block is None else (objective.hidden_block,)
    depth = len(decoder_blocks(model)[1])
    if not all(0 <= block < depth for block in blocks):
        raise InputError(f"objective.block: this model has blocks 0 to {depth - 1}, not {blocks[0]}")
    return blocks


def gate_loss(forget: Tensor, retain: Tensor) -> Tensor:
    """Return the binary cross-entropy of gate logits, mean over gates and prompts (GRUN, arXiv 2502.17823, equation of L_gate).

    `forget`, `retain`: (gates, batch), logits for forget and retain prompts.
    """
    logits = torch.cat([forget, retain], dim=1)
    targets = torch.cat([torch.ones_like(forget), torch.zeros_like(retain)], dim=1)
    return binary_cross_entropy_with_logits(logits, targets)
