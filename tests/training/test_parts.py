"""A batch that is scored in parts of similar length has the scores of the whole, and the parts are the cheapest ones."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.prompts import Encoded, collate
from expunge.edits.active import gate_logits
from expunge.models.loading import load
from expunge.models.scoring import score
from expunge.training.parts import PART_COST, cheapest_parts, score_in_parts, take_rows

ROWS = [Encoded(tuple(range(5, 5 + p)), tuple(range(40, 40 + a)), u) for p, a, u in [(9, 150, 0), (3, 4, 1), (12, 149, 2), (7, 5, 0)]]


def test_a_batch_in_parts_has_the_scores_of_the_whole(make_training):
    training = make_training("npo", {"name": "grun", "gate_pool": "last"})
    model, batch = training.model.eval(), collate(ROWS, training.pad, ("a", "b", "c", "d"))
    lengths = []

    def scored(part):
        lengths.append((part.record_ids, part.prompt_length, part.input_ids.shape[1]))
        return score(model, part), gate_logits(model)

    found, logits = score_in_parts(batch, scored)
    assert lengths == [(("b", "d"), 7, 12), (("c", "a"), 12, 162)]
    whole = score(model, batch)
    torch.testing.assert_close(logits, gate_logits(model))
    for name in ("nll", "tokens", "token_nll"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name))
    assert found.tokens.tolist() == [150, 3, 147, 5]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    of_parts, of_whole = (torch.autograd.grad((scores.nll * torch.arange(1.0, 5)).sum(), parameters) for scores in (found, whole))
    for part, expected in zip(of_parts, of_whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-5)


def test_a_model_without_a_gate_has_no_gate_logits(make_tiny_model):
    model, tokenizer = load(make_tiny_model())
    batch = collate(ROWS, tokenizer.pad_token_id or 0)
    assert score_in_parts(batch, lambda part: (score(model, part), None))[1] is None


def test_a_part_has_no_padding_that_only_other_rows_need():
    part = take_rows(collate(ROWS, 0), [1])
    assert (part.input_ids.tolist(), part.attention_mask.tolist()) == ([[5, 6, 7, 40, 41, 42, 43]], [[1] * 7])
    assert (part.prompt_length, part.unscored) == (3, (1,))


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8))
def test_no_parts_cost_less(answers):
    def cost(parts):
        return sum(PART_COST + len(part) * (1 + max(part)) for part in parts)

    ordered = sorted(answers)
    cuts = [[0, *(i + 1 for i in range(len(ordered) - 1) if chosen >> i & 1), len(ordered)] for chosen in range(2 ** (len(ordered) - 1))]
    least = min(cost([ordered[start:end] for start, end in pairwise(ends)]) for ends in cuts)
    parts = cheapest_parts(answers)
    assert sorted(row for part in parts for row in part) == list(range(len(answers)))
    assert cost([[answers[row] for row in part] for part in parts]) == least


@pytest.mark.parametrize("answers", [[30] * 16, [30, 31, 32, 33]])
def test_rows_of_similar_length_stay_together(answers):
    assert len(cheapest_parts(answers)) == 1
