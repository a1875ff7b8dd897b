"""A training on a tiny model, small enough to run hundreds of times."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.progress import Progress
from torch import nn

from expunge.config.recipe import Recipe, make_recipe
from expunge.data.prompts import PromptBuilder
from expunge.data.records import read_records
from expunge.edits import edit_of
from expunge.edits.apply import apply_edit
from expunge.gating.fit import apply_with_gate, fit_gate
from expunge.models.identified import load_identified
from expunge.runs.splits import Splits
from expunge.training.inputs import EncodedRecords, encode_records
from expunge.training.train import train

# The Trainer collects garbage before and after every training, which takes half a second with all imported objects.
gc.freeze()


@dataclass
class Training:
    """The arguments of `train`; `run` calls it."""

    model: nn.Module
    recipe: Recipe
    records: EncodedRecords
    folder: Path
    pad: int

    def run(self, progress: Progress | None = None) -> nn.Module:
        train(self.model, self.recipe, self.records, self.folder, self.pad, progress or Progress(disable=True))
        return self.model


@pytest.fixture
def make_training(make_tiny_model, tiny_data, tmp_path) -> Callable[..., Training]:
    """Make the same training at every call: `make(objective, edit, folder="run", model_dir=None, **training)`."""

    def make(
        objective: str | dict[str, Any], edit: dict[str, Any], folder: str = "run", model_dir: Path | None = None, **training: Any
    ) -> Training:
        settings = {"dtype": "fp32", "epochs": 1, "batch_size": 4, "save_steps": 2, **training}
        forget, retain = tiny_data
        data = {"forget": str(forget), "retain": str(retain)}
        recipe = make_recipe({"data": data, "objective": objective, "edit": edit, "training": settings})
        loaded = load_identified(model_dir or make_tiny_model())
        model, sha256, builder = loaded.model, loaded.identity.checkpoint, PromptBuilder(loaded.tokenizer)
        sets = read_records(forget), read_records(retain)
        gate = None
        if edit_of(recipe).trains_gate_first(recipe.edit):
            split = Splits(sets[0], sets[1][:6], sets[1][6:], [])
            gate = fit_gate(model, builder, split, recipe.edit, 42, lambda rows: None)
        torch.manual_seed(0)
        model = apply_edit(model, recipe.edit, sha256) if gate is None else apply_with_gate(model, recipe.edit, sha256, gate)
        records = encode_records(builder, *sets, objective=recipe.objective)
        (tmp_path / folder).mkdir(exist_ok=True)
        return Training(model, recipe, records, tmp_path / folder, builder.pad)

    return make
