"""`decoding_batches`: no prompt is left out, and no other split costs less."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.prompts import PROMPT_TOKENS_PER_STEP, decoding_batches


def cost(batches: list[list[int]], lengths: list[int], max_new_tokens: int) -> int:
    """Cost of batches in tokens: padded prompts and decoding steps."""
    return sum(len(one) * max(lengths[i] for i in one) + PROMPT_TOKENS_PER_STEP * (1 + max_new_tokens) for one in batches)


def every_split(order: list[int], size: int) -> list[list[list[int]]]:
    """All ways to split an order into batches of at most a size."""
    inner = range(1, len(order))
    cuts = [(0, *chosen, len(order)) for count in range(len(order)) for chosen in combinations(inner, count)]
    return [[order[a:b] for a, b in pairwise(cut)] for cut in cuts if all(b - a <= size for a, b in pairwise(cut))]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(1, 8), st.integers(0, 8))
def test_every_prompt_is_in_one_batch_and_no_split_costs_less(lengths, size, max_new_tokens):
    batches = list(decoding_batches([range(length) for length in lengths], size, max_new_tokens))
    flat = [i for one in batches for i in one]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[i] for i in flat] == sorted(lengths)
    assert max(map(len, batches)) <= size
    assert cost(batches, lengths, max_new_tokens) == min(cost(cut, lengths, max_new_tokens) for cut in every_split(flat, size))


def test_no_prompts_make_no_batch():
    assert list(decoding_batches([], 4, 8)) == []


@pytest.mark.parametrize(("long", "batches"), [(60, [[0, 1, 2]]), (4000, [[0, 1], [2]])])
def test_a_long_prompt_gets_a_batch_for_itself_where_padding_costs_more(long, batches):
    assert list(decoding_batches([range(50), range(51), range(long)], 16, 64)) == batches
