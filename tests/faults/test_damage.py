"""Damaged edits: each is refused with the file's name at every verb that opens it, and an audit writes nothing over it."""

import functools
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from damages import MODULES, of_kind
from harness import KINDS, VERBS, Outcome, run_verb, tree
from hostile_files import rehash_facts
from places import Place
from trials import Trials

import expunge
from expunge.edits.manifest import write_manifest
from expunge.errors import InputError

ROUND = Path("rounds") / "1"


def doors(kind: str) -> dict[str, tuple[str, ...]]:
    """Return the verbs that load or attest the edit of a kind of run, but `verify`, which reports damage instead."""
    return {name: verb.on(kind) for name, verb in VERBS.items() if verb.loads_edit and kind in verb.kinds and name != "verify"}


def refused(trials: Trials, what: str, outcome: Outcome, named: str) -> None:
    trials.refused("damage", what, outcome, named)
    if outcome.code != 2:
        trials.count("damage", f"{what}: exit code", "wrong", outcome)


def reported(trials: Trials, what: str, verified: Outcome, named: str) -> None:
    """Count a trial that holds if `verify` ended with exit code 1 and a line that names the file."""
    lines = [line for line in verified.out.splitlines() if line.startswith("differs") and named in line]
    held = verified.code == 1 and lines
    trials.count("damage", f"{what}: verify", "held" if held else "silent" if verified.code == 0 else "wrong", verified)


def without_lock(folder: Path) -> dict[str, bytes | str]:
    return {name: content for name, content in tree(folder).items() if name != ".lock"}


def through_all_doors(trials: Trials, place: Place, kind: str, what: str, named: str) -> None:
    """Go through every door of a run whose edit is damaged."""
    run, before = place.run(kind), without_lock(place.run(kind))
    for door, words in doors(kind).items():
        refused(trials, f"{kind}: {what}: {door}", run_verb(*words, cwd=place.folder), named)
    reported(trials, f"{kind}: {what}", run_verb("verify", f"runs/{kind}", cwd=place.folder), named)
    trials.count("damage", f"{kind}: {what}: nothing is written", "held" if without_lock(run) == before else "wrong")


@pytest.mark.parametrize("kind", [kind if kind in ("grun", "release") else pytest.param(kind, marks=pytest.mark.long) for kind in KINDS])
def test_a_damaged_edit_is_refused_at_every_door(fresh, trials, kind, monkeypatch):
    place = fresh(kind)
    run = place.run(kind)
    monkeypatch.chdir(place.folder)
    for what, damage in of_kind(kind).items():
        whole = shutil.copytree(run / "edit", place.folder / "whole")
        named = damage(run / "edit")
        through_all_doors(trials, place, kind, what, named)
        with pytest.raises(InputError, match=named):
            expunge.load(run)
        shutil.rmtree(run / "edit", ignore_errors=True)
        whole.rename(run / "edit")
    # Nothing is refused that is whole.
    assert run_verb(*VERBS["chat"].on(kind), cwd=place.folder).code == 0


@pytest.mark.parametrize(
    ("kind", "other"), [("grun", "reft"), ("reft", "lora"), ("lora", "grun"), ("full", "release"), ("release", "full")]
)
def test_files_and_folders_of_another_run_are_refused(fresh, trials, kind, other):
    place = fresh(kind, other)
    edit, foreign = place.run(kind) / "edit", place.run(other) / "edit"
    (weights,) = edit.glob("*.safetensors")
    whole = shutil.copytree(edit, place.folder / "whole")
    weights.write_bytes(next(foreign.glob("*.safetensors")).read_bytes())
    through_all_doors(trials, place, kind, f"weights of {other}", weights.name)
    shutil.rmtree(edit)
    shutil.copytree(foreign, edit)
    through_all_doors(trials, place, kind, f"edit of {other}", "manifest.json")
    shutil.rmtree(edit)
    whole.rename(edit)


@pytest.mark.parametrize("what", MODULES)
def test_a_damaged_module_of_a_round_stops_undo(fresh, trials, what):
    place = fresh("release")
    run = place.run("release")
    named, before = MODULES[what](run / ROUND / "forget_module"), without_lock(run)
    refused(trials, f"module: {what}: undo", run_verb("undo", "runs/release", "1", cwd=place.folder), named)
    trials.count("damage", f"module: {what}: nothing is written", "held" if without_lock(run) == before else "wrong")
    reported(trials, f"module: {what}", run_verb("verify", "runs/release", cwd=place.folder), named)


