"""Training with the published presets follows the paper's equations: compare every step with GRUN as plain PyTorch hooks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from plain_grun import PlainGrun, train

from expunge.data.batches import Plan, epoch_batches
from expunge.documents import read_yaml
from expunge.edits.grun import GrunLayer
from expunge.models.loading import load
from expunge.training.inputs import PairCollator

RECIPES = Path(__file__).parents[2] / "recipes"
EPOCHS, BATCH = 10, 3


@dataclass(frozen=True)
class Preset:
    """A preset in the paper's code."""

    name: str
    gamma: float
    lambda_r: float
    lambda_g: float
    answer: Literal["answer", "alternative"] = "answer"


PRESETS = {
    "grun-gd": Preset("grad_diff", 1, 2, 10),
    "grun-npo": Preset("npo", 100, 1, 10),
    "grun-idk": Preset("idk", 1, 1, 10, "alternative"),
    "grun-rmu": Preset("rmu", 1, 1, 100),
}


@pytest.mark.parametrize("prefix_cache", ["off", "auto"])
@pytest.mark.parametrize("preset", PRESETS)
def test_twenty_steps_of_a_preset_equal_those_of_the_equations(make_training, make_tiny_model, preset, prefix_cache):
    recipe, published = read_yaml(RECIPES / f"{preset}.yaml"), PRESETS[preset]
    assert recipe["training"]["gate_loss_weight"] == published.lambda_g
    edit = {**recipe["edit"], "blocks": [1, 2, 3]}
    settings = {**recipe["training"], "epochs": EPOCHS, "batch_size": BATCH, "prefix_cache": prefix_cache}
    training = make_training(recipe["objective"], edit, **settings)
    layers = {m.block: m for m in training.model.modules() if isinstance(m, GrunLayer)}
    parts = {block: {name: p.detach().clone().requires_grad_() for name, p in _parts(layer).items()} for block, layer in layers.items()}
    training.run()

    model, _ = load(make_tiny_model())
    plain = PlainGrun(model.requires_grad_(False), parts)
    logged = train(plain, published, _steps(training, resample=published.name == "idk"))
    lines = [json.loads(line) for line in (training.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len(logged) == 20
    for line, expected in zip(lines, logged, strict=True):
        assert {name: line[name] for name in expected} == pytest.approx(expected, rel=1e-5), f"step {line['step']}"
    for block, layer in layers.items():
        for name, parameter in _parts(layer).items():
            torch.testing.assert_close(parameter, parts[block][name], rtol=1e-4, atol=1e-4, msg=f"{name} of block {block}")


def _parts(layer):
    source, gate = layer.grun_source["default"], layer.grun_gate["default"]
    return {"R": layer.grun_rotate["default"], "W": source.weight, "b": source.bias, "v": gate.weight, "c": gate.bias}


def _steps(training, resample):
    lengths = [[(len(row.prompt), len(row.answer)) for row in rows] for rows in (training.records.forget, training.records.retain)]
    plan = Plan(*lengths, batch_size=BATCH)
    collate = PairCollator(training.records, training.pad, resample, plan.seed)
    return [collate(batch) for epoch in range(EPOCHS) for batch in epoch_batches(plan, epoch)]
