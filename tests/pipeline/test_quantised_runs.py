"""A run on a quantised model: trained, audited and loaded in the form that it was trained on, and refused where that cannot be."""

import json
import shutil

import pytest
import torch

import expunge
from expunge.auditing.suite import Suite
from expunge.edits.active import edits_off
from expunge.edits.requests import REQUEST
from expunge.errors import InputError
from expunge.models.identity import weights_sha256
from expunge.models.loading import load
from expunge.models.placement import Placement
from expunge.models.quantised import quantisation_of
from expunge.runs.folder import RECIPE
from expunge.training.trainer import UnlearnTrainer

CPU = torch.device("cpu")
SECTIONS = {"training": {"epochs": 1, "save_steps": 0}, "audit": {"max_new_tokens": 4}}
ATTACKS = [{"name": "quantise", "max_records": 2}, {"name": "relearn", "max_steps": 2, "measure_every": 2, "max_records": 2}]
SUITE = Suite(budget_seconds=60, attacks=ATTACKS)


@pytest.fixture
def unlearn(wide_model_dir, tiny_data, tmp_path, monkeypatch):
    """Unlearn on a model whose layers can be quantised: `unlearn("grun", quantise="nf4")`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def unlearn(edit, model=wide_model_dir, out="run", **sections):
        forget, retain = tiny_data
        given = {"objective": "npo", **SECTIONS, **sections, "out": tmp_path / out}
        return expunge.unlearn(model, forget=forget, retain=retain, edit=edit, **given)

    return unlearn


@pytest.mark.parametrize(("edit", "kind"), [("grun-paper", "nf4"), ("reft", "int8"), ("lora", "nf4"), ("lora", "int8")])
def test_a_run_is_loaded_and_audited_in_the_form_that_it_was_trained_on(unlearn, wide_model_dir, edit, kind):
    run = unlearn(edit, quantise=kind)
    assert run.read_info()["model"]["quantise"] == kind
    model, ids = expunge.load(run)[0], torch.arange(3, 19)[None]
    assert quantisation_of(model) == kind
    base, _ = load(wide_model_dir, Placement(CPU, torch.float32, quantise=kind))
    with torch.no_grad():
        assert not torch.equal(model(input_ids=ids).logits, base(ids).logits)
        with edits_off(model, REQUEST):
            assert torch.equal(model(input_ids=ids).logits, base(ids).logits)
    if edit == "lora":
        with pytest.raises(InputError, match=f"its edit was trained on the model in {kind}, and merged into other weights"):
            expunge.export(run, run.folder / "model")


def test_attacks_on_the_weights_say_what_they_cannot_show(unlearn):
    audited = expunge.audit(unlearn("grun-paper", quantise="nf4"), max_records=2, suite=SUITE)
    rows = {row["name"]: row for row in json.loads((audited.folder / "verdict.json").read_text())["rows"]}
    quantised, relearned = rows["quantised: nf4"], rows["relearned from part of the forget set, 2 steps"]
    assert (quantised["verdict"], quantised["unlearned"]) == ("not shown", None)
    assert quantised["reason"] == "the base model is in nf4 already, and all other rows measure it so"
    assert relearned["unlearned"]["n"] > 0
    assert "% of the blocks' weights" not in relearned["reason"]
    attested = json.loads((audited.folder / "attestation.json").read_text())["environment"]["dtype"]
    assert "linear layers of the base model quantised to nf4 while it was loaded" in attested
    assert "differs" not in {check.status for check in expunge.verify(audited)}


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_stored_form_is_trained_on_with_blocks_freed_and_unchanged_afterwards(unlearn, wide_model_dir, tmp_path, kind):
    folder = shutil.copytree(wide_model_dir, tmp_path / "stored")
    (folder / "model.safetensors").unlink()
    load(wide_model_dir, Placement(CPU, torch.bfloat16, quantise=kind))[0].save_pretrained(folder)
    run = unlearn({"name": "grun-paper", "blocks": [2]}, model=folder)
    assert run.read_info()["model"]["stored_in"] == "bitsandbytes"
    model, _ = expunge.load(run)
    assert weights_sha256(model.unload()) == weights_sha256(load(folder, Placement(CPU, torch.float32))[0])
    with pytest.raises(InputError, match="is stored in bitsandbytes, and a full edit changes the weights themselves"):
        unlearn("full", model=folder, out="full")


def test_what_changes_weights_is_refused_at_the_door(unlearn, tiny_data):
    with pytest.raises(InputError, match="quantise: a full edit changes the weights themselves; choose grun, reft or lora"):
        unlearn("full", quantise="nf4")
    with pytest.raises(InputError, match="quantise: a release changes the weights themselves"):
        expunge.release({"quantise": "nf4", "data": {"forget": str(tiny_data[0])}, "release": {}})
    with pytest.raises(InputError, match=r"quantise: Input should be 'nf4' or 'int8'"):
        unlearn("grun", quantise="fp4")


def test_another_form_than_the_recorded_one_is_refused(unlearn):
    run = unlearn("reft", quantise="int8")
    with pytest.raises(InputError, match="was trained on a model in int8; give int8"):
        unlearn("reft", model=run.folder, out="second")
    second = unlearn("reft", model=run.folder, out="second", quantise="int8")
    assert quantisation_of(expunge.load(second)[0]) == "int8"
    path = run.folder / RECIPE
    path.write_text(path.read_text().replace("quantise: int8", "quantise: nf4"))
    with pytest.raises(InputError, match=r"recipe\.yaml: quantise has changed since the run was trained; set it back"):
        expunge.load(run)


def test_an_interrupted_run_resumes_on_the_quantised_model(unlearn, monkeypatch):
    training = {"epochs": 2, "batch_size": 3, "save_steps": 1}
    whole = unlearn("grun-paper", quantise="nf4", training=training, out="whole")

    def stop(self, *args, **kwargs):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    step = UnlearnTrainer.training_step
    with monkeypatch.context() as patched:
        patched.setattr(UnlearnTrainer, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            unlearn("grun-paper", quantise="nf4", training=training, out="stopped")
    resumed = unlearn("grun-paper", quantise="nf4", training=training, out="stopped")
    weights = [next(run.edit.glob("*.safetensors")).read_bytes() for run in (whole, resumed)]
    assert weights[0] == weights[1]
