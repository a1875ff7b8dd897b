"""Gate, training, audit with attacks and gate evaluation run on a simulated GPU, with the numbers of a CPU."""

import json
from collections.abc import Iterator

import pytest
import torch

from expunge.auditing.audit import audit
from expunge.auditing.gate_eval import evaluate_gate
from expunge.auditing.plan import AuditOptions
from expunge.auditing.suite import Suite
from expunge.config.recipe import Recipe, make_recipe
from expunge.console import Display
from expunge.data.prompts import Batch
from expunge.models.placement import Placement
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run
from expunge.runs.loaded import open_run
from simulated_device import DEVICE, SimulatedDevice, TwoDevices

PLACES = {"here": Placement(torch.device("cpu"), torch.float32), "there": Placement(DEVICE, torch.float32)}
# Few prompts train the gate, because each operation on the simulated device takes long.
EDITS = {"grun": {"name": "grun", "rank": 2, "gate_augmentations": []}, "lora": {"name": "lora", "rank": 2}}
ATTACKS = {
    "grun": [{"name": "prefill", "shares": [0.5]}, {"name": "lens"}, {"name": "switch_off"}],
    "lora": [{"name": "quantise", "kind": "nf4"}, {"name": "relearn", "source": "related", "max_steps": 2, "measure_every": 2}],
}


@pytest.fixture
def recipe_for(tmp_path, make_tiny_model, monkeypatch):
    """Make the recipe of an edit, `recipe_for("grun", "here")`; measurements are cached in the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = {}
    for name in ("forget", "retain"):
        # With a paraphrase of each question, so that the gate evaluation generates none.
        rows = [{"prompt": f"Where is {name} {i}?", "paraphrased_prompt": f"Where to {i}?", "answer": f"In house {i}."} for i in range(4)]
        (tmp_path / name).with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        data[name] = str(tmp_path / f"{name}.jsonl")

    def make(edit: str, out: str) -> Recipe:
        training = {"epochs": 1, "batch_size": 4, "lr": 1e-3, "dtype": "fp32"}
        audited = {"max_new_tokens": 2, "max_records": 1}
        given = {"model": str(make_tiny_model()), "data": data, "objective": "npo", "edit": EDITS[edit]}
        return make_recipe({**given, "training": training, "audit": audited, "out": str(tmp_path / out)})

    return make


@pytest.fixture
def there() -> Iterator[None]:
    with SimulatedDevice():
        yield


def losses(run: Run) -> list[float]:
    return [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("edit", EDITS)
def test_a_run_on_the_device_has_the_numbers_of_a_cpu(recipe_for, there, edit):
    runs = {name: unlearn(recipe_for(edit, name), Display(), place) for name, place in PLACES.items()}
    assert losses(runs["there"]) == pytest.approx(losses(runs["here"]), rel=1e-5)
    numbers = []
    for name, place in PLACES.items():
        # The same edit on both devices, so that only the device differs.
        run, suite = open_run(runs["there"].folder), Suite(budget_seconds=60, max_records=1, attacks=ATTACKS[edit])
        result = audit(run, AuditOptions(suite=suite, placement=place), Display())
        assert result.run.info["audit_placement"]["device"] == str(place.device), name
        numbers.append(json.loads((run.folder / "audit.json").read_text(encoding="utf-8")))
        if edit == "grun":
            evaluate_gate(open_run(run.folder), Display(), max_records=1, placement=place)
    for model, sets in numbers[0].items():
        for of_set, metrics in sets.items():
            for metric, value in metrics.items():
                assert numbers[1][model][of_set][metric]["value"] == pytest.approx(value["value"], rel=1e-3, abs=1e-4), (model, metric)


def test_a_batch_that_training_leaves_in_main_memory_is_caught(recipe_for, there, monkeypatch):
    monkeypatch.setattr(Batch, "to", lambda batch, device: batch)
    with pytest.raises(TwoDevices, match="some in main memory"):
        unlearn(recipe_for("lora", "there"), Display(), PLACES["there"])


def test_a_second_visible_gpu_does_not_matter(recipe_for, there, monkeypatch):
    # The Trainer's own arguments would have it wrap the model in DataParallel.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert len(losses(unlearn(recipe_for("lora", "there"), Display(), PLACES["there"]))) == 1
