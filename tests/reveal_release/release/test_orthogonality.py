"""Overlap and principal angles: by hand, and where numbers are small."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from torch import tensor

from expunge.errors import InputError
from expunge.reveal_release.release.lora_delta import LoraModule
from expunge.reveal_release.release.orthogonality import angles_summary, overlap, principal_angles

W = "layer.weight"


def module_of(a: torch.Tensor, b: torch.Tensor | None = None) -> LoraModule:
    return LoraModule({W: (a, torch.ones(3, len(a)) if b is None else b)}, {W: 1.0})


def test_overlap_by_hand():
    # [[1, 2], [0, 1]] [[3, -1]]^T = [[1], [-1]] in the one layer, [[2]] [[2]]^T = [[4]] in the other
    retain = {"one": tensor([[1.0, 2.0], [0.0, 1.0]]), "two": tensor([[2.0]])}
    forget = {"one": tensor([[3.0, -1.0]]), "two": tensor([[2.0]])}
    # |1| + |-1| + |4| = 6; 1 + 1 + 16 = 18
    assert overlap(retain, forget, "l1").item() == 6
    assert overlap(retain, forget, "frobenius").item() == 18


def test_orthogonal_rows_do_not_overlap():
    retain, forget = {"one": tensor([[1.0, 1.0, 0.0]])}, {"one": tensor([[1.0, -1.0, 5.0]])}
    assert overlap(retain, forget, "l1").item() == overlap(retain, forget, "frobenius").item() == 0


def test_only_layers_that_both_have_count():
    here = {"one": tensor([[1.0]]), "only here": tensor([[100.0]])}
    assert overlap(here, {"one": tensor([[2.0]]), "yours": tensor([[100.0]])}, "l1").item() == 2
    with pytest.raises(InputError, match="no layer in common"):
        overlap(here, {"yours": tensor([[1.0]])}, "l1")


@pytest.mark.parametrize("kind", ["l1", "frobenius"])
def test_gradients_are_those_of_finite_differences(kind):
    torch.manual_seed(0)
    retain = {"one": torch.randn(3, 5, dtype=torch.float64), "two": torch.randn(2, 4, dtype=torch.float64)}
    forget = [torch.randn(2, 5, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, dtype=torch.float64, requires_grad=True)]
    assert torch.autograd.gradcheck(lambda one, two: overlap(retain, {"one": one, "two": two}, kind), forget)


def test_the_gradient_goes_to_the_forget_factors_alone():
    retain, forget = torch.ones(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    overlap({"one": retain}, {"one": forget}, "frobenius").backward()
    # d/da (a . r)^2 = 2 (a . r) r = 2 * 2 * 1
    assert retain.grad is None
    assert forget.grad.tolist() == [[4, 4]]


def test_autocast_does_not_round_it():
    # 1 + 2^-10 is no bf16 number
    retain, forget = {"one": tensor([[1.0, 2.0**-10]])}, {"one": tensor([[1.0, 1.0]], requires_grad=True)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = overlap(retain, forget, "l1")
    assert penalty.dtype == torch.float32
    assert penalty.item() == 1 + 2.0**-10
    penalty.backward()
    assert forget["one"].grad.tolist() == [[1, 2.0**-10]]


def test_angles_by_hand():
    # Rows: e1, e2 against e1 and (e2 + e3)/sqrt(2): 0 and 45 degrees. Columns: e1 against e2: 90 degrees
    one = module_of(tensor([[1.0, 0, 0], [3.0, 2.0, 0]]), tensor([[5.0, 10.0], [0, 0], [0, 0]]))
    other = module_of(tensor([[0.0, 1, 1], [7.0, 0, 0]]), tensor([[0.0, 0], [1.0, 2.0], [0, 0]]))
    angles = principal_angles(one, other)
    assert angles[f"{W} A"].tolist() == pytest.approx([0, math.pi / 4], abs=1e-12)
    # Both B have rank 1 only
    assert angles[f"{W} B"].tolist() == pytest.approx([math.pi / 2])


def test_there_are_as_many_angles_as_the_smaller_rank():
    angles = principal_angles(module_of(torch.eye(4)[:1]), module_of(torch.eye(4)[1:]))
    assert angles[f"{W} A"].tolist() == pytest.approx([math.pi / 2])
    angles = principal_angles(module_of(torch.eye(4)[1:]), module_of(torch.eye(4)[:1]))
    assert angles[f"{W} A"].tolist() == pytest.approx([math.pi / 2])


def test_a_small_angle_is_not_lost_in_its_cosine():
    # The cosine of 1e-9 is 1 in fp64: from cosines alone the angle would be 0 or 1e-8
    small = 1e-9
    one, other = (module_of(torch.tensor([row], dtype=torch.float64)) for row in ([1.0, 0.0], [math.cos(small), math.sin(small)]))
    assert principal_angles(one, other)[f"{W} A"].item() == pytest.approx(small, rel=1e-6)


def test_a_factor_of_zeros_has_no_angles():
    # As B is before the first step
    fresh = module_of(torch.eye(2), torch.zeros(3, 2))
    assert principal_angles(fresh, module_of(torch.eye(2)))[f"{W} B"].tolist() == []
    assert set(angles_summary(principal_angles(fresh, fresh))) == {"A_smallest", "A_mean"}


def test_weights_that_one_module_lacks_have_no_angles():
    assert principal_angles(module_of(torch.eye(2)), LoraModule({}, {})) == {}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(1, 5))
def test_angles_are_scipys_and_belong_to_the_spaces(seed, rank, other_rank):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(r, 7, generator=generator) for r in (rank, other_rank))
    angles = principal_angles(module_of(a), module_of(b))[f"{W} A"]
    assert angles.tolist() == pytest.approx(sorted(subspace_angles(a.T.double().numpy(), b.T.double().numpy())), abs=1e-6)
    # Another basis of the same space, and the other way round
    mixed = module_of(torch.randn(rank, rank, generator=generator, dtype=torch.float64) @ a.double())
    assert principal_angles(module_of(b), mixed)[f"{W} A"].tolist() == pytest.approx(angles.tolist(), abs=1e-4)


def test_the_summary_by_hand():
    # A: smallest 0.1 and 0.3, mean 0.2; all 0.1, 0.5, 0.3, mean 0.3. B: 1 alone
    angles = {"x A": tensor([0.1, 0.5]), "y A": tensor([0.3]), "x B": tensor([1.0]), "y B": tensor([])}
    assert angles_summary(angles) == pytest.approx({"A_smallest": 0.2, "A_mean": 0.3, "B_smallest": 1.0, "B_mean": 1.0})
