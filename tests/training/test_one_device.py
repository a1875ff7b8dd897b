"""The Trainer's arguments keep to the device of the model, however many GPUs are visible."""

import pytest
import torch
from transformers import TrainingArguments

from expunge.training.arguments import OneDevice


@pytest.fixture
def two_gpus(monkeypatch) -> list[torch.device]:
    """Simulate two GPUs; the devices that became the current one are in the returned list."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(torch.device(device)))
    return chosen


@pytest.mark.parametrize(("device", "count"), [("cpu", 0), ("cuda:0", 1), ("cuda:1", 1)])
def test_two_visible_gpus_do_not_make_the_trainer_copy_the_model(tmp_path, two_gpus, device, count):
    # More than one GPU in these arguments is what makes the Trainer wrap the model in DataParallel.
    assert TrainingArguments(output_dir=str(tmp_path)).n_gpu == 2
    two_gpus.clear()
    arguments = OneDevice(output_dir=str(tmp_path), model_device=torch.device(device), use_cpu=device == "cpu")
    assert (arguments.n_gpu, arguments.device) == (count, torch.device(device))
    assert two_gpus[-1:] == [torch.device(device)] * count
