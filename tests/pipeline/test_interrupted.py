"""A run that was stopped, or whose data or model changed: it goes on, stays as it is, or is refused."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.records import read_records
from expunge.errors import ExpungeError, InputError
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run
from expunge.runs.loaded import OpenedRun, load_run, open_run
from expunge.runs.splits import read_splits


def test_a_trained_run_is_left_as_it_is(make_recipe_for, capsys):
    run = unlearn(make_recipe_for("run"), Display())
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock"}
    assert unlearn(make_recipe_for("run"), Display()) == run
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "is trained already" in " ".join(capsys.readouterr().err.split())


def killed(recipe: Recipe, tmp_path: Path) -> Run:
    """Start a recipe in another process and kill it as soon as its second checkpoint is whole."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.as_dict()), encoding="utf-8")
    run = Run(Path(recipe.out))
    command = [sys.executable, "-m", "expunge", "run", str(tmp_path / "recipe.yaml")]
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while not (run.folder / "checkpoints" / "checkpoint-2" / "manifest.json").exists():
            assert process.poll() is None, (tmp_path / "output.txt").read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return run


def test_a_run_killed_with_signal_9_ends_as_the_uninterrupted_one(make_recipe_for, edit_sha256, tmp_path):
    training = {**make_recipe_for("x").training.model_dump(), "epochs": 10}
    whole = unlearn(make_recipe_for("whole", training=training), Display())
    recipe = make_recipe_for("killed", training=training)
    run = killed(recipe, tmp_path)
    assert run.read_info()["status"] == "training"
    assert not run.edit.exists()
    unlearn(recipe, Display())
    assert edit_sha256(run) == edit_sha256(whole)
    assert (run.folder / "metrics.jsonl").read_text() == (whole.folder / "metrics.jsonl").read_text()
    assert not (run.folder / "checkpoints").exists()


class Interrupted(Display):
    """A display that is interrupted where the training would begin to be shown."""

    def progress(self):
        progress = super().progress()
        progress.update = self._stop
        return progress

    def _stop(self, task_id, **kwargs):
        raise KeyboardInterrupt


def interrupt(recipe: Recipe) -> Run:
    """A run whose training has begun."""
    with pytest.raises(KeyboardInterrupt):
        unlearn(recipe, Interrupted())
    run = Run(Path(recipe.out))
    assert run.training_started
    return run


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("finished", [False, True])
def test_data_that_changed_since_is_refused(make_recipe_for, tiny_data, which, finished):
    recipe = make_recipe_for("run")
    run = unlearn(recipe, Display()) if finished else interrupt(recipe)
    path = tiny_data[which]
    path.write_text(path.read_text(encoding="utf-8").replace("city", "town"), encoding="utf-8")
    with pytest.raises(InputError, match=f"{path.name}: has changed since .*run was trained on it"):
        unlearn(recipe, Display())
    with pytest.raises(InputError, match=f"{path.name}: has changed"):
        read_splits(OpenedRun(run.folder, run.read_recipe(), run.read_info()))


def test_data_may_be_corrected_before_training_has_begun(make_recipe_for, tiny_data, tmp_path):
    # The first start fails at the batch size, after the model was loaded and the data hashed
    bad = {"epochs": 1, "batch_size": 7, "micro_batch_size": 2}
    with pytest.raises(InputError, match="not a multiple"):
        unlearn(make_recipe_for("run", training=bad), Display())
    path = tiny_data[0]
    path.write_text(path.read_text(encoding="utf-8").replace("city", "town"), encoding="utf-8")
    run = unlearn(make_recipe_for("run"), Display())
    assert [record.answer for record in read_splits(open_run(run.folder)).forget] == [record.answer for record in read_records(path)]


def damaged_copy(model: Path, folder: Path, value: float) -> Path:
    """A model whose last norm has one weight replaced."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_base_model_that_changed_since_is_refused(make_recipe_for, tiny_model_dir, tmp_path):
    model = Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))
    run = interrupt(make_recipe_for("begun", model=str(model)))
    trained = unlearn(make_recipe_for("trained", model=str(model)), Display())
    shutil.rmtree(model)
    damaged_copy(tiny_model_dir, model, 0.5)
    with pytest.raises(InputError, match="was trained on another base model"):
        unlearn(run.read_recipe(), Display())
    with pytest.raises(InputError, match="was trained on another base model"):
        load_run(open_run(trained.folder))


def test_a_model_that_is_not_finite_leaves_no_edit(make_recipe_for, tiny_model_dir, tmp_path):
    model = damaged_copy(tiny_model_dir, tmp_path / "model", float("nan"))
    with pytest.raises(ExpungeError, match=r"the loss is nan at step 1 \(records f"):
        unlearn(make_recipe_for("run", model=str(model)), Display())
    assert not (tmp_path / "run" / "edit").exists()
    assert Run(tmp_path / "run").read_info()["status"] == "training"
