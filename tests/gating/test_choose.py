"""The kind of gate that is chosen: by the settings, by the names in the questions, and by planted features of held-out records."""

from functools import partial

import pytest
import torch
from torch import Tensor

from expunge.config import EditSection
from expunge.data.people import people
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.edits.active import gate_config
from expunge.gating import choose
from expunge.gating.choose import OF_NAMES, OF_SUBJECTS, OF_TEXTS, GateKind, chosen_kind, dropout_for
from expunge.gating.fit import apply_with_gate, fit_gate
from expunge.gating.train import NO_DROPOUT, Dropout
from expunge.gating.training_prompts import GatePrompts, gate_prompts
from expunge.models.loading import load
from expunge.runs.splits import Splits

WIDTH = 64


def states_with(generator: torch.Generator, features: list[int | None]) -> list[Tensor]:
    """Return one prompt of four random tokens for each feature, which two of its tokens have."""
    prompts = []
    for feature in features:
        states = 0.1 * torch.randn(4, WIDTH, generator=generator)
        if feature is not None:
            states[1:3, feature] += 3
        prompts.append(states)
    return prompts


def chosen(features: list[int | None], subject: str = "topic", **settings) -> GateKind:
    """Return the kind that is chosen for forget records with these features; no other prompt has one."""
    make = partial(states_with, torch.Generator().manual_seed(0))
    sets = [make(features), make([None] * 60), [], make([None] * 40), make(features[:5]), make([None] * 5)]
    forget, others, pool, closed, *checks = ([(1,)] * len(part) for part in sets)
    # Each calibration prompt comes in two variants.
    calibration = [closed[i : i + 2] for i in range(0, len(closed), 2)]
    prompts = GatePrompts(forget, len(features), others, pool, calibration, *checks, subject=subject)
    return chosen_kind(EditSection(**settings), prompts, {3: [state for part in sets for state in part]}, 1)


def test_names_are_kept_where_held_out_records_share_a_feature():
    assert chosen([0] * 40) == OF_NAMES


def test_a_gate_of_subjects_where_no_held_out_record_has_a_feature_of_the_others():
    # Every fifth record, which is held out, has a feature of its own
    assert chosen([i % 5 or 20 + i for i in range(40)]) == OF_SUBJECTS


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"subject": "names"}, OF_NAMES),
        ({"gate_pool": "max"}, GateKind("linear", "max")),
        ({"gate": "mlp", "gate_pool": "top2"}, GateKind("mlp", "top2")),
        ({"gate": "linear"}, GateKind("linear", "attention")),
        ({"subject": "names", "gate_augmentations": ("deferred",)}, OF_SUBJECTS),
        ({"gate_pool": "top2", "gate_augmentations": ("deferred",)}, GateKind("linear", "top2")),
    ],
)
def test_settings_and_names_decide_first(given, kind):
    assert chosen([i % 5 or 20 + i for i in range(40)], **given) == kind


def test_a_few_records_keep_the_gate_of_names():
    assert chosen([i % 5 or 20 + i for i in range(19)]) == OF_NAMES


@pytest.mark.parametrize(
    ("records", "subject"),
    [
        (people(2)[:8], "names"),
        ([Record(str(i), (), f"Sir Walter of Kellynch read the Baronetage, volume {i}.", prompt_chars=20) for i in range(8)], "texts"),
        ([Record(str(i), (Turn("user", f"How long does a loaf of size {i} bake?"),), "An hour.") for i in range(8)], "topic"),
    ],
)
def test_which_forget_sets_have_names(make_tiny_model, records, subject):
    builder, retain = PromptBuilder(load(make_tiny_model())[1]), people(6)[20:40]
    splits = Splits(records, retain[:10], retain[10:15], retain[15:])
    assert gate_prompts(builder, splits, (), 4096, 1).subject == subject


def test_dropout_leaves_out_other_tokens_and_numbers_each_time_and_never_all():
    states, generator = torch.arange(1.0, 9.0)[:, None].expand(8, 50), torch.Generator().manual_seed(0)
    left = [Dropout(0.5, 0.2).applied(states, generator) for _ in range(200)]
    assert 3.5 < sum(map(len, left)) / len(left) < 4.5
    assert len({tuple(some.amax(1).tolist()) for some in left}) > 100
    everything = torch.cat(left)
    assert 0.15 < (everything == 0).float().mean() < 0.25
    # What stays is a whole number by 0.8
    assert set((everything * 0.8).round(decimals=3).unique().tolist()) == set(range(9))
    assert len(Dropout(0.999, 0.0).applied(states, generator)) >= 1
    assert Dropout(0.0, 0.0).applied(states, generator) is states


@pytest.mark.parametrize(("subject", "dropout"), [("texts", OF_TEXTS), ("topic", NO_DROPOUT), ("names", NO_DROPOUT)])
def test_only_the_gate_of_a_text_is_trained_with_dropout(subject, dropout):
    prompts = GatePrompts([], 0, [], [], [], [], [], subject=subject)
    assert dropout_for(OF_SUBJECTS, prompts) == dropout
    assert dropout_for(OF_NAMES, prompts) == NO_DROPOUT


def test_a_run_gets_the_chosen_gate(make_tiny_model, monkeypatch):
    monkeypatch.setattr(choose, "RECOGNISED", 1.1)
    model, tokenizer = load(make_tiny_model())
    texts = [Record(str(i), (), f"Passage {i} of a book about the sea, the wind and ship number {i}.", prompt_chars=20) for i in range(60)]
    edit = EditSection(name="grun", blocks=[3], false_positive_rate=0.5, gate_augmentations=())
    splits = Splits(texts[:20], texts[20:40], texts[40:50], texts[50:])
    fitted = fit_gate(model, PromptBuilder(tokenizer), splits, edit, 42, lambda rows: None)
    config = gate_config(apply_with_gate(model, edit, "", fitted), "default")
    assert (config.gate, config.gate_pool) == OF_SUBJECTS