def test_a_round_with_another_lambda_stops_undo_and_audit(fresh, trials):
    place = fresh("release")
    path = place.run("release") / ROUND / "round.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "lambda_f": 0.001}), encoding="utf-8")
    before = without_lock(place.run("release"))
    for door in (("undo", "runs/release", "1"), ("audit", "runs/release")):
        refused(trials, f"lambda: {door[0]}", run_verb(*door, cwd=place.folder), "round.json")
    assert without_lock(place.run("release")) == before


def test_a_release_whose_edit_was_removed_is_computed_again(fresh, trials):
    place = fresh("release")
    edit = place.run("release") / "edit"
    before = tree(edit)
    number = json.loads((place.run("release") / "run.json").read_text(encoding="utf-8"))["round"]
    shutil.rmtree(edit)
    refused(trials, "release: folder gone: chat", run_verb(*VERBS["chat"].on("release"), cwd=place.folder), "manifest.json")
    undone = run_verb("undo", "runs/release", number, cwd=place.folder)
    assert (undone.code, "is gone; it is computed again" in " ".join(undone.err.split())) == (0, True)
    assert tree(edit) == before
    assert run_verb("audit", "runs/release", cwd=place.folder).code == 0


def test_an_earlier_edit_below_a_second_request_is_checked_too(fresh, trials):
    place = fresh("grun")
    assert run_verb(*VERBS["add request"].on("grun"), cwd=place.folder).code == 0
    config = place.run("grun") / "edit" / "adapter_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"threshold": ', '"threshold": 1'), encoding="utf-8")
    for door in ("chat", "audit"):
        outcome = run_verb(door, "runs/more", *(("--ask", "Who?") if door == "chat" else ()), cwd=place.folder)
        refused(trials, f"earlier edit: {door}", outcome, "adapter_config.json")


def test_a_run_of_an_older_version_is_one_sentence_at_every_door(fresh, trials):
    place = fresh("lora")
    path = place.run("lora") / "run.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    del info["sha256"], info["edit"]
    path.write_text(json.dumps(info), encoding="utf-8")
    for door, words in doors("lora").items():
        refused(trials, f"older version: {door}", run_verb(*words, cwd=place.folder), "an older version of expunge made this run")


@pytest.mark.parametrize(("kind", "field"), [("grun", "gate.threshold"), ("release", "round"), ("lora", "data.forget.rows")])
def test_a_changed_number_in_run_json_is_refused_at_every_door(fresh, trials, kind, field):
    place = fresh(kind)
    path = place.run(kind) / "run.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    *above, name = field.split(".")
    functools.reduce(dict.__getitem__, above, info)[name] += 1
    path.write_text(json.dumps(info, indent=1), encoding="utf-8")
    for door, words in doors(kind).items():
        refused(trials, f"{field} in run.json: {door}", run_verb(*words, cwd=place.folder), "run.json: was changed")


@pytest.mark.parametrize("record", [None, [], {}, "x", {"manifest": 3, "written": "now"}, {"manifest": "zz", "written": "now"}])
def test_a_damaged_record_of_the_edit_is_one_sentence(fresh, trials, record):
    place = fresh("lora")
    path = place.run("lora") / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "edit": record}), encoding="utf-8")
    rehash_facts(path)
    refused(trials, f"record {record}", run_verb(*VERBS["chat"].on("lora"), cwd=place.folder), "run.json: edit")


def test_a_record_that_was_rewritten_with_the_edit_gets_no_second_attestation(fresh, trials):
    place = fresh("lora")
    run = place.run("lora")
    of_kind("lora")["zeroed tensor"](run / "edit")
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    info["edit"]["manifest"] = write_manifest(run / "edit")
    (run / "run.json").write_text(json.dumps(info), encoding="utf-8")
    rehash_facts(run / "run.json")
    before = without_lock(run)
    refused(trials, "rewritten record: audit", run_verb("audit", "runs/lora", cwd=place.folder), "run.json")
    assert without_lock(run) == before
    assert run_verb("verify", "runs/lora", cwd=place.folder).code == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_door_reads_a_pickle(fresh, kind, monkeypatch):
    place = fresh(kind)

    def read(*_args, **_options):
        raise AssertionError("a pickle was read")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, read)
    for name, verb in VERBS.items():
        if verb.loads_edit and kind in verb.kinds:
            outcome = run_verb(*verb.on(kind), cwd=place.folder)
            assert (outcome.code, outcome.traceback) == (verb.ends, ""), (name, outcome)
