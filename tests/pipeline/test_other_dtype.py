"""An edit belongs to the checkpoint that it was trained on, whatever dtype the checkpoint is loaded in."""

import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

import expunge
from expunge.console import Display
from expunge.errors import WrongBase
from expunge.models.placement import choose_placement
from expunge.pipeline.unlearn import unlearn

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


# Full weights are trained in fp32 only.
@pytest.mark.parametrize(
    ("edit", "trained", "stored"), [("grun", "bf16", "bf16"), ("grun", "fp32", "bf16"), ("lora", "bf16", "fp32"), ("full", "fp32", "bf16")]
)
def test_an_edit_of_one_dtype_audits_in_the_other(make_recipe_for, make_tiny_model, tmp_path, monkeypatch, edit, trained, stored):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = shutil.copytree(make_tiny_model(), tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[stored]).save_pretrained(base)
    sections = {"training": {"epochs": 1, "dtype": trained, "save_steps": 0}, "audit": {"max_new_tokens": 4}}
    recipe = make_recipe_for("run", model=str(base), edit=edit, objective="npo", **sections)
    run = unlearn(recipe, Display(), choose_placement("cpu", trained))
    other = next(name for name in DTYPES if name != trained)
    assert expunge.load(run, dtype=other)[0].get_input_embeddings().weight.dtype == DTYPES[other]
    audited = expunge.audit(run, max_records=2, dtype=other)
    assert set(audited.summary) == {"original", "unlearned"}
    assert "differs" not in {check.status for check in expunge.verify(audited)}
    # The same numbers, or nearly, but another checkpoint.
    AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES["fp32" if stored == "bf16" else "bf16"]).save_pretrained(base)
    for name in DTYPES:
        with pytest.raises(WrongBase, match="this one differs in its weights"):
            expunge.load(run, dtype=name)
