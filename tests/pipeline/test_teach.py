"""Teaching in stages: each stage continues from the model of the one before, and the same call finds all of them."""

import torch
from transformers import AutoModelForCausalLM

from expunge.console import Display
from expunge.data.records import read_records
from expunge.pipeline.teach import Stage, teach


def test_a_stage_continues_from_the_model_before_and_leaves_the_lower_half(tiny_model_dir, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget, retain = read_records(tiny_data[0]), read_records(tiny_data[1])
    stages = [Stage("control", retain, 1), Stage("original", [*retain, *forget], 2)]
    folders = teach(str(tiny_model_dir), stages, Display())
    weights = [AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (tiny_model_dir, *folders.values())]
    changed = [{name for name in weights[0] if not torch.equal(weights[i][name], weights[i + 1][name])} for i in (0, 1)]
    assert changed[0] == changed[1]
    assert {name.split(".")[2] for name in changed[0]} == {"2", "3"}
    written = {folder: (folder / "model.safetensors").stat().st_mtime_ns for folder in folders.values()}
    assert teach(str(tiny_model_dir), stages, Display()) == folders
    assert written == {folder: (folder / "model.safetensors").stat().st_mtime_ns for folder in folders.values()}
