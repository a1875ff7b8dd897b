"""An attestation of a run: its content, and that every changed byte is detected and named."""

import hashlib
import json
import re

import pytest

import expunge
from expunge.attestation import verify
from expunge.attestation.hashes import record_hmac
from expunge.data.records import read_records
from expunge.errors import InputError
from expunge.runs.folder import Run

SECRET = "Basil Mahfouz"


@pytest.fixture
def document(audited):
    return json.loads((audited.folder / "attestation.json").read_text(encoding="utf-8"))


def test_a_new_attestation_verifies_and_every_part_can_be_checked(audited):
    checks = verify(audited.folder / "attestation.json")
    left = {check.name: check.detail for check in checks if check.status != "ok"}
    assert left == {"signature": "it has none"}
    assert {"Merkle root", "forget records", "retain records", "base chat template", "metrics", "attacks", "recipe.yaml"} <= {
        c.name for c in checks
    }


def test_an_attestation_describes_the_run(audited, document):
    assert document["method"] == "lora x npo"
    assert document["counts"] == {"forget": 4, "trained": 3, "calibration": 0, "held_out": 2, "overlap": 0}
    assert document["metrics"]["after"] == audited.summary["unlearned"]
    assert document["metrics"]["control"] is None
    reading = document["reading"]
    assert (reading["map"], reading["forget_map"]) == ({}, {})
    assert (reading["retain_map"], reading["retain_split"]) == ({"prompt": "query", "answer": "reply"}, "train")
    assert document["edit"]["removable"] is True
    assert document["threat_model"] == ["API only", "weights released"]
    assert document["not_given"] == [f"request.{name}" for name in ("id", "received", "legal_basis", "reference", "deadline")]
    assert any("never known" in phrase for phrase in document["not_tested"])
    assert 'attacks of the threat model "fine-tuning API"' in document["not_tested"]
    assert {"tokenizer.json", "tokenizer_config.json"} <= set(document["base"]["tokenizer"])


def test_an_attestation_contains_neither_texts_to_forget_nor_the_key(audited, document):
    raw = (audited.folder / "attestation.json").read_text(encoding="utf-8")
    for one in read_records(document["forget"]["records"][0]["file"]):
        assert not any(text in raw for text in (one.prompt, one.answer))
    assert SECRET not in raw
    assert (audited.folder / "key").read_text(encoding="utf-8") not in raw
    assert (audited.folder / "key").stat().st_mode & 0o077 == 0


def test_an_auditor_with_the_key_can_recompute_the_hmac_of_a_record(audited, document):
    key = bytes.fromhex((audited.folder / "key").read_text(encoding="utf-8"))
    row = document["forget"]["records"][2]
    (original,) = [one for one in read_records(row["file"]) if one.line == row["line"]]
    assert row["hmac"] == record_hmac(original, key)
    assert row["hmac"] != record_hmac(original, bytes(32))


def flip(path, at, bit=0x01):
    raw = bytearray(path.read_bytes())
    raw[at] ^= bit
    path.write_bytes(raw)


NAMED = {
    "run/recipe.yaml": "recipe.yaml",
    "run/key": "key",
    "run/audit.json": "audit.json",
    "run/audit.parquet": "audit.parquet",
    "run/verdict.json": "verdict.json",
    "run/edit/adapter_model.safetensors": "edit adapter_model.safetensors",
    "run/edit/adapter_config.json": "edit adapter_config.json",
    "run/edit/manifest.json": "edit manifest.json",
    "base/model.safetensors": "base model.safetensors",
    "base/config.json": "base config.json",
    "base/tokenizer.json": "base tokenizer.json",
}


