"""Device and dtype from Python."""

import inspect

import pytest
import torch

import expunge
from expunge.api import evaluate_gate
from expunge.errors import InputError

LOADING = (expunge.unlearn, expunge.reveal, expunge.release, expunge.undo, expunge.export, expunge.audit, evaluate_gate, expunge.load)


@pytest.mark.parametrize("verb", LOADING, ids=lambda verb: verb.__name__)
def test_every_verb_that_loads_a_model_takes_device_and_dtype(verb):
    parameters = inspect.signature(verb).parameters
    assert [parameters[name].default for name in ("device", "dtype")] == ["auto", "auto"]


def test_a_run_is_trained_audited_and_loaded_in_bf16(tmp_path, tiny_model_dir, tiny_data):
    forget, retain = tiny_data
    settings = {"training": {"epochs": 1}, "audit": {"max_new_tokens": 2}}
    run = expunge.unlearn(tiny_model_dir, forget=forget, retain=retain, edit="lora", out=tmp_path / "run", dtype="bf16", **settings)
    expunge.audit(run, dtype="bf16")
    info = run.read_info()
    assert info["placement"] == info["audit_placement"] == {"device": "cpu", "dtype": "bf16"}
    model, _ = expunge.load(run, dtype="bf16")
    kinds = {("lora_" in name, parameter.dtype) for name, parameter in model.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_a_full_edit_refuses_bf16(tmp_path, tiny_model_dir, tiny_data):
    with pytest.raises(InputError, match="dtype bf16: a full edit changes the weights themselves"):
        expunge.unlearn(tiny_model_dir, forget=tiny_data[0], edit="full", out=tmp_path / "run", dtype="bf16")
    assert not (tmp_path / "run").exists()
