"""Where the files of a base model lie, by each of the names that a recipe may give it."""

import pytest
from huggingface_hub import constants

from expunge.attestation.paths import base_files, base_folder, data_files, revision_of
from expunge.models import embedded

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_base_files_are_the_files_that_loading_may_read(tmp_path):
    for name in ("config.json", "model.safetensors", "merges.txt", "README.md", "pytorch_model.bin", "chat_template.jinja"):
        (tmp_path / name).write_text("", encoding="utf-8")
    assert base_folder(str(tmp_path)) == tmp_path
    assert [path.name for path in base_files(str(tmp_path), tmp_path)] == [
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "model.safetensors",
    ]
    assert revision_of(tmp_path) is None


def test_a_gguf_model_is_a_single_file(tmp_path):
    path = tmp_path / "model.gguf"
    assert base_folder(str(path)) is None
    path.write_bytes(b"")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert base_files(str(path), tmp_path) == [path]
    assert base_folder(str(path)) == tmp_path


def test_the_embedded_model_is_found_but_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert base_folder(embedded.NAME) is None
    (tmp_path / "expunge" / embedded.NAME).mkdir(parents=True)
    assert base_folder(embedded.NAME) == tmp_path / "expunge" / embedded.NAME


def test_a_hub_model_is_found_in_the_cache_with_its_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--someone--small" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    assert base_folder("someone/small") is None
    (tmp_path / "models--someone--small" / "refs").mkdir()
    (tmp_path / "models--someone--small" / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    assert base_folder("someone/small") == base_folder("someone/small", COMMIT) == snapshot
    assert revision_of(snapshot) == COMMIT
    assert base_folder("someone/small", "another") is None


@pytest.mark.parametrize("name", ["a/b/c", "no such\nname", "/nowhere/at/all"])
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_has_no_folder(name):
    assert base_folder(name) is None


def test_data_files_of_a_file_a_folder_and_a_hub_data_set(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/one.parquet", "a.jsonl"):
        (tmp_path / name).write_text("", encoding="utf-8")
    assert data_files(str(tmp_path)) == [tmp_path / "a.jsonl", tmp_path / "b" / "one.parquet"]
    assert data_files(str(tmp_path / "a.jsonl")) == [tmp_path / "a.jsonl"]
    assert data_files("someone/data:config") == []
