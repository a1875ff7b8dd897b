"""A forward pass from the states below the trained blocks gives the scores and gradients of the whole forward pass."""

import math

import pytest
import torch

from expunge.data.prompts import Encoded
from expunge.edits.active import frozen_blocks
from expunge.models.blocks import decoder_blocks
from expunge.models.prefix_store import open_lower_states_store
from expunge.models.scoring import score
from tests.models.test_prefix import FAMILIES, ROWS, batch_of


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_gradients_from_lower_states_are_those_of_the_whole_forward_pass(family):
    model, batch = FAMILIES[family]().eval(), batch_of(*ROWS)
    upper = decoder_blocks(model)[1][2:]
    model.requires_grad_(False)
    upper.requires_grad_(True)
    store = open_lower_states_store(model, frozen_blocks(model) - 1, math.inf, batch)
    assert store.block == 1
    gradients = []
    for prefix in (None, store.prefix(batch)):
        scores = score(model, batch, prefix=prefix, hidden=[2])
        gradients.append([*torch.autograd.grad(scores.nll.sum(), list(upper.parameters())), scores.nll, scores.hidden[2]])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)
    assert store.holds(batch)
    assert not store.holds(batch_of(Encoded((11, 12), (13,))))
