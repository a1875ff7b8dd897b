"""A run whose model was moved finds it by `--model` or by the hash of its checkpoint, and takes no other model."""

import shutil
import time

import pytest

import expunge
from expunge.console import Display
from expunge.errors import InputError, WrongBase
from expunge.models import file_hashes
from expunge.pipeline.unlearn import unlearn
from expunge.runs.loaded import load_run, open_run


@pytest.fixture
def moved(make_recipe_for, make_tiny_model, tmp_path, monkeypatch):
    """A run, a request on it, and the new place of their model, which nothing has loaded there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "LARGE", 1)
    monkeypatch.setattr(file_hashes, "SETTLED_NS", 0)
    base = shutil.copytree(make_tiny_model(), tmp_path / "base")
    time.sleep(0.02)
    settings = {
        "edit": "reft",
        "objective": "npo",
        "training": {"epochs": 1, "dtype": "fp32", "save_steps": 0},
        "audit": {"max_new_tokens": 4},
    }
    run = unlearn(make_recipe_for("run", model=str(base), **settings), Display())
    request = unlearn(make_recipe_for("request", model=str(run.folder), **settings), Display())
    shutil.copytree(base, tmp_path / "moved")
    shutil.rmtree(base)
    time.sleep(0.02)
    return run, request, tmp_path / "moved"


def test_a_run_finds_its_moved_model(moved, make_tiny_model):
    run, request, place = moved
    for folder in (run.folder, request.folder):
        with pytest.raises(InputError, match=rf"base'?: not a model folder.*, and no copy of the model of {run.folder} .*--model"):
            load_run(open_run(folder))
    with pytest.raises(WrongBase, match="another base model; this one differs in its weights"):
        load_run(open_run(run.folder, make_tiny_model("gpt2")))
    audited = expunge.audit(run.folder, max_records=2, model=place)
    statuses = {check.name: check.status for check in expunge.verify(audited)}
    assert "differs" not in statuses.values()
    assert statuses["base model.safetensors"] == statuses["base weights"] == "ok"
    # It was loaded there, so both runs find it without help now, and notice if it is another one.
    for folder in (run.folder, request.folder):
        load_run(open_run(folder))
    (place / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    with pytest.raises(WrongBase, match="differs in its chat template"):
        load_run(open_run(run.folder))
