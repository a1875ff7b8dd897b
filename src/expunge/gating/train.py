"""Train the pooled gate of one block on cached hidden states, before the edit itself is trained."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from expunge.config import EditSection, GatePool
from expunge.edits.grun.gate import GateParts, pooled_logits
from expunge.errors import ExpungeError

STEPS, BATCH_SIZE = 800, 64
PROMPTS_AT_ONCE = 256
LR = 3e-3
SOFTNESS = 0.3
LOWER_DECAY = "no edit was trained; lower edit.gate_weight_decay"
"""What to do about a gate whose numbers are not finite, although it reads finite states: nothing else scales its training."""


class Dropout(NamedTuple):
    """What is left out of the hidden states of a prompt while a gate is trained.

    Attributes:
        tokens: share of the tokens.
        features: share of the numbers in each state; the others grow, so that their mean stays.
    """

    tokens: float
    features: float

    def applied(self, states: Tensor, generator: torch.Generator) -> Tensor:
        """Return the states of a prompt, (tokens, hidden), without the share that is left out."""
        if self.tokens:
            stays = torch.rand(len(states), generator=generator) >= self.tokens
            states = states[stays] if stays.any() else states
        if self.features:
            stays = torch.rand(states.shape, generator=generator) >= self.features
            states = states * stays / (1 - self.features)
        return states


NO_DROPOUT = Dropout(0.0, 0.0)


def train_gate(
    parts: GateParts,
    pool: GatePool,
    settings: EditSection,
    forget: Sequence[Tensor],
    negatives: Sequence[Tensor],
    seed: int,
    dropout: Dropout = NO_DROPOUT,
) -> float:
    """Train a gate to separate forget prompts from all others.

    With the pooling `max` the maximum is soft at first and hard at the end. A hard maximum trains the gate on one token of each prompt,
    usually one that every prompt contains, and training does not recover: AUROC 0.83 on the training prompts of TOFU instead of 1.00.

    Args:
        parts: of the gate, see `expunge.edits.grun.gate.new_gate`; trained in place.
        pool: how a prompt's token scores become its logit.
        settings: `gate_weight_decay` and `gate_class_balance` are read.
        forget: one (tokens, hidden) tensor for each prompt, as `gate_input` returns them.
        negatives: the same for the prompts that the gate should stay closed for.
        seed: of the order of the batches, and of the tokens that are left out.
        dropout: what each step leaves out of the states, another part each time.

    Returns:
        The last loss, nats.

    Raises:
        ExpungeError: the loss is not finite.
    """
    states = [*forget, *negatives]
    targets = torch.tensor([1.0] * len(forget) + [0.0] * len(negatives))
    weight = torch.ones_like(targets)
    if settings.gate_class_balance:
        weight = torch.where(targets == 1, len(states) / (2 * len(forget)), len(states) / (2 * len(negatives)))
    parameters = [p for part in parts.values() for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=settings.gate_weight_decay)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros(())
    for step in range(STEPS):
        chosen = torch.randperm(len(states), generator=generator)[:BATCH_SIZE]
        batch = [dropout.applied(states[i], generator) for i in chosen]
        logits = prompt_logits(parts, pool, batch, SOFTNESS * (1 - step / STEPS))
        loss = binary_cross_entropy_with_logits(logits, targets[chosen], weight=weight[chosen])
        if not torch.isfinite(loss):
            raise ExpungeError(f"the loss of the gate is {loss.item()} at step {step + 1} of {STEPS}; {LOWER_DECAY}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()


def prompt_logits(parts: GateParts, pool: GatePool, states: Sequence[Tensor], softness: float = 0.0) -> Tensor:
    """Return a gate's logit of each prompt: (prompts,). `states`: one (tokens, hidden) tensor each, as `gate_input` returns them."""
    logits = []
    for start in range(0, len(states), PROMPTS_AT_ONCE):
        chunk = tuple(states[start : start + PROMPTS_AT_ONCE])
        lengths = torch.tensor([len(prompt) for prompt in chunk])
        real = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        # Without padding: some prompt variants are many times as long as others.
        logits.append(pooled_logits(parts, pool, torch.cat(chunk).float(), real, softness))
    return torch.cat(logits)
