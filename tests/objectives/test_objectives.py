"""Every objective against values worked out by hand, and its gradient against finite differences."""

import dataclasses
from math import log

import pytest
import torch
from torch import tensor

from expunge.models.scores import Scores
from expunge.objectives import DPO, IDK, KL, NPO, OBJECTIVES, RMU, Alternatives, GradAscent, GradDiff, Learn, SimNPO, retain


def value(loss):
    return pytest.approx(loss.item(), abs=1e-6)


def test_grad_ascent_by_hand():
    # rows 6/3 = 2 and 4/1 = 4 nats a token: minus their mean is -3
    scores = Scores(nll=tensor([6.0, 4.0]), tokens=tensor([3, 1]))
    assert value(GradAscent().forget(scores)) == -3.0
    assert GradAscent().retain_weight == 0


def test_grad_diff_by_hand():
    # forget -(6/3) = -2; retain 5/2 = 2.5; both weights 1
    objective = GradDiff()
    forget = objective.forget(Scores(nll=tensor([6.0]), tokens=tensor([3])))
    retain = objective.retain(Scores(nll=tensor([5.0]), tokens=tensor([2])))
    assert (forget.item(), retain.item()) == (-2.0, 2.5)
    assert (objective.forget_weight, objective.retain_weight) == (1.0, 1.0)


def test_kl_by_hand_is_masked_to_answer_tokens_and_averaged_by_row():
    # vocabulary of two. Row 0: one token, reference (1/2, 1/2), model (1/4, 3/4):
    #   1/2 ln 2 + 1/2 ln (2/3) = 0.346574 - 0.202733 = 0.143841
    # Row 1: two tokens, the first equal (0), the second as in row 0: mean 0.0719205. Mean of rows 0.10788075
    even, tilted = [0.0, 0.0], [0.0, log(3)]
    scores = Scores(
        nll=tensor([1.0, 1.0]),
        tokens=tensor([1, 2]),
        logits=tensor([tilted, even, tilted]),
        reference_logits=tensor([even, even, even]),
        rows=tensor([0, 1, 1]),
    )
    assert KL().retain(scores).item() == pytest.approx(0.10788075, abs=1e-6)


def test_kl_and_its_gradient_are_the_same_however_few_labels_are_held_at_once(monkeypatch):
    torch.manual_seed(0)
    reference, rows = torch.randn(7, 5), tensor([0, 0, 0, 1, 1, 2, 2])
    found = []
    for most in (256, 3):
        monkeypatch.setattr(retain, "LABELS_AT_ONCE", most)
        logits = torch.linspace(-1, 1, 35).reshape(7, 5).requires_grad_()
        scores = Scores(nll=torch.ones(3), tokens=tensor([3, 2, 2]), logits=logits, reference_logits=reference, rows=rows)
        loss = KL().retain(scores)
        loss.backward()
        found.append((loss.detach(), logits.grad))
    torch.testing.assert_close(found[0], found[1])
    assert found[0][1].abs().sum() > 0


def test_npo_by_hand():
    # nll 3, reference 1, beta 0.5: -(2 / 0.5) * log sigmoid(0.5 * 2) = 4 * 0.313262 = 1.253047
    scores = Scores(nll=tensor([3.0]), reference_nll=tensor([1.0]), tokens=tensor([4]))
    assert NPO(beta=0.5).forget(scores).item() == pytest.approx(1.253047, abs=1e-6)


def test_simnpo_by_hand():
    # nll 4 over 2 tokens, delta 1, beta 1: -2 log sigmoid(2 - 1) = 2 * 0.313262 = 0.626523; gamma 0.125 by default
    scores = Scores(nll=tensor([4.0]), tokens=tensor([2]))
    assert SimNPO(beta=1.0, delta=1.0).forget(scores).item() == pytest.approx(0.626523, abs=1e-6)
    assert SimNPO().forget_weight == 0.125


def test_idk_by_hand_scores_the_refusal():
    # the refusal's nll 3 over 6 tokens
    assert IDK().forget(Scores(nll=tensor([3.0]), tokens=tensor([6]))).item() == 0.5
    assert IDK.answer == "alternative"