@pytest.mark.parametrize("where", [0, 0.5, -1])
@pytest.mark.parametrize("file", NAMED)
def test_a_changed_byte_in_any_file_is_named(restored, audited, first_difference, file, where):
    path = restored / file
    flip(path, where if where < 1 and where != 0.5 else path.stat().st_size // 2)
    assert first_difference(audited) == NAMED[file]


@pytest.mark.parametrize("name", ["forget.jsonl", "retain.csv.gz", "strangers.jsonl"])
@pytest.mark.parametrize("where", [0, 30, -1])
def test_a_changed_byte_in_the_data_is_named(restored, audited, first_difference, name, where):
    flip(restored / name, where)
    assert first_difference(audited) == str(restored / name)


def test_every_changed_byte_of_an_attestation_is_detected(restored, audited):
    path = audited.folder / "attestation.json"
    raw = path.read_bytes()
    named = set()
    for at in range(0, len(raw), 11):
        changed = bytearray(raw)
        # One of the bits changes the case of letters, which would not change the value of hex digits.
        changed[at] ^= (0x01, 0x20, 0x80)[at % 3]
        path.write_bytes(changed)
        try:
            problem = [check.name for check in verify(path) if check.status == "differs"]
        except InputError as error:
            problem = [re.sub(".*: is not an attestation.*", "not an attestation", str(error))]
        assert problem, (at, bytes(changed[at - 20 : at + 20]))
        named.add(problem[0])
    assert named == {"canonical form", "attestation id", "not an attestation"}


def test_white_space_and_another_order_are_not_the_canonical_form(restored, audited, document, first_difference):
    path = audited.folder / "attestation.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    assert first_difference(audited) == "canonical form"
    path.write_bytes(json.dumps(dict(reversed(document.items())), separators=(",", ":"), ensure_ascii=False).encode())
    assert first_difference(audited) == "canonical form"


def test_a_removed_forget_record_is_detected_even_with_a_new_id(restored, audited, document, rewrite, first_difference):
    document["forget"]["records"].pop()
    rewrite(document)
    assert first_difference(audited) == "Merkle root"


def test_improved_metrics_are_detected_even_with_a_new_id(restored, audited, document, rewrite, first_difference):
    document["metrics"]["after"]["forget"]["probability"]["value"] = 0.0
    rewrite(document)
    assert first_difference(audited) == "metrics"


def test_a_changed_verdict_is_detected_even_with_a_new_id(restored, audited, document, rewrite, first_difference):
    document["attacks"]["rows"][0]["verdict"] = "pass"
    rewrite(document)
    assert first_difference(audited) == "attacks"


def test_attacks_without_a_verdict_file_are_detected_even_with_a_new_id(restored, audited, document, rewrite, first_difference):
    rewrite({**document, "verdict": None})
    assert first_difference(audited) == "attacks"


def test_an_additional_file_in_the_edit_is_detected(restored, audited, first_difference):
    (audited.edit / "weights.safetensors").write_bytes(b"")
    assert first_difference(audited) == "edit weights.safetensors"


def test_a_missing_file_of_the_edit_is_detected(restored, audited, first_difference):
    (audited.edit / "adapter_config.json").unlink()
    assert first_difference(audited) == "edit adapter_config.json"


def test_without_the_key_forget_records_cannot_be_checked_and_nothing_differs(restored, audited, first_difference):
    (audited.folder / "key").unlink()
    statuses = {check.name: check.status for check in verify(audited.folder / "attestation.json")}
    assert statuses["forget records"] == statuses["key"] == statuses[str(restored / "forget.jsonl")] == "not reachable"
    assert statuses["Merkle root"] == statuses["metrics"] == "ok"
    assert first_difference(audited) is None


def test_an_attestation_without_its_run_folder_is_checked_as_far_as_possible(audited, tmp_path, first_difference):
    (tmp_path / "attestation.json").write_bytes((audited.folder / "attestation.json").read_bytes())
    assert first_difference(Run(tmp_path)) is None
    statuses = {check.name: check.status for check in verify(tmp_path / "attestation.json")}
    assert statuses["audit.json"] == statuses["edit manifest.json"] == "not reachable"
    assert statuses["attestation id"] == "ok"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"attestation_id":"x","signature":null', "\xff"])
def test_a_file_that_is_not_an_attestation_is_an_input_error(tmp_path, content):
    (tmp_path / "attestation.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"attestation\.json: is not an attestation"):
        verify(tmp_path / "attestation.json")


def test_a_missing_field_is_named(restored, audited, document, rewrite):
    del document["edit"]["removable"]
    rewrite(document)
    with pytest.raises(InputError, match=r"is not an attestation of this version: edit\.removable"):
        verify(audited.folder / "attestation.json")


def test_data_that_changed_since_the_training_gets_no_attestation(restored, audited, attest):
    flip(restored / "forget.jsonl", 40)
    with pytest.raises(InputError, match="has changed since"):
        attest(audited)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("verdict.json", [], "all of it"),
        ("verdict.json", {"suite": {}}, "rows: Field required"),
        ("verdict.json", {"suite": {}, "rows": [1]}, "rows.0"),
        ("audit.json", {"original": {}}, "unlearned: Field required"),
        ("audit.json", {"original": {}, "unlearned": {"forget": 3}}, "unlearned.forget"),
        ("audit.json", {"original": {}, "unlearned": {}, "other": {}}, "other"),
    ],
)
def test_a_forged_file_with_a_matching_hash_is_named_with_its_field(audited, document, restored, rewrite, name, content, problem):
    path = audited.folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    field = name.partition(".")[0]
    rewrite({**document, field: {**document[field], "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}})
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: is not what an audit writes: {re.escape(problem)}"):
        verify(audited.folder / "attestation.json")


def test_a_file_that_is_not_json_and_an_invalid_key_are_named(audited, document, restored, rewrite):
    path = audited.folder / "audit.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    rewrite({**document, "audit": {**document["audit"], "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}})
    with pytest.raises(InputError, match=r"audit\.json: is not what a run writes: the file is nested too deeply"):
        verify(audited.folder / "attestation.json")
    key = audited.folder / "key"
    key.write_text("no hex", encoding="utf-8")
    rewrite({**document, "key_sha256": hashlib.sha256(key.read_bytes()).hexdigest()})
    with pytest.raises(InputError, match="key: is not a key as expunge writes it"):
        verify(audited.folder / "attestation.json")


def test_a_forged_parquet_file_is_detected_without_reading_it(audited, restored, first_difference):
    (audited.folder / "attacks.parquet").write_bytes(b"PAR1 and nothing of the kind PAR1")
    assert first_difference(audited) == "attacks.parquet"


def test_the_api_takes_a_run_its_folder_or_the_attestations_file(audited):
    checks = expunge.verify(audited)
    assert checks == expunge.verify(str(audited.folder)) == expunge.verify(audited.folder / "attestation.json")
    assert {check.status for check in checks} == {"ok", "not reachable"}
