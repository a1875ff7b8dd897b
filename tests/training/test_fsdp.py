"""Two processes with the weights spread over them (FSDP2) train as one does."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_ddp import log_of, recipes, write

from expunge.console import Display
from expunge.pipeline import unlearn
from expunge.recipe import read_recipe

SCRIPT = """
import sys
import torch
from accelerate import DistributedType, PartialState
from torch.distributed.tensor import DTensor
import expunge.pipeline
from expunge.console import Display
from expunge.recipe import read_recipe

torch.set_num_threads(1)
# accelerate shards on GPUs only; torch's FSDP2 itself works on processors too
start = PartialState.__init__

def start_as_if_on_gpus(self, *args, **kwargs):
    start(self, *args, **kwargs)
    self.distributed_type = DistributedType.MULTI_GPU

PartialState.__init__ = start_as_if_on_gpus
save = expunge.pipeline.save_edit

def save_of_shards(model, *args, **kwargs):
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    save(model, *args, **kwargs)

expunge.pipeline.save_edit = save_of_shards
for path in sys.argv[1:]:
    expunge.pipeline.unlearn(read_recipe(path), Display())
"""
CONFIG = Path(__file__).parents[2] / "accelerate" / "fsdp2.yaml"

__all__ = ["recipes"]


def test_two_processes_that_share_the_weights_train_as_one(tmp_path, recipes):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIG), "--num_processes", "2", str(script)]
    done = subprocess.run([*launch, *write(recipes, tmp_path / "two")], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for path in write(recipes, tmp_path / "one"):
        unlearn(read_recipe(path), Display())
    for name in recipes:
        one, two = log_of(tmp_path / "one" / name), log_of(tmp_path / "two" / name)
        for line, other in zip(one, two, strict=True):
            assert line == pytest.approx(other, rel=1e-5, abs=1e-6), name
        weights = [load_file(next((tmp_path / folder / name / "edit").glob("*.safetensors"))) for folder in ("one", "two")]
        for key, value in weights[0].items():
            torch.testing.assert_close(value, weights[1][key], rtol=1e-3, atol=1e-4, msg=f"{name}: {key}")
