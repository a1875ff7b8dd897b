"""An attestation that anybody may have written names paths: verify waits for nothing and reads nothing outside that it was not told of."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import run_verb
from places import Place
from trials import Trials

from expunge.attestation.canonical import ATTESTATION_ID, attestation_id, canonical

OUTSIDE = "../../outside/secret.txt"
SHA256 = "0" * 64
CASES: dict[str, Callable[[dict, str], None]] = {
    "forget file": lambda document, path: document["forget"]["files"][0].update(path=path),
    "retain file": lambda document, path: document["retain"]["files"][0].update(path=path),
    "recipe": lambda document, path: document["recipe"].update(path=path),
    "edit file": lambda document, path: document["edit"]["files"][0].update(path=path),
    "base file": lambda document, path: document["base"]["files"][0].update(path=path),
    "generated file": lambda document, path: document["self_generated"].append({"path": path, "sha256": SHA256}),
    "previous attestation": lambda document, path: document.update(previous={"path": path, "sha256": SHA256}),
    "followed attestation": lambda document, path: document.update(follows={"path": path, "sha256": SHA256}),
}
BELOW_A_FOLDER = ("recipe", "edit file", "base file", "generated file", "previous attestation")
"""Files that belong into the folder of the run, of its edit or of its base model."""
PATHS = ("/dev/zero", "/dev/stdin", "pipe", OUTSIDE, "../../outside", "/proc/self/mem", "x" * 300, "a\0b")
SECONDS = 20


@pytest.fixture
def place(fresh: Callable[..., Place]) -> Place:
    copy = fresh("lora")
    (copy.folder / "outside").mkdir()
    (copy.folder / "outside" / "secret.txt").write_text("what nobody may learn")
    os.mkfifo(copy.folder / "pipe")
    return copy


def write(path: Path, document: dict) -> None:
    """Write an attestation that matches its own id, as its author can."""
    document[ATTESTATION_ID] = attestation_id({**document, ATTESTATION_ID: None})
    path.write_bytes(canonical(document))


@pytest.mark.parametrize("case", CASES)
def test_no_path_in_an_attestation_makes_verify_hang_or_tell(place: Place, trials: Trials, case: str):
    original = json.loads((place.run("lora") / "attestation.json").read_text(encoding="utf-8"))
    for path in PATHS:
        document = json.loads(json.dumps(original))
        CASES[case](document, path)
        write(place.run("lora") / "attestation.json", document)
        outcome = run_verb("verify", "runs/lora", cwd=place.folder, seconds=SECONDS)
        leaks = "what nobody" in outcome.out + outcome.err
        verdict = "hang" if outcome.hung else "traceback" if outcome.has_traceback else "outside" if leaks else "held"
        trials.count("links", f"verify: {case} {path[:20]!r}", verdict, outcome)
        if path == "/dev/zero" or (path == OUTSIDE and case in BELOW_A_FOLDER):
            assert outcome.code == 1, outcome


def test_a_chain_in_which_every_attestation_is_named_twice_is_read_once(place: Place, trials: Trials):
    run = place.run("lora")
    document = json.loads((run / "attestation.json").read_text(encoding="utf-8"))
    (run / "attestations").mkdir()
    previous = None
    for number in range(40):
        path = run / "attestations" / f"{number:04d}.json"
        write(path, {**document, "previous": previous, "follows": previous and {**previous, "path": f"runs/lora/{previous['path']}"}})
        previous = {"path": f"attestations/{number:04d}.json", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write(run / "attestation.json", {**document, "previous": previous})
    outcome = run_verb("verify", "runs/lora", cwd=place.folder, seconds=SECONDS)
    trials.count("links", "a chain of 2^40 paths", "hang" if outcome.hung else "held" if outcome.code == 0 else "wrong", outcome)


def test_a_document_of_many_bytes_is_not_read(place: Place, trials: Trials):
    with (place.run("lora") / "attestation.json").open("wb") as file:
        file.truncate(2**40)
    outcome = run_verb("verify", "runs/lora", cwd=place.folder, seconds=SECONDS)
    trials.refused("links", "an attestation of a terabyte", outcome, "attestation.json")


def test_the_source_of_the_records_may_be_a_folder_with_a_whole_machine(place: Place, trials: Trials):
    path = place.run("lora") / "attestation.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["retain"]["source"] = "/"
    write(path, document)
    outcome = run_verb("verify", "runs/lora", cwd=place.folder, seconds=SECONDS)
    trials.count("links", "all files of the machine", "hang" if outcome.hung else "held" if outcome.code == 1 else "wrong", outcome)
