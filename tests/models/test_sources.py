"""Models of the hub: fetched from the endpoint that the user's environment names, in a revision, with a token, or from the cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from expunge.models.sources import split_revision


@pytest.fixture
def mirror(tmp_path):
    """Names of models looked up on a mirror in a process of its own: `mirror("org/tiny")` returns the answers and the requests."""
    for commit in ("a", "b"):
        folder = tmp_path / "mirror" / (40 * commit)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}", encoding="utf-8")
        (folder / "README.md").write_text("not needed", encoding="utf-8")
        (folder / "pytorch_model.bin").write_text("never fetched", encoding="utf-8")
        shards = {f"layer.{number}": f"model-{number}.safetensors" for number in range(2)} if commit == "b" else {}
        for name in shards.values() or ["model.safetensors"]:
            (folder / name).write_text(f"weights of {commit}", encoding="utf-8")
        if shards:
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}), encoding="utf-8")

    def look_up(*names: str, **environment: str) -> tuple[list[str], list[str]]:
        command = [sys.executable, str(Path(__file__).with_name("hub_mirror.py")), str(tmp_path / "mirror"), *names]
        given = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": "secret", **environment}
        *answers, requests = subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout.splitlines()
        return answers, json.loads(requests)

    return look_up


def test_a_model_is_fetched_from_the_endpoint_in_its_revision_and_found_offline(mirror):
    names = ("org/tiny", "org/tiny@v1", "org/tiny@v2", "org/none")
    (main, v1, v2, none), asked = mirror(*names)
    files = [{path.name for path in Path(folder).iterdir()} for folder in (main, v1)]
    assert files[0] == {"config.json", "model.safetensors.index.json", "model-0.safetensors", "model-1.safetensors"}
    assert files[1] == {"config.json", "model.safetensors"}
    assert (Path(v1) / "model.safetensors").read_text(encoding="utf-8") == "weights of a"
    assert v2.startswith("org/tiny@v2: org/tiny has no revision v2 at http://127.0.0.1:")
    assert none.startswith("org/none: there is no such model at http://127.0.0.1:")
    # The probe asked the same endpoint first.
    assert asked[0] == "/"
    answers, asked = mirror(*names, HF_HUB_OFFLINE="1")
    assert (answers[:2], asked) == ([main, v1], [])
    assert answers[2].startswith("org/tiny@v2: there is no such folder, and the Hugging Face hub (http://127.0.0.1:")


def test_a_model_that_needs_a_token_says_how_to_give_one(mirror):
    (answer,), _ = mirror("org/tiny", HF_TOKEN="another")
    assert answer.endswith("or it needs a token that may read it (set HF_TOKEN, or log in with: hf auth login)")
    assert "another" not in answer


@pytest.mark.parametrize(
    ("name", "parts"), [("a/b", ("a/b", None)), ("a/b@v1", ("a/b", "v1")), ("a/b@refs/pr/1", ("a/b", "refs/pr/1")), ("a/b@", ("a/b", None))]
)
def test_a_name_may_have_a_revision(name, parts):
    assert split_revision(name) == parts
