"""The identity of the base and of the control model in an attestation: recorded by part, and computed again by `verify`."""

import json
import shutil

import pytest

import expunge
from expunge.attestation import verify
from expunge.models.identity import ModelIdentity, recorded_identity

PARTS = ("checkpoint", "configuration", "tokenizer", "chat_template", "generation")
NAMES = {"checkpoint": "weights", "chat_template": "chat template", "generation": "generation defaults"}


@pytest.fixture
def document(audited):
    return json.loads((audited.folder / "attestation.json").read_text(encoding="utf-8"))


def with_part(model: dict, part: str, sha256: str) -> dict:
    """Return a recorded model with another part, and a matching identity, as a forger could write it."""
    parts = {**model["parts"], part: sha256}
    return {**model, "parts": parts, "identity": ModelIdentity(**parts).sha256}


def test_the_parts_are_those_that_the_run_recorded_and_all_are_computed_again(audited, document, statuses):
    recorded = json.loads((audited.folder / "run.json").read_text(encoding="utf-8"))["model"]
    assert (document["base"]["identity"], document["base"]["parts"]) == (recorded["sha256"], recorded["parts"])
    found = statuses(audited)
    assert [found[f"base {NAMES.get(part, part)}"] for part in PARTS] == ["ok"] * 5


@pytest.mark.parametrize("part", PARTS)
def test_another_part_is_named(restored, audited, document, rewrite, first_difference, part):
    rewrite({**document, "base": with_part(document["base"], part, "0" * 64)})
    assert first_difference(audited) == f"base {NAMES.get(part, part)}"


def test_parts_that_do_not_give_the_identity_are_named(restored, audited, document, rewrite, first_difference):
    for parts in ({**document["base"]["parts"], "checkpoint": "0" * 64}, {"checkpoint": "0" * 64}):
        rewrite({**document, "base": {**document["base"], "parts": parts}})
        assert first_difference(audited) == "base identity"


def test_an_attestation_of_the_earlier_version_is_still_verified(restored, audited, document, rewrite, statuses):
    parts = {"weights" if part == "checkpoint" else part: sha256 for part, sha256 in document["base"]["parts"].items()}
    model = {**document["base"], "parts": parts, "identity": recorded_identity(parts)}
    rewrite({**document, "schema_version": 3, "base": model})
    found = statuses(audited)
    assert "differs" not in found.values()
    assert [found[f"base {NAMES.get(part, part)}"] for part in PARTS[1:]] == ["ok"] * 4
    # It was a hash of the weights in memory.
    assert "base weights" not in found
    rewrite({**document, "schema_version": 3, "base": {**model, "parts": {**parts, "weights": "0" * 64}}})
    assert statuses(audited)["base identity"] == "differs"


def test_a_template_in_a_further_folder_is_seen(restored, audited, first_difference):
    more = restored / "base" / "additional_chat_templates"
    more.mkdir()
    try:
        (more / "tool_use.jinja").write_text("{{ messages }}", encoding="utf-8")
        assert first_difference(audited) == "base chat template"
    finally:
        shutil.rmtree(more)


def test_the_control_model_is_recorded_and_checked(restored, audited, statuses):
    control = restored / "control"
    shutil.copytree(restored / "base", control)
    try:
        (control / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}", encoding="utf-8")
        expunge.audit(audited.folder, control=str(control))
        document = json.loads((audited.folder / "attestation.json").read_text(encoding="utf-8"))
        different = [part for part in document["control"]["parts"] if document["control"]["parts"][part] != document["base"]["parts"][part]]
        assert different == ["chat_template"]
        assert statuses(audited)["control chat template"] == "ok"
        (control / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
        assert statuses(audited)["control chat_template.jinja"] == "differs"
    finally:
        shutil.rmtree(control)
    assert statuses(audited)[f"control {control}"] == "not reachable"


def test_the_control_auto_must_be_the_base(restored, audited, document, rewrite):
    control = {"name": "auto", "identity": document["base"]["identity"], "parts": document["base"]["parts"], "files": []}
    for recorded, expected in ((control, "ok"), (with_part(control, "checkpoint", "0" * 64), "differs")):
        rewrite({**document, "control": recorded})
        assert {check.name: check.status for check in verify(audited.folder / "attestation.json")}["control"] == expected