def test_alternatives_by_hand():
    # alternatives 3/6 and 5/2 nats a token: mean 1.5. Distinctive tokens of 0.5 and 4 nats against a target of 3: mean (2.5 + 0)/2 = 1.25
    scores = Scores(
        nll=tensor([1.5, 5.0]),
        tokens=tensor([2, 2]),
        token_nll=tensor([1.0, 0.5, 4.0, 1.0]),
        distinctive=tensor([False, True, True, False]),
        alternative_nll=tensor([3.0, 5.0]),
        alternative_tokens=tensor([6, 2]),
    )
    assert Alternatives(push_weight=2.0).forget(scores).item() == 1.5 + 2 * 1.25
    nothing = dataclasses.replace(scores, distinctive=tensor([False] * 4))
    assert Alternatives().forget(nothing).item() == 1.5


def test_dpo_by_hand():
    # log-ratios: alternative -(2) + 3 = 1, true -(5) + 4 = -1; beta 0.5: -(4) log sigmoid(0.5 * 2) = 1.253047
    scores = Scores(
        nll=tensor([5.0]),
        tokens=tensor([3]),
        reference_nll=tensor([4.0]),
        alternative_nll=tensor([2.0]),
        alternative_reference_nll=tensor([3.0]),
    )
    assert DPO(beta=0.5).forget(scores).item() == pytest.approx(1.253047, abs=1e-6)


def test_rmu_by_hand():
    # one dimension: u = 1 after normalising. h = 1 and 3 against c = 2: ((1)^2 + (1)^2)/2 = 1
    # retain: h 1, 3 against reference 1, 1: (0 + 4)/2 = 2
    hidden, reference = {5: tensor([[1.0], [3.0]])}, {5: tensor([[1.0], [1.0]])}
    scores = Scores(nll=tensor([1.0]), tokens=tensor([2]), hidden=hidden, reference_hidden=reference)
    assert RMU(coefficient=2.0).forget(scores).item() == pytest.approx(1.0)
    assert RMU(coefficient=2.0).retain(scores).item() == pytest.approx(2.0)


def test_only_rmu_chooses_the_block_that_it_reads():
    assert RMU(block=3).hidden_block == 3
    assert RMU().hidden_block is None
    assert NPO().hidden_block is None


def test_rmu_direction_has_the_stated_length_and_no_negative_part():
    target = RMU(coefficient=7.0).direction(torch.zeros(1, 64))
    assert target.norm().item() == pytest.approx(7.0, rel=1e-6)
    assert (target >= 0).all()


def test_learn_is_the_opposite_of_grad_ascent():
    scores = Scores(nll=tensor([6.0, 4.0]), tokens=tensor([3, 1]))
    assert Learn().forget(scores).item() == -GradAscent().forget(scores).item() == 3.0


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("term", ["forget", "retain"])
def test_gradients_agree_with_finite_differences_in_float64(name, term):
    generator = torch.Generator().manual_seed(0)
    objective = OBJECTIVES[name](**({"coefficient": 2.0} if name == "rmu" else {}))

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.5

    fixed = Scores(
        nll=draw(2),
        tokens=tensor([2, 1]),
        rows=tensor([0, 0, 1]),
        reference_nll=draw(2),
        reference_logits=draw(3, 4),
        reference_hidden={1: draw(3, 5)},
        alternative_reference_nll=draw(2),
        alternative_tokens=tensor([3, 2]),
        distinctive=tensor([True, False, True]),
    )

    def loss(token_nll, alternative, logits, hidden):
        nll = torch.stack((token_nll[:2].sum(), token_nll[2]))
        scores = dataclasses.replace(fixed, nll=nll, token_nll=token_nll, alternative_nll=alternative, logits=logits, hidden={1: hidden})
        return getattr(objective, term)(scores)

    inputs = [t.requires_grad_() for t in (draw(3), draw(2), draw(3, 4), draw(3, 5))]
    assert torch.autograd.gradcheck(loss, inputs)
