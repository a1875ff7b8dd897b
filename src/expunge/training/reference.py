"""The reference model of NPO, DPO, KL and RMU: the model with the edit of this request off, or a copy if its weights change."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from expunge.data.prompts import Batch
from expunge.edits.active import edits_off
from expunge.edits.requests import REQUEST
from expunge.models.scores import Scores
from expunge.models.scoring import score


class Reference:
    """Scores batches with the model as it is without the edit, without gradients.

    Attributes:
        frozen: a frozen copy of the model if the edit changes its weights (`full`); None if the edit can be switched off.
    """

    def __init__(self, model: nn.Module, weights_change: bool):
        self.model = model
        self.frozen = copy.deepcopy(model).requires_grad_(False).eval() if weights_change else None

    def score(self, batch: Batch, **outputs: Any) -> Scores:
        """Score a batch; the arguments are those of `expunge.models.scoring.score`."""
        with torch.no_grad(), self._active() as model:
            return score(model, batch, **outputs)

    @contextmanager
    def _active(self) -> Iterator[nn.Module]:
        if self.frozen is not None:
            yield self.frozen
            return
        with edits_off(self.model, REQUEST):
            yield self.model
