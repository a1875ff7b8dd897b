"""How far the logits of a quantised model are from those of the unquantised one, and from those of the same row in a batch.

python -m benchmarks.audit.quantised_logits [MODEL]
"""

import argparse
import logging
from typing import Any, cast

import torch
from bitsandbytes.nn import Linear8bitLt
from torch import Tensor

from expunge.models.loading import load
from expunge.models.placement import Placement

ROWS, LENGTH = 3, 20


def main() -> None:
    """Print a line for each form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    name = parser.parse_args().model
    # It warns of every layer in every pass that it rounds activations.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    ids = torch.randint(3, 300, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    expected = logits(name, None, ids)
    for form in ("nf4", "int8", "int8 with rounded activations"):
        whole, alone = logits(name, form, ids), logits(name, form, ids[:1])
        print(f"{form}: {_distance(whole, expected):.1%} from fp32, {_distance(whole[:1], alone):.2%} from the same row alone", flush=True)


@torch.no_grad()
def logits(name: str, form: str | None, ids: Tensor) -> Tensor:
    """Return the logits of a model in a form, (rows, tokens, vocab)."""
    model, _ = load(name, Placement(torch.device("cpu"), torch.float32, quantise=None if form is None else form.split()[0]))
    if form is not None and "activations" in form:
        for layer in model.modules():
            if isinstance(layer, Linear8bitLt):
                layer.__class__ = Linear8bitLt
                cast(Any, layer.weight).CB = layer.weight.data
    return model(ids).logits


def _distance(one: Tensor, other: Tensor) -> float:
    """Return the norm of a difference of logits around their mean, as a share of the norm of `other`."""
    one, other = (part - part.mean(-1, keepdim=True) for part in (one, other))
    return ((one - other).norm() / other.norm()).item()


if __name__ == "__main__":
    main()
