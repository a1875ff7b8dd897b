"""Whatever holds text to forget is for its owner alone, whatever the umask."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from harness import run_verb
from places import CITIES, MODULE, NAMES, TRAINING, Place
from trials import Trials

REVEAL = {
    "oracle": {"name": "regex", "pattern": "[aeiou]"},
    "instructions": [f"Tell me about {name}" for name in NAMES],
    **{"searcher": "random", "samples_per_instruction": 3, "budget": 18, "max_new_tokens": 6},
    **{"min_responses": 2, "min_relevance": 0.0, "min_chars": 1},
}


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let new files be for everybody unless the program says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def readable_texts(folder: Path) -> dict[str, str]:
    """Return {path: content} of the files that others can read."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_mode & 0o077:
            plain = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_bytes().decode(errors="replace")
            found[path.relative_to(folder).as_posix()] = plain
    return found


def revealed_texts(run: Path) -> list[str]:
    """Return the texts that a model revealed, those long enough to be found by chance nowhere else."""
    rows = [json.loads(line) for line in (run / "reveal" / "revealed.jsonl").read_text(encoding="utf-8").splitlines()]
    return [text for row in rows for text in (row["answer"], row["prompt"]) if len(text) > 8]


def judge(trials: Trials, folder: Path, texts: list[str]) -> None:
    for name, content in readable_texts(folder).items():
        held = not [text for text in texts if text in content or json.dumps(text)[1:-1] in content]
        trials.count("modes", name, "held" if held else "outside", "others can read text to forget in it")


def write_recipe(copy: Place, name: str, **sections: object) -> None:
    given = {"model": "model", "audit": {"max_new_tokens": 4, "show_text": True}, "out": f"runs/{name}", **sections}
    (copy.folder / f"{name}.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")


def test_a_run_with_texts_is_private(fresh: Callable[..., Place], trials: Trials, open_umask: None):
    copy = fresh()
    edit = {"name": "grun", "rank": 2, "gate_augmentations": ["lower_case", "retain_notes"]}
    write_recipe(copy, "texts", objective="npo", edit=edit, training=TRAINING, data={"forget": "forget.jsonl", "retain": "retain.jsonl"})
    for words in (
        ("run", "texts.yaml"),
        ("audit", "runs/texts", "--suite", "suite.yaml", "--allow-fail"),
        ("audit", "runs/texts", "--gate"),
    ):
        outcome = run_verb(*words, cwd=copy.folder)
        assert outcome.code == 0, outcome
    run = copy.folder / "runs" / "texts"
    assert [name for name in NAMES if name in (run / "report.html").read_text(encoding="utf-8")]
    assert {(run / name).stat().st_mode & 0o777 for name in ("report.html", "audit.parquet", "gate.json", "key")} == {0o600}
    judge(trials, run, [*NAMES, *CITIES])
    judge(trials, copy.folder / "cache", [*NAMES, *CITIES])


def test_what_a_model_reveals_is_private(fresh: Callable[..., Place], trials: Trials, open_umask: None):
    copy = fresh()
    module = {**MODULE, "epochs": 1}
    release = {"rounds": 2, "module": module, "lambda_evaluations": 2, "max_utility_drop": 0.5, "refresh": "research"}
    write_recipe(copy, "reveals", data={"forget": {"reveal": REVEAL}, "retain": "retain.jsonl", "held_out": 0.5}, release=release)
    for words in (("release", "reveals.yaml"), ("audit", "runs/reveals")):
        outcome = run_verb(*words, cwd=copy.folder)
        assert outcome.code == 0, outcome
    run = copy.folder / "runs" / "reveals"
    assert (run / "reveal").stat().st_mode & 0o777 == 0o700
    texts = revealed_texts(run)
    assert texts
    judge(trials, run, [*texts, *NAMES])
