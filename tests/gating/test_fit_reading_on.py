"""The gate of a topic reads on: its margin is calibrated, and the installed gate opens for the answers that the fitted one opened for."""

from dataclasses import replace

import pytest
import torch

from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import read_records
from expunge.edits.active import pooled_gate_layers
from expunge.edits.requests import REQUEST
from expunge.gating import fit
from expunge.gating.answer_rows import unended
from expunge.gating.choose import OF_NAMES, OF_SUBJECTS
from expunge.gating.fit import apply_with_gate, fit_gate
from expunge.models.forward_context import batch_context
from expunge.models.loading import load
from expunge.runs.splits import Splits


@pytest.mark.parametrize("kind", [OF_NAMES, OF_SUBJECTS])
def test_the_installed_gate_opens_for_the_answers_that_the_fitted_one_opened_for(make_tiny_model, tiny_data, monkeypatch, kind):
    model, tokenizer = load(make_tiny_model())
    forget, retain = map(read_records, tiny_data)
    builder, splits = PromptBuilder(tokenizer), Splits(forget, retain[:6], retain[6:8], retain[8:])
    # The questions have names. Of a topic without them the gate would be the same.
    whole_set = fit.gate_prompts
    monkeypatch.setattr(fit, "gate_prompts", lambda *given: replace(whole_set(*given), subject="topic"))
    section = EditSection(name="grun", blocks=[3], answer_gate=True, gate=kind.gate, gate_pool=kind.pool, false_positive_rate=0.5)
    fitted = fit_gate(model, builder, splits, section, 42, lambda rows: None)
    assert fitted.answers is not None
    assert fitted.answers.part is None
    assert fitted.answers.margin >= 0
    edited = apply_with_gate(model, section, "", fitted)
    config, state = edited.peft_config[REQUEST], pooled_gate_layers(edited, REQUEST)[0].state
    assert config.reads_on
    assert config.answer_margin == fitted.answers.margin

    def opens(record) -> bool:
        batch = collate([unended(builder, builder.record(record))], builder.pad)
        with torch.no_grad(), batch_context(batch):
            edited(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids)
        return bool((state.logits[REQUEST, config.last_gate] >= config.threshold) | state.answer_open[REQUEST].any())

    # The gate is fitted on states in half precision, and its threshold lies next to the logit of one of the rows.
    share = sum(map(opens, forget)) / len(forget)
    assert share == pytest.approx(fitted.answers.coverage, abs=1.5 / len(forget))
    assert sum(map(opens, splits.calibration)) <= 1
