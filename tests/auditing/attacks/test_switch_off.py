"""Switching off: without its removable edit a model still knows the answers."""

from dataclasses import replace
from statistics import fmean

from torch import nn

from expunge.auditing.attacks import SwitchOff
from expunge.auditing.attacks.queries import plain_queries, recall_rows
from expunge.config import EditSection
from expunge.edits.apply import apply_edit


def test_without_its_adapter_a_model_reveals_what_it_was_taught(make_target, learn, attack_rows):
    target = make_target()
    del target.forget[2:]
    learn(target, target.forget)
    assert [row["value"] for row in attack_rows(SwitchOff(), target)] == [1.0, 1.0]
    edited = apply_edit(target.model, EditSection(name="lora"), "").eval()
    for name, parameter in edited.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    suppressed = replace(target, model=edited)
    assert fmean(row["value"] for row in recall_rows(suppressed, plain_queries(target.builder, target.forget), lambda _: None)) < 0.5
    assert [row["value"] for row in attack_rows(SwitchOff(), suppressed)] == [1.0, 1.0]
