"""Training in two processes, with DDP or FSDP2, gives the losses and the edit of one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from expunge.config.recipe import read_recipe
from expunge.console import Display
from expunge.pipeline.unlearn import unlearn
from expunge.training.checkpoints import newest_intact_checkpoint

COMBINATIONS = {
    "full-kl": {"objective": "kl", "edit": {"name": "full"}},
    "lora-dpo": {"objective": "dpo", "edit": {"name": "lora"}},
    "grun-rmu": {"objective": "rmu", "edit": {"name": "grun", "gate_pool": "last"}},
    "grun-gate-first": {"objective": "idk", "edit": {"name": "grun", "false_positive_rate": 0.5}},
}
SCRIPT = """
import sys
import torch
from accelerate import DistributedType, PartialState
from torch.distributed.tensor import DTensor
import expunge.pipeline.unlearn
from expunge.console import Display
from expunge.config.recipe import read_recipe
from expunge.training.trainer import UnlearnTrainer

torch.set_num_threads(1)
spread, _, stop = sys.argv[1].partition(":")
sharded = spread == "fsdp2"
start, save, step = PartialState.__init__, expunge.pipeline.unlearn.save_edit, UnlearnTrainer.training_step

def start_as_if_on_gpus(self, *args, **kwargs):
    # accelerate shards on GPUs only; FSDP2 of torch works on CPUs too.
    start(self, *args, **kwargs)
    self.distributed_type = DistributedType.MULTI_GPU

def save_what_is_spread(model, *args, **kwargs):
    assert PartialState().num_processes == 2
    assert all(isinstance(parameter, DTensor) == sharded for parameter in model.parameters())
    return save(model, *args, **kwargs)

def stop_at(self, *args, **kwargs):
    assert self.state.global_step + 1 != int(stop), "stopped on purpose"
    return step(self, *args, **kwargs)

if stop:
    UnlearnTrainer.training_step = stop_at
if sharded:
    PartialState.__init__ = start_as_if_on_gpus
expunge.pipeline.unlearn.save_edit = save_what_is_spread
for path in sys.argv[2:]:
    expunge.pipeline.unlearn.unlearn(read_recipe(path), Display())
"""
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
FSDP2 = Path(__file__).parents[2] / "launch" / "fsdp2.yaml"
LAUNCHERS = {
    "ddp": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"],
    "fsdp2": [*ACCELERATE, "--config_file", str(FSDP2)],
}


@pytest.fixture
def recipes(tmp_path, tiny_data, make_tiny_model) -> dict[str, dict]:
    """The same recipes for one process and for two: {name: plain values without `out`}."""
    forget, retain = map(str, tiny_data)
    # The last recipe generates its retain set: one process writes it, both read it.
    data = {name: {"forget": forget, "retain": None if name == "grun-gate-first" else retain} for name in COMBINATIONS}
    training = {"dtype": "fp32", "epochs": 2, "batch_size": 4, "lr": 1e-3, "save_steps": 2}
    model = str(make_tiny_model("gemma3"))
    return {name: {"model": model, "data": data[name], "training": training, **rest} for name, rest in COMBINATIONS.items()}


def write(recipes: dict[str, dict], folder: Path) -> list[str]:
    folder.mkdir()
    paths = []
    for name, recipe in recipes.items():
        paths.append(str(folder / f"{name}.yaml"))
        Path(paths[-1]).write_text(yaml.safe_dump({**recipe, "out": str(folder / name)}), encoding="utf-8")
    return paths


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def launch(tmp_path):
    """Run recipes in two processes: `launch("ddp" or "fsdp2", paths)`; with the suffix `:3` they stop at the third step."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")

    def run(spread: str, paths: list[str]) -> subprocess.CompletedProcess:
        command = [*LAUNCHERS[spread.partition(":")[0]], str(script), spread, *paths]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    return run


def compare(one: Path, two: Path) -> None:
    """Assert that two runs have the same losses and weights."""
    assert [line["step"] for line in log_of(one)] == [1, 2, 3, 4]
    for line, other in zip(log_of(one), log_of(two), strict=True):
        assert line == pytest.approx(other, rel=1e-5, abs=1e-6), one.name
    weights = [load_file(next((folder / "edit").glob("*.safetensors"))) for folder in (one, two)]
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=1e-3, atol=1e-4, msg=f"{one.name}: {key}")


@pytest.mark.parametrize("spread", ["fsdp2", pytest.param("ddp", marks=pytest.mark.long)])
def test_two_processes_give_the_result_of_one(tmp_path, recipes, launch, spread):
    done = launch(spread, write(recipes, tmp_path / "two"))
    assert done.returncode == 0, done.stderr[-3000:]
    for path in write(recipes, tmp_path / "one"):
        unlearn(read_recipe(path), Display())
    for name in recipes:
        compare(tmp_path / "one" / name, tmp_path / "two" / name)


@pytest.mark.long
@pytest.mark.parametrize("spread", ["fsdp2", "ddp"])
def test_two_stopped_processes_resume(tmp_path, recipes, launch, spread):
    recipes = {"lora-dpo": recipes["lora-dpo"]}
    (path,) = write(recipes, tmp_path / "two")
    stopped = launch(f"{spread}:4", [path])
    assert "stopped on purpose" in stopped.stderr
    run = tmp_path / "two" / "lora-dpo"
    assert newest_intact_checkpoint(run / "checkpoints").name == "checkpoint-2"
    before = (run / "metrics.jsonl").read_text().splitlines()
    done = launch(spread, [path])
    assert done.returncode == 0, done.stderr[-3000:]
    # The first two steps are from the first start.
    assert (run / "metrics.jsonl").read_text().splitlines()[:2] == before[:2]
    unlearn(read_recipe(write(recipes, tmp_path / "one")[0]), Display())
    compare(tmp_path / "one" / "lora-dpo", run)
