"""Checkpoints are safetensors and JSON: nothing is pickled, and what is not of the training is refused."""

import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_resume import FIVE_EPOCHS, Interrupted, result

from expunge.edits.manifest import write_manifest
from expunge.errors import ExpungeError, InputError
from expunge.training.checkpoint_files import load_random_states, random_states, write_random_states
from expunge.training.checkpoints import newest_intact_checkpoint

EDITS = {"full": {"name": "full", "modules": r"layers\.3\."}, "grun": {"name": "grun", "false_positive_rate": 0.5}}


def interrupt(make_training, edit: str):
    """Stop a training at its fifth step; return the folder of its newest checkpoint, of step 4."""
    training = make_training("npo", EDITS[edit], folder="broken", **FIVE_EPOCHS)
    with pytest.raises(KeyboardInterrupt):
        training.run(Interrupted(step=5))
    return training.folder / "checkpoints" / "checkpoint-4"


@pytest.mark.parametrize("edit", EDITS)
def test_training_and_resuming_pickle_nothing(make_training, monkeypatch, edit):
    def refuse(*args, **kwargs):
        raise AssertionError("a pickle")

    whole = make_training("npo", EDITS[edit], folder="whole", **FIVE_EPOCHS)
    whole.run()
    monkeypatch.setattr(torch, "save", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    folder = interrupt(make_training, edit)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    again = make_training("npo", EDITS[edit], folder="broken", **FIVE_EPOCHS)
    again.run()
    assert result(again) == result(whole)


def test_a_checkpoint_holds_what_is_trained_and_the_moments_of_it(make_training):
    folder = interrupt(make_training, "full")
    weights, moments = load_file(folder / "weights.safetensors"), load_file(folder / "optimizer.safetensors")
    assert weights
    assert all(name.startswith("model.layers.3.") for name in weights)
    assert set(moments) == {f"{key} of {name}" for name in weights for key in ("step", "exp_avg", "exp_avg_sq")}
    assert {value.item() for name, value in moments.items() if name.startswith("step of ")} == {4.0}
    # Five epochs of two steps: after 4 of 10 the linear schedule has 6/10 of 1e-3 left.
    assert json.loads((folder / "optimizer.json").read_text())["schedule"]["_last_lr"] == pytest.approx([6e-4, 6e-4])


def test_random_states_survive_a_file(tmp_path):
    write_random_states(tmp_path, 1, random_states())
    drawn = random.random(), np.random.rand(), torch.rand(3).tolist()
    load_random_states(tmp_path, 1)
    assert (random.random(), np.random.rand(), torch.rand(3).tolist()) == drawn
    # A rank that the stopped training did not have.
    load_random_states(tmp_path, 0)


def put(folder, name: str, change) -> None:
    """Change the tensors of a file of a checkpoint, as somebody would who also writes a new manifest."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)
    write_manifest(folder)


def rename(tensors: dict) -> None:
    tensors["x"] = tensors.pop(next(iter(tensors)))


def shorten(tensors: dict) -> None:
    name = next(name for name, value in tensors.items() if value.ndim)
    tensors[name] = tensors[name][:1].clone()


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("change", [rename, shorten])
def test_a_checkpoint_of_another_training_is_refused(make_training, name, change):
    put(interrupt(make_training, "full"), name, change)
    with pytest.raises(InputError, match=rf"checkpoint-4/{name}: .*remove this checkpoint"):
        make_training("npo", EDITS["full"], folder="broken", **FIVE_EPOCHS).run()


def spoil(tensors: dict) -> None:
    next(iter(tensors.values())).view(-1)[0] = torch.inf


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_a_checkpoint_that_is_not_finite_is_refused(make_training, name):
    put(interrupt(make_training, "full"), name, spoil)
    with pytest.raises(ExpungeError, match=rf"holds an infinite number .*checkpoint-4/{name}"):
        make_training("npo", EDITS["full"], folder="broken", **FIVE_EPOCHS).run()


def test_a_checkpoint_of_an_earlier_version_is_skipped(make_training, caplog):
    folder = interrupt(make_training, "full")
    (folder / "weights.safetensors").rename(folder / "model.safetensors")
    write_manifest(folder)
    assert newest_intact_checkpoint(folder.parent) == folder.with_name("checkpoint-2")
    assert "checkpoint-4 is not used: an earlier version of expunge wrote it" in caplog.text
