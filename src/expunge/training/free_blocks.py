"""`FreeBlocks`: before a training from prefixes, cast frozen weights once, and free the blocks that no step needs."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from transformers import TrainerCallback

from expunge.data.prompts import Encoded
from expunge.models.freed_weights import FreedWeights, free_below
from expunge.models.head import frozen_head
from expunge.models.layout import read_layout
from expunge.models.scoring import unwrap
from expunge.training.inputs import PairCollator

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearnTrainer


class FreeBlocks(TrainerCallback):
    """Cast the frozen weights to the dtype of autocast, store the prefixes of all records, and free the blocks that then no step needs.

    Nothing is freed if some prefixes do not fit. It acts once the model is on its device and the weights of a checkpoint are loaded. The
    caller restores `UnlearnTrainer.freed` and undoes `UnlearnTrainer.cast`.

    Args:
        source: the folder that the model was loaded from; None: nothing is freed.
    """

    trainer: "UnlearnTrainer"

    def __init__(self, source: Path | None):
        self.source = source

    def on_train_begin(self, args, state, control, **kwargs):
        """Cast the weights and free the blocks."""
        trainer, prefixes = self.trainer, self.trainer.prefixes
        if args.world_size > 1:
            return
        model = unwrap(cast(nn.Module, trainer.model)).eval()
        with trainer.accelerator.autocast():
            if torch.is_autocast_enabled("cpu"):
                trainer.cast.cast(model, torch.get_autocast_dtype("cpu"))
            # Each of several processes would have the prefixes of a part of the records only.
            if self.source is None or prefixes is None:
                return
            # The first call runs a whole forward pass.
            frozen_head(model)
            full = prefixes.fill(_scored_rows(trainer, math.ceil(args.num_train_epochs)))
        if full:
            trainer.cast.undo(prefixes.block + 1)
            trainer.freed = FreedWeights(read_layout(self.source))
            free_below(model, prefixes.block, trainer.freed)


def _scored_rows(trainer: "UnlearnTrainer", epochs: int) -> Iterator[Encoded]:
    """Yield every row that a step may score."""
    collator, objective = cast(PairCollator, trainer.data_collator), trainer.loss.objective
    records = collator.records
    if objective.answer == "answer":
        yield from records.forget
    if objective.answer == "alternative" or "alternative_nll" in objective.forget_fields:
        for epoch in range(epochs if collator.resample else 1):
            yield from (Encoded(row.prompt, collator.alternative(epoch, i)) for i, row in enumerate(records.forget))
    if trainer.loss.scores_retain:
        yield from records.retain
