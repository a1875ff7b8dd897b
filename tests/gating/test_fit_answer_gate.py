"""The part of a gate that reads answers: the rows it is fitted on, and that the installed gate decides as the fitted one did."""

import pytest
import torch

from expunge.config import EditSection
from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.data.records import read_records
from expunge.edits.grun.layer import GrunLayer
from expunge.gating.answer_gate import READ_AFTER_FACT, answer_rows, up_to_fact
from expunge.gating.fit import apply_with_gate, fit_gate
from expunge.models.forward_context import batch_context
from expunge.models.loading import load
from expunge.runs.splits import Splits


@pytest.fixture
def setting(make_tiny_model, tiny_data):
    """A tiny model, its builder and the splits of a run."""
    model, tokenizer = load(make_tiny_model())
    forget, retain = map(read_records, tiny_data)
    return model, PromptBuilder(tokenizer), Splits(forget, retain[:6], retain[6:8], retain[8:])


def test_an_answer_is_cut_a_few_tokens_after_its_first_distinctive_one():
    answer = tuple(range(20, 40))
    row, leaks = Encoded((1, 2), answer), [i == 5 for i in range(20)]
    assert up_to_fact(row, leaks).answer == answer[: 6 + READ_AFTER_FACT]
    assert up_to_fact(Encoded((1, 2), (7, *answer), unscored=1), leaks).answer == (7, *answer[: 6 + READ_AFTER_FACT])
    assert up_to_fact(row, [False] * 20).answer == answer


def test_rows_to_calibrate_on_are_not_trained_on_and_held_out_records_are_in_neither(setting):
    model, builder, splits = setting
    rows = answer_rows(model, builder, splits, 42)
    assert len(rows.forget) == 2 * len(splits.forget)
    calibration = {builder.record(record).answer for record in splits.calibration}
    assert calibration <= {row.answer for row in rows.calibration}
    assert not {row.prompt for row in rows.calibration[2 * len(splits.calibration) :]} & {row.prompt for row in rows.negatives}
    held_out = {builder.record(record).answer for record in splits.held_out}
    assert not held_out & {row.answer for row in rows.all}


def test_the_installed_gate_opens_for_the_answers_that_the_fitted_one_opened_for(setting):
    model, builder, splits = setting
    section = EditSection(name="grun", blocks=[3], answer_gate=True, false_positive_rate=0.5)
    fitted = fit_gate(model, builder, splits, section, 42, lambda rows: None)
    rows = answer_rows(model, builder, splits, 42)
    edited = apply_with_gate(model, section, "", fitted)
    # Prompts no longer count: only the part for answers can open the gate now.
    gates = [layer for layer in edited.modules() if isinstance(layer, GrunLayer) and layer.block in fitted.gate]
    for layer in gates:
        layer.grun_gate["default"].weight.zero_()
        layer.grun_gate["default"].bias.fill_(-1e6)

    def share_open(part: list[Encoded]) -> float:
        opened = []
        for row in part:
            batch = collate([row], builder.pad)
            with torch.no_grad(), batch_context(batch):
                edited(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids)
            state = gates[0].state
            at_prompt = state.logits["default", gates[-1].block] >= fitted.threshold.logit
            opened.append(bool(at_prompt | state.answer_open["default"].any()))
        return sum(opened) / len(opened)

    assert fitted.answers is not None
    # The gate is fitted on states in half precision, and its threshold lies next to the logit of one of the rows.
    assert share_open(rows.forget) == pytest.approx(fitted.answers.coverage, abs=1.5 / len(rows.forget))
    assert share_open(rows.calibration) == pytest.approx(fitted.answers.threshold.calibration_rate, abs=1.5 / len(rows.calibration))
    assert not any(parameter.requires_grad for layer in gates for parameter in layer.grun_answer_gate.parameters())
