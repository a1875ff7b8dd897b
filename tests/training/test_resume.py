"""An interrupted training resumes with the same result to the last bit; a training with a wrong loss or gradient stops."""

import hashlib
import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.progress import Progress

from expunge.edits.manifest import find_damage, write_manifest
from expunge.edits.save import save_edit
from expunge.errors import ExpungeError
from expunge.models.identity import ModelIdentity
from expunge.training.checkpoints import newest_intact_checkpoint

EDITS = {
    "full": {"name": "full", "modules": r"layers\.3\."},
    "lora": {"name": "lora"},
    "grun": {"name": "grun", "gate_pool": "last"},
    "grun-gate-first": {"name": "grun", "gate_pool": "max", "false_positive_rate": 0.5},
}


class Interrupted(Progress):
    """A display that raises at a step, after the step is logged and before it is saved."""

    def __init__(self, step: int):
        super().__init__(disable=True)
        self.step = step

    def update(self, task_id, **kwargs):
        super().update(task_id, **kwargs)
        if kwargs.get("completed") == self.step:
            raise KeyboardInterrupt


def result(training) -> tuple[str, str]:
    """Return the SHA-256 of the weights of the trained edit, and the log."""
    save_edit(training.model, training.folder / "edit", ModelIdentity(*"wctmg"))
    weights = next((training.folder / "edit").glob("*.safetensors")).read_bytes()
    return hashlib.sha256(weights).hexdigest(), (training.folder / "metrics.jsonl").read_text(encoding="utf-8")


# An epoch has two steps and every other step is saved: the fifth step, in the middle of the third epoch, is lost.
FIVE_EPOCHS = {"epochs": 5, "save_steps": 2, "lr": 1e-3}


@pytest.mark.parametrize("edit", EDITS)
def test_a_resumed_training_gives_the_result_of_an_uninterrupted_one(make_training, edit):
    whole = make_training("npo", EDITS[edit], folder="whole", **FIVE_EPOCHS)
    whole.run()
    first = make_training("npo", EDITS[edit], folder="broken", **FIVE_EPOCHS)
    with pytest.raises(KeyboardInterrupt):
        first.run(Interrupted(step=5))
    assert len((first.folder / "metrics.jsonl").read_text().splitlines()) == 5
    assert newest_intact_checkpoint(first.folder / "checkpoints").name == "checkpoint-4"
    again = make_training("npo", EDITS[edit], folder="broken", **FIVE_EPOCHS)
    again.run()
    assert result(again) == result(whole)


def interrupt(make_training) -> Path:
    """Interrupt a training of lora at its fifth step; return the folder of its checkpoints 2 and 4."""
    training = make_training("npo", EDITS["lora"], folder="broken", **FIVE_EPOCHS)
    with pytest.raises(KeyboardInterrupt):
        training.run(Interrupted(step=5))
    return training.folder / "checkpoints"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_skipped_with_a_warning(make_training, caplog, tmp_path):
    checkpoints = interrupt(make_training)
    files = [path.name for path in (checkpoints / "checkpoint-4").iterdir() if path.name != "manifest.json"]
    assert {"weights.safetensors", "optimizer.safetensors", "optimizer.json", "random_state_0.json", "trainer_state.json"} <= set(files)
    for i, (file, damage) in enumerate(itertools.product(files, (truncate, flip_a_bit, Path.unlink))):
        damaged = Path(shutil.copytree(checkpoints, tmp_path / str(i)))
        damage(damaged / "checkpoint-4" / file)
        caplog.clear()
        assert newest_intact_checkpoint(damaged) == damaged / "checkpoint-2"
        assert f"checkpoint checkpoint-4 is not used: {file}" in caplog.text


def test_a_training_resumes_from_the_checkpoint_before_a_damaged_one_and_drops_later_log_lines(make_training):
    whole = make_training("npo", EDITS["lora"], folder="whole", **FIVE_EPOCHS)
    whole.run()
    checkpoints = interrupt(make_training)
    flip_a_bit(checkpoints / "checkpoint-4" / "weights.safetensors")
    # The last line was cut off by a full disk.
    with (checkpoints.parent / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 6, "ep')
    again = make_training("npo", EDITS["lora"], folder="broken", **FIVE_EPOCHS)
    again.run()
    assert result(again) == result(whole)


def test_an_unfinished_checkpoint_is_skipped(make_training, caplog):
    checkpoints = interrupt(make_training)
    (checkpoints / "checkpoint-4" / "manifest.json").unlink()
    assert newest_intact_checkpoint(checkpoints) == checkpoints / "checkpoint-2"
    assert "checkpoint-4 is not used: manifest.json is missing, so the folder was not finished" in caplog.text
    (checkpoints / "checkpoint-2" / "manifest.json").write_text('{"adapter_model.saf', encoding="utf-8")
    assert newest_intact_checkpoint(checkpoints) is None
    assert "checkpoint-2 is not used: manifest.json cannot be read" in caplog.text


def test_a_manifest_covers_every_file_and_shows_damage(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    assert find_damage(tmp_path) == "manifest.json is missing, so the folder was not finished or was changed"
    recorded = write_manifest(tmp_path)
    assert recorded == hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "manifest.json").read_text())["files"] == {"a.bin": hashlib.sha256(b"abc").hexdigest()}
    assert find_damage(tmp_path) is None
    assert not list(tmp_path.glob("*.part"))
    (tmp_path / "a.bin").write_bytes(b"abd")
    assert find_damage(tmp_path) == "a.bin does not have the hash it was saved with"


@pytest.mark.parametrize("edit", ["full", "lora", "grun"])
def test_a_loss_that_is_not_finite_stops_the_training_before_anything_is_saved(make_training, edit):
    training = make_training("npo", EDITS[edit], batch_size=3, save_steps=1)
    with torch.no_grad():
        next(p for name, p in training.model.named_parameters() if "norm" in name)[0] = torch.nan
    with pytest.raises(ExpungeError, match=r"the loss is nan at step 1 \(records (f\d, ){3}r\d") as error:
        training.run()
    assert error.value.exit_code == 1
    assert not list((training.folder / "checkpoints").iterdir())
    assert (training.folder / "metrics.jsonl").read_text() == ""


def test_a_step_that_overshoots_stops_the_training_at_the_next_step(make_training):
    training = make_training("grad_ascent", EDITS["full"], batch_size=3, save_steps=50, lr=1e38)
    with pytest.raises(ExpungeError, match=r"the loss is (nan|inf|-inf) at step 2 \(records f\d, f\d, f\d\)"):
        training.run()
    assert not list((training.folder / "checkpoints").iterdir())


def test_no_step_is_taken_on_a_gradient_that_is_not_finite(make_training):
    training = make_training("npo", EDITS["lora"], batch_size=3)
    parameter = next(parameter for parameter in training.model.parameters() if parameter.requires_grad)
    parameter.register_hook(lambda gradient: gradient * torch.inf)
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    with pytest.raises(
        ExpungeError, match=r"a gradient is not finite at step 1 \(records (f\d, ){3}r\d, r\d, r\d\); the step was not taken"
    ):
        training.run()
    assert all(torch.equal(old, new) for old, new in zip(before, training.model.parameters(), strict=True))
