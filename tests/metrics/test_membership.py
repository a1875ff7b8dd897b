"""Membership inference by hand, on tiny models, and against OpenUnlearning's values on the embedded one."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import Record, Turn
from expunge.edits.active import edits_off
from expunge.edits.apply import apply_edit
from expunge.errors import InputError
from expunge.metrics.likelihood import each_answer, min_k, min_k_plus_plus, zlib_ratio
from expunge.metrics.membership import SCORES, membership_rows, membership_summary, privleak
from expunge.metrics.statistics import Summary
from expunge.models.loading import load
from expunge.models.scoring import score

SHARED = Path(__file__).parents[3] / "shared"
RECORDS = [
    Record(str(i), (Turn("user", f"Where does {name} live?"),), f"{name} lives in city {i}.") for i, name in enumerate(("Ana", "Li Wei"))
]
TEXT = Record("text", (), "The author never told anyone the name of the first book about birds.")
scores_of_several = st.lists(st.floats(-50, 50), min_size=1, max_size=12)


@pytest.fixture
def tiny(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    return model, PromptBuilder(tokenizer)


def numbers(row: dict) -> dict:
    return {name: value for name, value in row.items() if name in SCORES}


def rows_of(members: list[float], nonmembers: list[float], name: str = "min_k") -> list[dict]:
    both = [(True, value) for value in members] + [(False, value) for value in nonmembers]
    return [{"id": str(i), "member": member, name: value} for i, (member, value) in enumerate(both)]


def test_members_have_the_lower_scores():
    # pairs in which the member's loss is the lower: 1<3, 1<2, 2<3, 2=2 (half): 3.5 of 4
    summary = membership_summary(rows_of([1.0, 2.0], [3.0, 2.0], "loss"))
    assert summary["mia_loss"].value == pytest.approx(0.875)
    assert summary["mia_loss"].n == 4
    assert list(summary) == ["mia_loss"]


@given(scores_of_several, scores_of_several)
def test_an_auc_is_between_zero_and_one_and_swapping_the_sets_gives_one_minus_it(members, nonmembers):
    one = membership_summary(rows_of(members, nonmembers))["mia_min_k"].value
    other = membership_summary(rows_of(nonmembers, members))["mia_min_k"].value
    assert 0 <= one <= 1
    assert one + other == pytest.approx(1)


UNLEARNED, CONTROL = rows_of([1.0, 2.0], [3.0, 1.5]), rows_of([3.0, 2.0], [2.0, 4.0])


def test_privleak_by_hand():
    # AUC unlearned 1<3, 1<1.5, 2<3: 3/4; control 3<4, 2<4, 2=2 (half): 2.5/4. (0.75 - 0.625) / 0.625 = 0.2
    summary = privleak(UNLEARNED, CONTROL)
    assert summary.value == pytest.approx(0.2)
    assert summary.n == 4


def test_privleak_of_openunlearning_swaps_the_classes():
    # 1 - AUC: unlearned 0.25, control 0.375: (0.25 - 0.375) / 0.375 * 100 = -33.33
    assert privleak(UNLEARNED, CONTROL, compat=True).value == pytest.approx(-100 / 3)
    # Before unlearning the AUC is 1, the control's 1/2: (0 - 0.5) / 0.5 = -100 %, as MUSE's table 3 has it (-99.8)
    recognised, unseen = rows_of([1.0, 1.0], [2.0, 2.0]), rows_of([1.0, 3.0], [2.0, 2.0])
    assert privleak(recognised, unseen, compat=True).value == pytest.approx(-100)
    assert privleak(recognised, unseen).value == pytest.approx(1.0)


@given(scores_of_several, scores_of_several)
def test_privleak_of_the_control_itself_is_zero(members, nonmembers):
    rows = rows_of(members, nonmembers)
    if membership_summary(rows)["mia_min_k"].value > 0:
        of_itself = privleak(rows, rows)
        assert of_itself.value == 0
        assert of_itself.ci95 in (None, (0.0, 0.0))
    assert privleak(rows, rows, compat=True).value == 0


def test_privleak_resamples_both_models_alike():
    # 20 records that the control orders as the unlearned model does: no resample has a difference
    rows = rows_of([float(i) for i in range(10)], [i + 0.5 for i in range(10)])
    doubled = [{**row, "min_k": 2 * row["min_k"]} for row in rows]
    assert privleak(rows, doubled) == Summary(0.0, 20, (0.0, 0.0))


@pytest.mark.parametrize("control", [None, []])
def test_privleak_without_a_control_is_an_error_and_not_a_number(control):
    with pytest.raises(InputError, match="give one as the control"):
        privleak(UNLEARNED, control)


def test_privleak_of_a_control_whose_auc_is_zero_is_an_error():
    with pytest.raises(InputError, match="AUC is 0"):
        privleak(UNLEARNED, rows_of([3.0, 4.0], [1.0, 2.0]))


def test_privleak_of_other_records_is_an_error():
    with pytest.raises(ValueError, match="different records"):
        privleak(UNLEARNED, CONTROL[:-1])


@pytest.mark.parametrize("tiny_model_dir", ["llama", "gpt2"], indirect=True)
def test_a_row_has_every_score_of_its_record(tiny, make_tiny_model):
    model, builder = tiny
    reference = load(make_tiny_model("qwen3"))[0]
    done = []
    rows = membership_rows(model, builder, RECORDS, [TEXT], reference, advance=done.append)
    assert [(row["id"], row["member"]) for row in rows] == [("0", True), ("1", True), ("text", False)]
    assert all(set(row) == {"id", "member", *SCORES} for row in rows)
    assert done == [1, 1, 1]
    for row, record in zip(rows, [*RECORDS, TEXT], strict=True):
        batch = collate([builder.record(record)], builder.pad)
        with torch.no_grad():
            scores, known = score(model, batch, logits=True), score(reference, batch)
        (answer,) = each_answer(scores)
        text = record.answer if record.turns else builder.tokenizer.decode(list(builder.record(record).answer))
        expected = {
            "loss": answer.loss,
            "zlib": zlib_ratio(answer.loss, text),
            "min_k": min_k(answer.token_logprobs, 0.4),
            "min_k_plus_plus": min_k_plus_plus(scores.logits, scores.targets, 0.4),
            "reference": answer.loss - known.nll.item() / answer.tokens,
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_the_gradient_norm_covers_all_weights_together(tiny):
    model, builder = tiny
    (row,) = membership_rows(model, builder, RECORDS[:1], [])
    (averaged,) = membership_rows(model, builder, RECORDS[:1], [], compat=True)
    scores = score(model, collate([builder.record(RECORDS[0])], builder.pad), logits=True)
    (scores.nll / scores.tokens).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert row["grad_norm"] == pytest.approx(torch.cat([g.flatten() for g in gradients]).norm().item(), rel=1e-4)
    assert averaged["grad_norm"] == pytest.approx(torch.stack([g.norm() for g in gradients]).mean().item(), rel=1e-4)


def test_gradients_leave_nothing_behind(tiny):
    model, builder = tiny
    model.requires_grad_(False)
    membership_rows(model, builder, RECORDS, [])
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.parameters())


@pytest.mark.parametrize("edit", [{"name": "lora"}, {"name": "grun", "blocks": [2]}])
def test_an_edit_that_is_off_changes_no_score(tiny, edit):
    model, builder = tiny
    before = membership_rows(model, builder, RECORDS, [TEXT])
    model = apply_edit(model, EditSection(**edit), "").eval()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "gate" not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    with_it = membership_rows(model, builder, RECORDS, [TEXT])
    assert all(numbers(row).keys() == numbers(one).keys() for row, one in zip(with_it, before, strict=True))
    with edits_off(model):
        after = membership_rows(model, builder, RECORDS, [TEXT])
    for one, other in zip(before, after, strict=True):
        assert numbers(other) == pytest.approx(numbers(one), rel=1e-4)
    assert trained == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_without_gradients_records_are_scored_together(tiny):
    model, builder = tiny
    together = membership_rows(model, builder, RECORDS, [TEXT], gradients=False)
    alone = membership_rows(model, builder, RECORDS, [TEXT])
    for one, other in zip(together, alone, strict=True):
        del other["grad_norm"]
        assert numbers(one) == pytest.approx(numbers(other), rel=1e-4)


@pytest.mark.real
@pytest.mark.parametrize(("reference", "file"), [("forget10", "forget10_perturbed.jsonl"), ("world_facts", "world_facts_perturbed.jsonl")])
def test_rows_agree_with_openunlearning(smollm2, reference, file):
    path = SHARED / "reference" / f"openunlearning_tofu_{reference}.json"
    if not path.exists():
        pytest.skip("the reference values (../shared/reference) are not here")
    lines = (SHARED / "data" / "tofu" / file).read_text().splitlines()
    model, tokenizer = smollm2
    expected = json.loads(path.read_text())[:4]
    originals = [json.loads(lines[row["row"]]) for row in expected]
    records = [Record(str(i), (Turn("user", row["question"]),), row["answer"]) for i, row in enumerate(originals)]
    rows = membership_rows(model, PromptBuilder(tokenizer), records, [], gradients=False, batch_size=2, compat=True)
    names = {"loss": "avg_loss", "zlib": "zlib", "min_k": "min_k_0.4", "min_k_plus_plus": "min_k++_0.4"}
    for row, reference_row in zip(rows, expected, strict=True):
        assert {name: row[name] for name in names} == pytest.approx({name: reference_row[other] for name, other in names.items()}, rel=1e-3)
