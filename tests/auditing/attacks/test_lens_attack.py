"""The lens attack: an earlier block may reveal what a later one suppresses."""

from dataclasses import replace
from math import exp

import pytest
from transformers import Gemma2Config, Gemma2ForCausalLM

from expunge.auditing.attacks import Lens
from expunge.metrics.lens import lens_rows


def test_only_the_block_that_reveals_most_is_judged(make_target, attack_rows):
    attack, target = Lens(), make_target("grun")
    rows = attack_rows(attack, target)
    seen = {row["id"]: row["nll"] for row in lens_rows(target.model, target.builder, target.forget)}
    for record in target.forget:
        of_record = [row for row in rows if row["id"] == record.id]
        assert [row["value"] for row in of_record] == pytest.approx([exp(-nll) for nll in seen[record.id]])
        (judged,) = [row for row in of_record if attack.verdict_row(row)]
        assert judged["value"] == max(row["value"] for row in of_record)


def test_the_lens_does_not_apply_to_a_model_that_caps_its_logits(make_target, attack_rows):
    target = make_target()
    sizes = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    capped = Gemma2ForCausalLM(Gemma2Config(**sizes, num_key_value_heads=2, head_dim=8, final_logit_softcapping=5.0)).eval()
    assert attack_rows(Lens(), replace(target, model=capped)) == []
