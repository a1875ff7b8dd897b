"""An audit hashes, parses and reads everything once: what it read is handed on."""

import json
import sys
from collections import Counter
from functools import wraps

import pyarrow.parquet as pq
import pytest

import expunge
from expunge.auditing.suite import Suite
from expunge.config.recipe import read_recipe
from expunge.console import Display
from expunge.data.records import read_records
from expunge.models import file_hashes
from expunge.models.file_hashes import hash_tensors
from expunge.models.loading import load
from expunge.pipeline.unlearn import unlearn

SUITE = Suite(budget_seconds=60, membership_records=2, attacks=[{"name": "quantise", "max_records": 1}])


@pytest.fixture
def count_calls(monkeypatch):
    """Counts the calls of a function by its first argument, in whichever module it was imported: `count_calls(function)`."""

    def count(function) -> Counter:
        calls: Counter = Counter()

        @wraps(function)
        def counted(*args, **kwargs):
            calls[str(args[0]) if isinstance(args[0], str) or hasattr(args[0], "parts") else "model"] += 1
            return function(*args, **kwargs)

        for name, module in list(sys.modules.items()):
            if name.startswith("expunge") and getattr(module, function.__name__, None) is function:
                monkeypatch.setattr(module, function.__name__, counted)
        return calls

    return count


def forget_hashes(monkeypatch) -> None:
    """Forget the hashes of files that this process has computed."""
    monkeypatch.setattr(file_hashes, "_files", {})
    monkeypatch.setattr(file_hashes, "_tensors", {})


@pytest.mark.parametrize("edit", ["lora", "full"])
def test_an_audit_hashes_the_base_once_and_reads_each_file_once(make_recipe_for, make_tiny_model, tmp_path, monkeypatch, count_calls, edit):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sections = {"training": {"epochs": 1, "dtype": "fp32"}, "audit": {"max_new_tokens": 4}}
    run = unlearn(make_recipe_for("run", edit=edit, objective="npo", **sections), Display())
    forget_hashes(monkeypatch)
    hashed, read, parsed = count_calls(hash_tensors), count_calls(read_records), count_calls(read_recipe)
    expunge.audit(run.folder, control=str(make_tiny_model("gpt2")), suite=SUITE)
    # One is the base model's, the other the control's.
    assert hashed.total() == 2
    assert parsed == {str(run.folder / "recipe.yaml"): 1}
    assert set(read.values()) == {1}
    assert {str(run.folder.parent / name) for name in ("forget.jsonl", "retain.jsonl")} <= set(read)


@pytest.mark.parametrize("edit", ["lora", "full"])
def test_the_original_is_loaded_and_hashed_once_if_it_is_the_control(make_recipe_for, tmp_path, monkeypatch, count_calls, edit):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    holdout = tmp_path / "holdout.jsonl"
    rows = [{"prompt": f"Where does Mr {i} live?", "answer": f"In house {i}."} for i in range(6)]
    holdout.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sections = {"training": {"epochs": 1, "dtype": "fp32"}, "audit": {"max_new_tokens": 4, "holdout": str(holdout)}}
    run = unlearn(make_recipe_for("run", edit=edit, objective="npo", **sections), Display())
    forget_hashes(monkeypatch)
    hashed, loaded = count_calls(hash_tensors), count_calls(load)
    audited = expunge.audit(run.folder, control="auto", suite=SUITE)
    assert (hashed.total(), loaded.total()) == (1, 1)
    # The order of the results is that of the models, not of the measurements.
    assert list(audited.summary) == ["original", "unlearned", "control"]
    assert list(dict.fromkeys(pq.read_table(run.folder / "attacks.parquet")["model"].to_pylist())) == ["original", "unlearned", "control"]
    recorded = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    assert recorded["control_model"]["sha256"] == recorded["model"]["sha256"]
