"""The retain constraint of a forget module: overlap penalty, active retain module, KL term."""

import pytest
import torch
from small_modules import L1, SETTINGS, logged, sha256

from expunge.config import OverlapSection
from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import read_records
from expunge.models.loading import load
from expunge.models.scoring import score
from expunge.reveal_release.release.lora_delta import add_deltas, read_module
from expunge.reveal_release.release.orthogonality import angles_summary, principal_angles


@pytest.mark.parametrize("kind", ["l1", "frobenius"])
def test_the_penalty_increases_the_angles_to_the_retain_module(train, kind):
    # Two spaces of 4 dimensions among 32: chance alone leaves some of their directions close to each other
    retain = train("retain", "retain", seed=6)
    longer, angles = SETTINGS.model_copy(update={"epochs": 10}), []
    for name in ("none", kind):
        folder = train(name, settings=longer, module=retain, overlap=OverlapSection(kind=name, weight=0.3, include_b=True))
        angles.append(angles_summary(principal_angles(read_module(retain), read_module(folder))))
    assert all(angles[1][part] > angles[0][part] for part in angles[0])
    assert angles[1]["A_smallest"] > angles[0]["A_smallest"] + 0.1


def test_a_penalty_without_weight_is_not_computed(train):
    constraint = {"module": train("retain", "retain", seed=6)}
    alone = sha256(train("alone"))
    for name, overlap in (("none", OverlapSection(kind="none")), ("zero", OverlapSection(weight=0))):
        folder = train(name, overlap=overlap, **constraint)
        assert sha256(folder) == alone
        assert "overlap" not in logged(folder)[0]


def test_b_is_penalised_only_with_include_b(train):
    # Before the first step the new B is 0, so that the first logged penalty is of A alone; from then on it is not
    retain = train("retain", "retain")
    logs = [logged(train(f"{b}", module=retain, overlap=OverlapSection(weight=0.01, include_b=b))) for b in (False, True)]
    assert logs[0][0]["overlap"] == logs[1][0]["overlap"]
    assert logs[0][1]["overlap"] != logs[1][1]["overlap"]


def test_the_retain_module_does_not_change_and_is_active_only_if_requested(train):
    retain = train("retain", "retain")
    before = sha256(retain)
    first = [logged(train(f"{on}", module=retain, active=on))[0]["forget"] for on in (False, True)]
    assert first[0] == logged(train("alone"))[0]["forget"] != first[1]
    assert sha256(retain) == before


def test_an_active_retain_module_equals_one_added_to_the_weights(train, make_tiny_model):
    retain = train("retain", "retain")
    added, _ = load(make_tiny_model())
    add_deltas(added, [(1.0, read_module(retain))])
    one, other = logged(train("beside", module=retain, active=True)), logged(train("added", model=added))
    assert [line["forget"] for line in one] == pytest.approx([line["forget"] for line in other], rel=1e-3)


def test_with_the_kl_term_subtraction_changes_retain_answers_less(train, nll, make_tiny_model, tiny_data):
    def left(folder):
        model = load(make_tiny_model())[0]
        before = nll(model, "retain")
        add_deltas(model, [(-1.0, read_module(folder))])
        return abs(nll(model, "retain") - before), nll(model, "forget")

    retained = read_records(tiny_data[1])
    freely, forgot_freely = left(train("free"))
    held, forgot_held = left(train("held", records=retained, kl_weight=3.0))
    assert held < freely / 2
    assert forgot_held > nll(load(make_tiny_model())[0], "forget")
    assert forgot_freely > nll(load(make_tiny_model())[0], "forget")


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_uses_logits_divided_by_the_temperature(train, tiny_data, make_tiny_model, temperature):
    model, tokenizer = load(make_tiny_model())
    builder = PromptBuilder(tokenizer)
    rows = [builder.record(record) for record in read_records(tiny_data[0])]
    with torch.no_grad():
        scores = score(model.eval(), collate(rows, builder.pad), logits=True)
    tokens = torch.nn.functional.cross_entropy(scores.logits / temperature, scores.targets, reduction="none")
    by_row = torch.zeros(len(rows)).index_add(0, scores.rows, tokens) / scores.tokens
    # The first step is made on the unchanged model, and its batch has all rows.
    one_step = SETTINGS.model_copy(update={"temperature": temperature, "batch_size": len(rows), "micro_batch_size": len(rows), "epochs": 1})
    assert logged(train("module", settings=one_step))[0]["forget"] == pytest.approx(by_row.mean().item(), rel=1e-5)


def test_the_kl_term_needs_a_weight_and_records(train, tiny_data):
    plain = sha256(train("plain"))
    assert sha256(train("no weight", records=read_records(tiny_data[1]), kl_weight=0.0)) == plain
    assert sha256(train("no records", records=[], kl_weight=1.0)) == plain


def test_without_a_retain_module_there_is_no_overlap_penalty(train):
    assert sha256(train("none", overlap=L1, active=True)) == sha256(train("alone"))
