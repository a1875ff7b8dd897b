"""How far two PEMs share their subspaces: the penalty of O-LoRA (Wang et al., 2023, arXiv 2310.14152), and principal angles."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.linalg import svd, svdvals

from expunge.errors import InputError
from expunge.reveal_release.release.lora_delta import LoraModule


def overlap(retain: Mapping[str, Tensor], forget: Mapping[str, Tensor], kind: Literal["l1", "frobenius"]) -> Tensor:
    """Sum over layers of ||A_r A_f^T||_1 (absolute entries) or ||A_r A_f^T||_F^2 (squared ones): 0 where all rows are orthogonal.

    The paper's formula squares, the code published with it takes absolute values. In fp32 under autocast too; the gradient goes to
    `forget` alone.

    Args:
        retain: {layer: (rank, in)}; of B factors their transposes, (rank, out), which makes it B_r^T B_f.
        forget: likewise, of any rank; layers that only one of the two has share nothing.
        kind: which of the two norms.

    Returns:
        A scalar.

    Raises:
        InputError: there is no layer that both have.
    """
    shared = [name for name in forget if name in retain]
    if not shared:
        raise InputError("the retain PEM and the forget PEM have no layer in common, so there is no overlap to penalise")
    norms = []
    with torch.autocast(forget[shared[0]].device.type, enabled=False):
        for name in shared:
            own = forget[name]
            own = own.to(torch.promote_types(own.dtype, torch.float32))
            product = retain[name].detach().to(own) @ own.T
            norms.append((product.abs() if kind == "l1" else product.square()).sum())
        return torch.stack(norms).sum()


def principal_angles(one: LoraModule, other: LoraModule) -> dict[str, Tensor]:
    """Angles between what two PEMs read (row spaces of A) and between what they write (column spaces of B), weight by weight.

    From sines and cosines both, so that small angles are as exact as large ones (Björck and Golub, 1973; Knyazev and Argentati, 2002).
    Directions that a factor of deficient rank lacks do not count; a factor of zeros has no angles.

    Returns:
        {"<weight> A": (smaller rank,), "<weight> B": …} for the weights that both have: radians from 0 to pi/2, ascending, fp64.
    """
    angles = {}
    for name in one.factors:
        if name in other.factors:
            (a, b), (other_a, other_b) = one.factors[name], other.factors[name]
            angles[f"{name} A"] = _angles(_basis(a.T), _basis(other_a.T))
            angles[f"{name} B"] = _angles(_basis(b), _basis(other_b))
    return angles


def angles_summary(angles: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over the weights, in radians: of the smallest angle and of all.

    Args:
        angles: as `principal_angles` gives them.

    Returns:
        `A_smallest`, `A_mean`, `B_smallest`, `B_mean`; a side without angles has none of them.
    """
    found = {}
    for side in ("A", "B"):
        if own := [of_one for name, of_one in angles.items() if name.endswith(f" {side}") and len(of_one)]:
            found[f"{side}_smallest"] = torch.stack([of_one[0] for of_one in own]).mean().item()
            found[f"{side}_mean"] = torch.cat(own).mean().item()
    return found


def _basis(columns: Tensor) -> Tensor:
    """Orthonormal columns, (dim, rank), fp64, of the space that some columns, (dim, n), span but for their rounding."""
    left, lengths, _ = svd(columns.detach().double().cpu(), full_matrices=False)
    negligible = torch.finfo(columns.dtype).eps * max(columns.shape) * lengths.max()
    return left[:, lengths > negligible]


def _angles(one: Tensor, other: Tensor) -> Tensor:
    larger, smaller = (one, other) if one.shape[1] >= other.shape[1] else (other, one)
    inner = larger.T @ smaller
    cosines, sines = svdvals(inner), svdvals(smaller - larger @ inner).flip(0)
    return torch.atan2(sines, cosines)
