"""Every objective trains every edit and changes nothing else; the saved edit is the trained one."""

import json
import math
import re

import pytest
import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch, collate
from expunge.edits import EDITS as TABLE
from expunge.edits import edit_of
from expunge.edits.save import load_edit, save_edit
from expunge.models.identified import load_identified
from expunge.models.scoring import score
from expunge.objectives import OBJECTIVES

EDITS = {
    **{name: {"name": name} for name in TABLE if name != "grun"},
    "grun-linear": {"name": "grun", "gate_pool": "last"},
    "grun-mlp": {"name": "grun", "gate_pool": "last", "gate": "mlp"},
    "grun-pooled": {"name": "grun", "gate_pool": "max", "gate_first": False},
    # The gate of a random model with 32 dimensions separates few prompts; at 3 % false positives it would open for none.
    "grun-gate-first": {"name": "grun", "gate_pool": "max", "gate_first": True, "false_positive_rate": 0.5},
}
ONE_STEP = {"batch_size": 6, "epochs": 1}


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@torch.no_grad()
def logits_of(model: nn.Module, batch: Batch) -> Tensor:
    return score(model, batch, logits=True).logits


def check(training, make_tiny_model) -> None:
    """Train, and check what must hold for every combination."""
    model, objective = training.model, training.recipe.objective
    before = parameters_of(model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    training.run()

    lines = [json.loads(line) for line in (training.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert all(math.isfinite(value) for line in lines for value in line.values())
    edit = edit_of(training.recipe)
    gated = edit.gated and not edit.trains_gate_first(training.recipe.edit)
    parts = {"forget"} | ({"retain"} if objective.retain_weight else set()) | ({"gate"} if gated else set())
    assert set(lines[0]) == {"step", "epoch", "loss", "lr", *parts}

    after = parameters_of(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert changed <= trained

    batch = collate(training.records.forget, training.pad)
    loaded = load_identified(make_tiny_model())
    fresh, identity = loaded.model, loaded.identity
    untouched = logits_of(fresh, batch)
    save_edit(model, training.folder / "edit", identity)
    expected = logits_of(model, batch)
    assert torch.equal(logits_of(load_edit(fresh, training.folder / "edit", identity).eval(), batch), expected)
    assert not torch.equal(untouched, expected)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_trains_an_edit(make_training, make_tiny_model, objective, edit):
    check(make_training(objective, EDITS[edit], **ONE_STEP), make_tiny_model)


@pytest.mark.parametrize("edit", ["full", "lora"])
def test_rmu_does_not_train_parameters_above_its_block(make_training, edit):
    # RMU steers block 2 of 4, so parameters in block 3 and above get no gradient.
    training = make_training("rmu", EDITS[edit], **ONE_STEP)
    before = parameters_of(training.model)
    after = parameters_of(training.run())
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("layers.2." in name for name in moved)
    assert not any("layers.3." in name or ".norm." in name for name in moved)


@pytest.mark.parametrize("edit", ["reft", "grun-linear", "grun-mlp", "grun-pooled"])
def test_rmu_trains_every_parameter_of_an_edit_at_the_last_prompt_token(make_training, edit):
    training = make_training("rmu", EDITS[edit], **ONE_STEP)
    before = parameters_of(training.model)
    after = parameters_of(training.run())
    edits = [name for name in before if "grun_" in name]
    assert edits
    assert [name for name in edits if torch.equal(before[name], after[name])] == []


def test_rmu_steers_the_chosen_block(make_training):
    training = make_training({"name": "rmu", "block": 0}, EDITS["lora"], **ONE_STEP)
    before = parameters_of(training.model)
    after = parameters_of(training.run())
    moved = {re.search(r"layers\.(\d)\.", name)[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"0"}
