"""A trained and audited run of the tiny model with its attestation, made once; `restored` undoes the changes of a test."""

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from expunge.api import audit
from expunge.attestation import NO_DETAILS, AttestationDetails, verify, write_attestation
from expunge.attestation.canonical import attestation_id, canonical
from expunge.auditing.suite import Suite
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run
from expunge.runs.loaded import open_run
from expunge.runs.splits import read_splits

SECRET = "Basil Mahfouz"


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def attest():
    """Return a function that writes the attestation of an audited run again."""

    def write(run: Run, details: AttestationDetails = NO_DETAILS) -> Path:
        opened = open_run(run.folder)
        return write_attestation(opened, read_splits(opened), details)

    return write


@pytest.fixture(scope="session")
def audited(tmp_path_factory, make_tiny_model) -> Run:
    """Return the run; its base model, its data and a further set are in folders beside it."""
    place = tmp_path_factory.mktemp("audited")
    names = [SECRET, "Ana Petrova", "Li Wei", "Tom Ashe"]
    forget = [{"id": f"f{i}", "prompt": f"Where does {n} live?", "answer": f"{n} lives in city {i}."} for i, n in enumerate(names)]
    retain = [
        {"prompt": f"What is the capital of {n}?", "answer": f"City {i}."} for i, n in enumerate(["Peru", "Cuba", "Chad", "Mali", "Fiji"])
    ]
    base = place / "base"
    base.mkdir()
    for path in make_tiny_model("llama").iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    # Another form and other columns than the forget file.
    table = "\n".join(["query;reply", *(f"{row['prompt']};{row['answer']}" for row in retain)])
    (place / "retain.csv.gz").write_bytes(gzip.compress(table.encode(), mtime=0))
    data = {
        "forget": str(jsonl(place / "forget.jsonl", forget)),
        "retain": str(place / "retain.csv.gz"),
        "retain_map": {"prompt": "query", "answer": "reply"},
    }
    recipe = {
        "model": str(base),
        "data": data,
        "objective": "npo",
        "edit": {"name": "lora"},
        "training": {"epochs": 1, "dtype": "fp32"},
        "audit": {"max_new_tokens": 2, "sets": {"strangers": str(jsonl(place / "strangers.jsonl", retain[:2]))}},
        "out": str(place / "run"),
    }
    run = unlearn(make_recipe(recipe), Display())
    return audit(run, suite=Suite(budget_seconds=1, attacks=[{"name": "quantise", "max_records": 2}]))


@pytest.fixture
def first_difference() -> Callable[..., str | None]:
    """Return the name of the first failed check of a run's attestation: `first_difference(run)`."""

    def find(run: Run) -> str | None:
        return next((check.name for check in verify(run.folder / "attestation.json") if check.status == "differs"), None)

    return find


@pytest.fixture
def rewrite(audited) -> Callable[[dict], None]:
    """Write a changed attestation with a matching id, as a forger could: `rewrite(document)`."""

    def write(document: dict) -> None:
        (audited.folder / "attestation.json").write_bytes(canonical({**document, "attestation_id": attestation_id(document)}))

    return write


@pytest.fixture
def restored(audited) -> Iterator[Path]:
    """Return the folder around the run, and restore all files after the test."""
    place = audited.folder.parent
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    yield place
    for path in place.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    shutil.rmtree(audited.folder / "attestations", ignore_errors=True)
    for path, raw in before.items():
        path.write_bytes(raw)


@pytest.fixture
def statuses() -> Callable[..., dict[str, str]]:
    """Return {name: status} of the checks of a run's attestation: `statuses(run, public_key=None)`."""
    return lambda run, key=None: {check.name: check.status for check in verify(run.folder / "attestation.json", key)}
