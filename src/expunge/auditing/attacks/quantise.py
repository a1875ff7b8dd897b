"""Quantisation attack: rounding undoes small weight changes, and with them the unlearning (Zhang et al., 2024, arXiv 2410.16454)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from expunge.auditing.attacks.base import Attack, AttackFigure, Row, Target
from expunge.auditing.attacks.layers import linear_weights
from expunge.auditing.attacks.queries import plain_queries, recall_rows
from expunge.data.threats import Threat
from expunge.metrics.text import ROUGE
from expunge.models.quantised import quantisation_of

Kind = Literal["nf4", "rtn4", "int8"]

BLOCK = 64
"""Weights that share a scale in 4 bits."""
# Dettmers et al., 2023, arXiv 2305.14314, appendix E: each level is equally likely for normally distributed weights.
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


@dataclass(frozen=True, kw_only=True)
class Quantise(Attack):
    """Round every linear weight but the head's, fused experts too, as serving in few bits would. The rest stays, and activations.

    An edit that is not merged stays too: serving quantises the base model below it.

    Attributes:
        kind: `nf4` (QLoRA) or `rtn4` (round to nearest), in blocks of 64; `int8`, round to nearest by row (as LLM.int8 stores weights,
            Dettmers et al., 2022, arXiv 2208.07339).
    """

    kind: Kind = "nf4"

    name: ClassVar[str] = "quantise"
    threat: ClassVar[Threat] = "weights released"
    description: ClassVar[str] = "quantisation"
    measures: ClassVar[str] = ROUGE
    changes_weights: ClassVar[bool] = True
    figure: ClassVar[AttackFigure] = AttackFigure(
        heading="What quantisation recovers",
        caption="The same questions before and after all linear weights are rounded: nf4 and rtn4 to 4 bits, int8 to 8 bits. "
        "Whiskers: 95 % intervals.",
        alt="What each model reveals before and after quantisation",
        y_label="ROUGE-L recall of\nthe greedy answer",
        baseline="before",
    )

    def left_out(self, target: Target) -> Mapping[str, str]:
        """Return the row if the model is quantised: what is stored are codes, and rounding these would mean nothing."""
        form = quantisation_of(target.model)
        return {} if form is None else {self.verdict_row({}): f"the base model is in {form} already, and all other rows measure it so"}

    @property
    def label(self) -> str:
        """Return the name and the kind."""
        return f"{self.name} {self.kind}"

    @property
    def series(self) -> str:
        """Return the kind: each has its own bar."""
        return self.kind

    def verdict_row(self, row: Row) -> str:
        """Return the verdict row of this kind."""
        return f"quantised: {self.kind}"

    def steps(self, target: Target) -> int:
        """Return the number of records; 0 if the model is quantised, see `left_out`."""
        return 0 if self.left_out(target) else len(target.forget)

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Yield `id` and `value`."""
        if self.left_out(target):
            return
        with quantised(target.model, self.kind):
            rows = recall_rows(target, plain_queries(target.builder, target.forget), advance)
        yield from rows


@contextmanager
def quantised(model: nn.Module, kind: Kind) -> Iterator[None]:
    """Round the linear weights of a model within this context, and restore them afterwards."""
    originals: dict[Tensor, Tensor] = {}
    try:
        for weight in linear_weights(model):
            if weight.parameter not in originals:
                originals[weight.parameter] = data = weight.parameter.data
                # A block holds weights of one output.
                rows = data.mT if weight.transposed else data
                rounded = quantise_weight(rows.reshape(-1, rows.shape[-1]), kind).view(rows.shape)
                weight.parameter.data = rounded.mT.contiguous() if weight.transposed else rounded
        yield
    finally:
        for parameter, data in originals.items():
            parameter.data = data


def quantise_weight(weight: Tensor, kind: Kind) -> Tensor:
    """Quantise a weight and return it dequantised, in its own dtype.

    Args:
        weight: (out, in). Its rows, one after another, are cut into blocks of 64 weights (`nf4`, `rtn4`) or of one row (`int8`). A block
            is divided by its largest absolute value and rounded to the nearest level: the 16 levels of NF4, or 15 or 255 levels that
            are evenly spaced from -1 to 1.
        kind: see `Quantise`.
    """
    size = weight.shape[1] if kind == "int8" else BLOCK
    flat = weight.float().flatten()
    blocks = pad(flat, (0, -len(flat) % size)).view(-1, size)
    largest = blocks.abs().amax(-1, keepdim=True)
    shares = blocks / largest.where(largest > 0, 1.0)
    if kind == "nf4":
        levels = shares.new_tensor(NF4)
        shares = levels[torch.bucketize(shares, (levels[1:] + levels[:-1]) / 2)]
    else:
        max_level = 127 if kind == "int8" else 7
        shares = (shares * max_level).round() / max_level
    return (shares * largest).flatten()[: len(flat)].view_as(weight).to(weight.dtype)
