"""The part of a gate that reads answers: the rows it is fitted on, and that the installed gate decides as the fitted one did."""

import numpy as np
import pytest
import torch

from expunge.config import EditSection
from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.data.records import read_records
from expunge.edits.grun.layer import GrunLayer
from expunge.gating.answer_gate import fact_maps
from expunge.gating.answer_rows import answer_rows, forget_variants, unended, with_partial_names
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


def test_a_map_finds_its_fact_behind_other_names_and_stays_below_zero_for_all_negatives():
    generator = torch.Generator().manual_seed(0)
    negatives = [torch.randn(12, 16, generator=generator) for _ in range(40)]
    centres = 8 * torch.eye(16)[:2]
    revealed = [centres[fact] + torch.randn(3, 16, generator=generator) for fact in (0, 0, 0, 1, 1, 1)]
    part = fact_maps(revealed, [0, 0, 0, 1, 1, 1], negatives)
    # Two facts of three tokens each.
    assert part.out_features == 6
    assert max(part(states).amax().item() for states in negatives) == pytest.approx(0, abs=1e-5)
    again = [centres[fact] + torch.randn(1, 16, generator=generator) for fact in (0, 1)]
    assert [part(state).argmax().item() // 3 for state in again] == [0, 1]
    assert all(part(state).amax() > 1 for state in again)


def test_forget_answers_come_with_partial_names_and_those_of_strangers_too_and_without_an_end_of_turn(setting):
    _, builder, splits = setting
    first, *variants = forget_variants(splits, np.random.default_rng(0))[0]
    assert first.prompt == "Where does Basil Mahfouz live?"
    assert {"Basil lives in city 0.", "Mahfouz lives in city 0.", "B. Mahfouz lives in city 0."} < {other.answer for other in variants}
    assert sum(not {"Basil", "Mahfouz"} <= {*other.answer.split()} for other in variants) == 5 == len({other.answer for other in variants})
    row = builder.record(first)
    assert unended(builder, row).answer == row.answer[:-1]


def test_rows_to_calibrate_on_are_not_trained_on_and_held_out_records_are_in_neither(setting):
    model, builder, splits = setting
    rows = answer_rows(model, builder, splits, 42)
    assert len(rows.forget) == len(rows.facts) == len(rows.starts)
    variants = forget_variants(splits, np.random.default_rng(0))
    assert len(rows.forget) + rows.without_start == 2 * sum(map(len, variants)) > rows.without_start
    calibration = {unended(builder, builder.record(record)).answer for record in splits.calibration}
    assert calibration <= {row.answer for row in rows.calibration}
    of_records = 2 * len(with_partial_names(splits.calibration, splits))
    assert not {row.prompt for row in rows.calibration[of_records:]} & {row.prompt for row in rows.negatives}
    held_out = {unended(builder, builder.record(record)).answer for record in splits.held_out}
    assert not held_out & {row.answer for row in rows.all}


def test_the_installed_gate_opens_for_the_answers_that_the_fitted_one_opened_for(setting):
    model, builder, splits = setting
    section = EditSection(name="grun", blocks=[3], answer_gate=True, false_positive_rate=0.5)
    fitted = fit_gate(model, builder, splits, section, 42, lambda rows: None)
    rows = answer_rows(model, builder, splits, 42)
    edited = apply_with_gate(model, section, "", fitted)
    assert fitted.answers is not None
    # An adapter that is loaded again has as many maps.
    assert edited.peft_config["default"].answer_maps == fitted.answers.part.out_features > 1
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

    # The gate is fitted on states in half precision, and its threshold lies next to the logit of one of the rows.
    share = len(rows.forget) / (len(rows.forget) + rows.without_start)
    assert share * share_open(rows.forget) == pytest.approx(fitted.answers.coverage, abs=1.5 / len(rows.forget))
    assert share_open(rows.calibration) == pytest.approx(fitted.answers.threshold.calibration_rate, abs=1.5 / len(rows.calibration))
    assert not any(parameter.requires_grad for layer in gates for parameter in layer.grun_answer_gate.parameters())
