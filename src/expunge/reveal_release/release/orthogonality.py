"""Overlap of the subspaces of two LoRA modules: the penalty of O-LoRA (Wang et al., 2023, arXiv 2310.14152), principal angles."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.linalg import svd, svdvals

from expunge.errors import InputError
from expunge.reveal_release.release.lora_delta import LoraModule


def overlap(retain: Mapping[str, Tensor], forget: Mapping[str, Tensor], kind: Literal["l1", "frobenius"]) -> Tensor:
    """Return the sum over layers of ||A_r A_f^T||_1 (absolute entries) or ||A_r A_f^T||_F^2 (squared entries).

    It is 0 if all rows are orthogonal. The paper's formula squares, the code published with it takes absolute values. Computed in fp32
    under autocast too; only `forget` gets a gradient.

    Args:
        retain: {layer: A, (rank, in)}; for B_r^T B_f the transposes of the B factors, (rank, out).
        forget: the same of the other module, of any rank. Layers that only one module has do not count.
        kind: which of the two norms.

    Returns:
        A scalar.

    Raises:
        InputError: the modules have no layer in common.
    """
    shared = [name for name in forget if name in retain]
    if not shared:
        raise InputError("the retain module and the forget module have no layer in common, so there is no overlap to penalise")
    norms = []
    with torch.autocast(forget[shared[0]].device.type, enabled=False):
        for name in shared:
            rows = forget[name].to(torch.promote_types(forget[name].dtype, torch.float32))
            product = retain[name].detach().to(rows) @ rows.T
            norms.append((product.abs() if kind == "l1" else product.square()).sum())
        return torch.stack(norms).sum()


def principal_angles(one: LoraModule, other: LoraModule) -> dict[str, Tensor]:
    """Return the principal angles between the row spaces of A and between the column spaces of B of two modules, for each weight.

    They are computed from sines and cosines, so that small angles are as exact as large ones (Björck and Golub, 1973; Knyazev and
    Argentati, 2002). A factor of deficient rank has fewer angles; a factor of zeros has none.

    Returns:
        {"<weight> A": (smaller rank,), "<weight> B": …} for the weights that both change: radians from 0 to pi/2, ascending, fp64.
    """
    angles = {}
    for name in one.factors:
        if name in other.factors:
            (a, b), (other_a, other_b) = one.factors[name], other.factors[name]
            angles[f"{name} A"] = _angles(_basis(a.T), _basis(other_a.T))
            angles[f"{name} B"] = _angles(_basis(b), _basis(other_b))
    return angles


def angles_summary(angles: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean over the weights of the smallest angle, and the mean of all angles, in radians.

    Args:
        angles: as returned by `principal_angles`.

    Returns:
        `A_smallest`, `A_mean`, `B_smallest`, `B_mean`; those of a side without angles are left out.
    """
    summary = {}
    for side in ("A", "B"):
        if of_side := [values for name, values in angles.items() if name.endswith(f" {side}") and len(values)]:
            summary[f"{side}_smallest"] = torch.stack([values[0] for values in of_side]).mean().item()
            summary[f"{side}_mean"] = torch.cat(of_side).mean().item()
    return summary


def _basis(columns: Tensor) -> Tensor:
    """Return an orthonormal basis, (dim, rank), fp64, of the space that `columns`, (dim, n), span; rounding errors do not count."""
    # Moved before it is widened: GPUs of Apple have no float64.
    left, lengths, _ = svd(columns.detach().cpu().double(), full_matrices=False)
    negligible = torch.finfo(columns.dtype).eps * max(columns.shape) * lengths.max()
    return left[:, lengths > negligible]


def _angles(one: Tensor, other: Tensor) -> Tensor:
    larger, smaller = (one, other) if one.shape[1] >= other.shape[1] else (other, one)
    inner = larger.T @ smaller
    cosines, sines = svdvals(inner), svdvals(smaller - larger @ inner).flip(0)
    return torch.atan2(sines, cosines)
