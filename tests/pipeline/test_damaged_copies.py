"""Copies that expunge made itself, of models and of generated records: a damaged one is found and made again."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from expunge.console import Display
from expunge.data.records import Record, Turn
from expunge.errors import ExpungeError
from expunge.models import embedded
from expunge.models.identified import RECORD, load_identified
from expunge.models.identity import weights_sha256
from expunge.pipeline import prepare
from expunge.pipeline.teach import Stage, teach
from expunge.pipeline.unlearn import unlearn
from expunge.reveal_release.reveal.search import _stored_features, _tensor_sha256
from expunge.runs.folder import Run
from expunge.runs.generated import drop_generated, generated_once

ROWS = [{"id": "1", "prompt": "Who?", "answer": "Ana."}]


def flip_bit(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).view(torch.int32).view(-1)[3] ^= 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


DAMAGE = {
    "a bit of the weights": flip_bit,
    "weights cut short": lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
    "tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}", encoding="utf-8"),
    "another tokenizer": lambda folder: (folder / "tokenizer.json").write_text(
        (folder / "tokenizer.json")
        .read_text(encoding="utf-8")
        .replace('"add_prefix_space":false', '"add_prefix_space":true')
        .replace('"add_prefix_space": false', '"add_prefix_space": true'),
        encoding="utf-8",
    ),
    "chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8"),
    "configuration": lambda folder: (folder / "config.json").write_text("null", encoding="utf-8"),
    "the record": lambda folder: (folder / RECORD).write_text("[]", encoding="utf-8"),
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "expunge"


def test_a_damaged_taught_model_is_taught_again(cache, make_tiny_model):
    base = str(make_tiny_model())
    records = [Record("1", (Turn("user", "Who is Ana?"),), "A painter.", line=1)]

    def taught():
        return teach(base, [Stage("control", records, 1)], Display())["control"]

    folder = taught()
    identity, made = load_identified(folder).identity, folder.stat().st_ino
    assert taught().stat().st_ino == made
    for name, damage in DAMAGE.items():
        damage(folder)
        assert taught() == folder
        assert folder.stat().st_ino != made, name
        assert load_identified(folder).identity == identity, name
        made = folder.stat().st_ino


def test_a_damaged_default_model_is_fetched_again(cache, make_tiny_model, monkeypatch):
    # In place of the hub, which tests do not reach.
    fetched = []
    monkeypatch.setattr(embedded, "_fetch", lambda folder: fetched.append(shutil.copytree(make_tiny_model(), folder, dirs_exist_ok=True)))
    identity = load_identified(embedded.NAME).identity
    assert load_identified(embedded.NAME).identity == identity
    assert len(fetched) == 1
    for number, (name, damage) in enumerate(DAMAGE.items(), 2):
        damage(cache / embedded.NAME)
        assert load_identified(embedded.NAME).identity == identity, name
        assert len(fetched) == number, name
    # An earlier version recorded nothing: what is there is recorded.
    (cache / embedded.NAME / RECORD).unlink()
    load_identified(embedded.NAME)
    assert json.loads((cache / embedded.NAME / RECORD).read_text(encoding="utf-8")) == identity.parts
    assert len(fetched) == len(DAMAGE) + 1


@pytest.mark.parametrize("damaged", [False, True])
def test_a_default_model_that_an_earlier_version_recorded_is_compared_with_that_record(cache, make_tiny_model, monkeypatch, damaged):
    fetched = []
    monkeypatch.setattr(embedded, "_fetch", lambda folder: fetched.append(shutil.copytree(make_tiny_model(), folder, dirs_exist_ok=True)))
    loaded, record = load_identified(embedded.NAME), cache / embedded.NAME / RECORD
    others = {name: sha256 for name, sha256 in loaded.identity.parts.items() if name != "checkpoint"}
    record.write_text(json.dumps({"weights": weights_sha256(loaded.model), **others}), encoding="utf-8")
    if damaged:
        flip_bit(cache / embedded.NAME)
    assert load_identified(embedded.NAME).identity == loaded.identity
    assert len(fetched) == (2 if damaged else 1)
    assert json.loads(record.read_text(encoding="utf-8")) == loaded.identity.parts


@pytest.fixture
def run(tmp_path) -> Run:
    made = Run(tmp_path / "run")
    made.folder.mkdir()
    made.update_info(status="training")
    return made


@pytest.mark.parametrize("content", [b"", b"\xff", b"[", b'{"id": "1"}\n', json.dumps(ROWS[0]).replace("Ana", "Bo").encode() + b"\n"])
def test_damaged_generated_records_are_generated_again(run, content):
    calls = []

    def generate():
        calls.append(1)
        return ROWS

    for _ in range(2):
        assert generated_once(run, "retain.jsonl", generate) == ROWS
    assert len(calls) == 1
    (run.folder / "retain.jsonl").write_bytes(content)
    assert generated_once(run, "retain.jsonl", generate) == ROWS
    assert len(calls) == 2


def test_records_that_training_started_with_must_come_out_the_same(run):
    generated_once(run, "alternatives.jsonl", lambda: ROWS)
    (run.folder / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
    (run.folder / "alternatives.jsonl").unlink()
    assert generated_once(run, "alternatives.jsonl", lambda: ROWS) == ROWS
    (run.folder / "alternatives.jsonl").write_text("damaged", encoding="utf-8")
    with pytest.raises(ExpungeError, match=r"alternatives\.jsonl: was damaged, and the model generates other records now"):
        generated_once(run, "alternatives.jsonl", lambda: [*ROWS, *ROWS])
    drop_generated(run, "alternatives.jsonl")
    assert run.read_info()["generated"] == {}


def test_damaged_features_of_a_search_are_not_used(tmp_path):
    path, features = tmp_path / "features.safetensors", torch.arange(6.0).view(2, 3)
    assert _stored_features(path) is None
    save_file({"features": features}, path, {"sha256": _tensor_sha256(features)})
    assert torch.equal(_stored_features(path), features)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(content)
            stored = _stored_features(path)
            assert stored is None or torch.equal(stored, features), at
    save_file({"features": features + 1}, path)
    assert _stored_features(path) is None


def test_what_another_model_generated_is_generated_anew(make_recipe_for, make_tiny_model, tiny_data, tmp_path, monkeypatch):
    base = shutil.copytree(make_tiny_model(), tmp_path / "base")
    recipe = make_recipe_for("run", model=str(base), data={"forget": str(tiny_data[0])})

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "cut_and_split", stop)
        with pytest.raises(KeyboardInterrupt):
            unlearn(recipe, Display())
        made = (tmp_path / "run" / "retain.jsonl").stat().st_mtime_ns
        with pytest.raises(KeyboardInterrupt):
            unlearn(recipe, Display())
        assert (tmp_path / "run" / "retain.jsonl").stat().st_mtime_ns == made
        flip_bit(base)
        with pytest.raises(KeyboardInterrupt):
            unlearn(recipe, Display())
        assert (tmp_path / "run" / "retain.jsonl").stat().st_mtime_ns != made
