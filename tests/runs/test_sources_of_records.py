"""The forget and the retain file of a run: each with its own columns, and errors that suggest options for one of them."""

import json
from pathlib import Path

import datasets
import pytest

from expunge.config.recipe import Recipe, make_recipe
from expunge.errors import InputError
from expunge.runs.splits import read_sources


def recipe(folder: Path, **data: object) -> Recipe:
    forget, retain = folder / "forget.jsonl", folder / "retain.jsonl"
    forget.write_text("".join(json.dumps({"text": f"Where is {i}?", "labels": "Here."}) + "\n" for i in range(3)))
    retain.write_text("".join(json.dumps({"query": f"Who is {i}?", "answer": "Bo."}) + "\n" for i in range(4)))
    return make_recipe({"data": {"forget": str(forget), "retain": str(retain), **data}})


def test_each_file_is_read_with_its_own_columns(tmp_path):
    maps = {"forget_map": {"prompt": "text", "answer": "labels"}, "retain_map": {"prompt": "query"}}
    forget, retain = read_sources(recipe(tmp_path, **maps))
    assert [record.prompt for record in forget] == ["Where is 0?", "Where is 1?", "Where is 2?"]
    assert [record.prompt for record in retain] == ["Who is 0?", "Who is 1?", "Who is 2?", "Who is 3?"]


def test_an_error_suggests_the_option_of_the_file_it_is_about(tmp_path):
    with pytest.raises(InputError, match=r"forget.jsonl:1: .*: give --forget-map prompt=text --forget-map answer=labels"):
        read_sources(recipe(tmp_path))
    with pytest.raises(InputError, match=r"retain.jsonl:1: .*; perhaps --retain-map prompt=query$"):
        read_sources(recipe(tmp_path, forget_map={"prompt": "text", "answer": "labels"}))


def test_with_one_file_the_error_suggests_the_shorter_option(tmp_path):
    with pytest.raises(InputError, match=r"forget.jsonl:1: .*: give --map prompt=text --map answer=labels"):
        read_sources(recipe(tmp_path, retain=None))


def test_each_file_is_read_with_its_own_split(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "both"
    folder.mkdir()
    for name, count in (("train", 2), ("test", 4)):
        (folder / f"{name}.jsonl").write_text("".join(f'{{"text": "{name} {i}"}}\n' for i in range(count)))
    both = {"forget": str(folder), "retain": str(folder)}
    forget, retain = read_sources(recipe(tmp_path, **both, retain_split="test"))
    assert ([record.answer for record in forget], len(retain)) == (["train 0", "train 1"], 4)
    with pytest.raises(InputError, match=r"Unknown split \"forget\".*; choose a split with --forget-split train$"):
        read_sources(recipe(tmp_path, **both, forget_split="forget"))
