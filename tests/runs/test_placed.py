"""A run is resumed in the dtype that it was started with."""

import pytest
import torch

from expunge.console import Display
from expunge.errors import ExpungeError, InputError
from expunge.models.placement import choose_placement
from expunge.pipeline import unlearn as module
from expunge.pipeline.unlearn import unlearn
from expunge.runs.loaded import load_run, open_run
from expunge.training.trainer import UnlearnTrainer


@pytest.fixture
def stopped(make_recipe_for, monkeypatch):
    """A recipe whose training, with weights in bf16, was stopped at its second step."""
    recipe = make_recipe_for("run", edit={"name": "lora"}, objective="npo", training={"epochs": 2, "save_steps": 1})
    step = UnlearnTrainer.training_step

    def stop(self, *args, **kwargs):
        if self.state.global_step:
            raise ExpungeError("stopped")
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(UnlearnTrainer, "training_step", stop)
        with pytest.raises(ExpungeError, match="stopped"):
            unlearn(recipe, Display(), choose_placement(dtype="bf16"))
    return recipe


def test_auto_resumes_in_the_dtype_of_the_start(stopped, monkeypatch):
    seen, train = [], module.train
    monkeypatch.setattr(module, "train", lambda model, *rest, **options: (seen.append(model.dtype), train(model, *rest, **options)))
    run = unlearn(stopped, Display())
    assert seen == [torch.bfloat16]
    assert run.read_info()["placement"] == {"device": "cpu", "dtype": "bf16"}
    loaded = load_run(open_run(run.folder), choose_placement(dtype="bf16")).model
    assert {weight.dtype for name, weight in loaded.named_parameters() if "lora_" in name} == {torch.float32}


def test_another_dtype_is_refused(stopped):
    with pytest.raises(InputError, match="was started with dtype bf16, not fp32; leave dtype out"):
        unlearn(stopped, Display(), choose_placement(dtype="fp32"))
