"""Numbers that are not finite are named: in tensors by the tensor, in JSON by the place."""

import math

import pytest
import torch

from expunge.errors import ExpungeError
from expunge.models.finite import check_finite, finite_or_none, is_finite, json_text


def test_the_first_tensor_that_is_not_finite_is_named():
    fine, infinite, nan = torch.ones(2), torch.tensor([1.0, -math.inf]), torch.tensor([[math.inf, math.nan]])
    check_finite([("a", fine), ("counts", torch.tensor([3])), ("empty", torch.empty(0))], "after step 1")
    with pytest.raises(ExpungeError, match=r"^b holds an infinite number after step 3; lower it$"):
        check_finite([("a", fine), ("b", infinite), ("c", nan)], "after step 3; lower it")
    with pytest.raises(ExpungeError, match=r"^c holds NaN after"):
        check_finite([("c", nan)], "after step 3")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_number_that_overflows_in_its_dtype_is_not_finite(dtype):
    # fp16 ends at 65504, bf16 and fp32 near 3.4e38.
    assert is_finite(torch.tensor(6e4, dtype=dtype))
    assert is_finite(torch.tensor(1e38).to(dtype)) == (dtype != torch.float16)
    assert not is_finite(torch.tensor(1e39, dtype=torch.float64).to(dtype))


@pytest.mark.parametrize(
    ("value", "place"),
    [({"a": [1, {"b": math.nan}]}, r"a\[1\]\.b is nan"), ([math.inf], r"\[0\] is inf"), (-math.inf, "the result is -inf")],
)
def test_json_names_the_number_that_is_not_finite(value, place):
    with pytest.raises(ExpungeError, match=rf"^x\.json: {place}, not a finite number; nothing was written$"):
        json_text(value, "x.json")


def test_json_of_finite_numbers_is_as_before():
    assert json_text({"b": 0.1, "a": [1, None, "é"]}, "x", sort_keys=True) == '{"a": [1, null, "\\u00e9"], "b": 0.1}'
    assert json_text({"é": 1}, "x", indent=1, ensure_ascii=False) == '{\n "é": 1\n}'
    assert [finite_or_none(value) for value in (1.5, math.inf, math.nan)] == [1.5, None, None]
