"""The logit lens: whoever can read hidden states reads the answer in a block before the one that suppresses it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp
from typing import ClassVar

import torch

from expunge.auditing.attacks.base import Attack, Row, Target
from expunge.data.threats import Threat
from expunge.metrics.lens import lens_rows
from expunge.models.head import frozen_head


@dataclass(frozen=True, kw_only=True)
class Lens(Attack):
    """Every block's hidden states are decoded; a row for each record and `block`, of which the one that tells most is marked.

    A model whose logits are not its head's own, scaled or capped, is left out: the lens does not know it.
    """

    name: ClassVar[str] = "lens"
    threat: ClassVar[Threat] = "weights released"
    value: ClassVar[str] = "probability of an answer token at that block"

    def tried(self, row: Row) -> str | None:
        """The block of each record that tells most."""
        return "read at the block that tells most (logit lens)" if row["most"] else None

    def steps(self, target: Target) -> int:
        """Records."""
        with torch.no_grad():
            known = frozen_head(target.model) is not None
        return len(target.forget) if known else 0

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """`id`, `value` (exp of minus the mean NLL of a token of the answer), `block`, and whether it is the one that tells `most`."""
        if not self.steps(target):
            return
        for row in lens_rows(target.model, target.builder, target.forget, target.batch_size, advance):
            least = min(range(len(row["nll"])), key=row["nll"].__getitem__)
            for block, nll in enumerate(row["nll"]):
                yield {"id": row["id"], "value": exp(-nll), "block": block, "most": block == least}
