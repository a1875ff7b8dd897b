"""A record of a run: what it says, what it does not, and that every changed byte is found and named."""

import hashlib
import json
import re

import pytest

import expunge
from expunge.attestation import verify, write_attestation
from expunge.attestation.hashes import record_hmac
from expunge.data.records import read_records
from expunge.errors import InputError
from expunge.runs.folder import Run

SECRET = "Basil Mahfouz"


@pytest.fixture
def record(recorded):
    return json.loads((recorded.folder / "attestation.json").read_text(encoding="utf-8"))


def test_a_fresh_record_verifies_and_all_of_it_can_be_reached(recorded):
    checks = verify(recorded.folder / "attestation.json")
    left = {check.name: check.detail for check in checks if check.status != "ok"}
    assert left == {"signature": "it has none"}
    assert {"Merkle root", "forget records", "retain records", "base chat template", "metrics", "attacks", "recipe.yaml"} <= {
        c.name for c in checks
    }


def test_a_record_says_what_was_done(recorded, record):
    assert record["method"] == "lora x npo"
    assert record["counts"] == {"forget": 4, "trained": 3, "calibration": 0, "held_out": 2, "overlap": 0}
    assert record["metrics"]["after"] == recorded.summary["unlearned"]
    assert record["metrics"]["control"] is None
    assert record["edit"]["removable"] is True
    assert record["threat_model"] == ["API only", "weights released"]
    assert record["not_given"] == [f"request.{name}" for name in ("id", "received", "legal_basis", "reference", "deadline")]
    assert any("never known" in said for said in record["not_tested"])
    assert 'attacks of the threat model "fine-tuning API"' in record["not_tested"]
    assert {"tokenizer.json", "tokenizer_config.json"} <= set(record["base"]["tokenizer"])


def test_no_text_to_forget_and_no_key_is_in_a_record(recorded, record):
    raw = (recorded.folder / "attestation.json").read_text(encoding="utf-8")
    for one in read_records(record["forget"]["records"][0]["file"]):
        assert not any(text in raw for text in (one.prompt, one.answer))
    assert SECRET not in raw
    assert (recorded.folder / "key").read_text(encoding="utf-8") not in raw
    assert (recorded.folder / "key").stat().st_mode & 0o077 == 0


def test_an_auditor_with_the_key_and_a_row_finds_its_hmac(recorded, record):
    key = bytes.fromhex((recorded.folder / "key").read_text(encoding="utf-8"))
    row = record["forget"]["records"][2]
    (asked,) = [one for one in read_records(row["file"]) if one.line == row["line"]]
    assert row["hmac"] == record_hmac(asked, key)
    assert row["hmac"] != record_hmac(asked, bytes(32))


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
def test_a_changed_byte_in_any_file_is_named(changeable, recorded, first_wrong, file, where):
    path = changeable / file
    flip(path, where if where < 1 and where != 0.5 else path.stat().st_size // 2)
    assert first_wrong(recorded) == NAMED[file]


@pytest.mark.parametrize("name", ["forget.jsonl", "retain.jsonl", "strangers.jsonl"])
@pytest.mark.parametrize("where", [0, 30, -1])
def test_a_changed_byte_in_the_data_is_named(changeable, recorded, first_wrong, name, where):
    flip(changeable / name, where)
    assert first_wrong(recorded) == str(changeable / name)


def test_every_changed_byte_of_a_record_is_found(changeable, recorded):
    path = recorded.folder / "attestation.json"
    raw = path.read_bytes()
    named = set()
    for at in range(0, len(raw), 11):
        changed = bytearray(raw)
        # A bit that turns letters into those of other case too, which hex would be read alike with.
        changed[at] ^= (0x01, 0x20, 0x80)[at % 3]
        path.write_bytes(changed)
        try:
            wrong = [check.name for check in verify(path) if check.status == "differs"]
        except InputError as error:
            wrong = [re.sub(".*: is not an attestation.*", "no record", str(error))]
        assert wrong, (at, bytes(changed[at - 20 : at + 20]))
        named.add(wrong[0])
    assert named == {"canonical form", "attestation id", "no record"}


def test_white_space_and_another_order_are_no_canonical_form(changeable, recorded, record, first_wrong):
    path = recorded.folder / "attestation.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
    assert first_wrong(recorded) == "canonical form"
    path.write_bytes(json.dumps(dict(reversed(record.items())), separators=(",", ":"), ensure_ascii=False).encode())
    assert first_wrong(recorded) == "canonical form"


def test_a_row_left_out_is_found_even_under_a_fresh_id(changeable, recorded, record, rewritten, first_wrong):
    record["forget"]["records"].pop()
    rewritten(record)
    assert first_wrong(recorded) == "Merkle root"


def test_numbers_prettier_than_those_measured_are_found_even_under_a_fresh_id(changeable, recorded, record, rewritten, first_wrong):
    record["metrics"]["after"]["forget"]["probability"]["value"] = 0.0
    rewritten(record)
    assert first_wrong(recorded) == "metrics"


def test_an_attack_that_is_said_to_have_passed_is_found_even_under_a_fresh_id(changeable, recorded, record, rewritten, first_wrong):
    record["attacks"]["rows"][0]["verdict"] = "pass"
    rewritten(record)
    assert first_wrong(recorded) == "attacks"


def test_attacks_that_no_file_is_recorded_for_are_found_even_under_a_fresh_id(changeable, recorded, record, rewritten, first_wrong):
    rewritten({**record, "verdict": None})
    assert first_wrong(recorded) == "attacks"


def test_a_file_that_would_be_loaded_in_place_of_another_is_found(changeable, recorded, first_wrong):
    (recorded.edit / "weights.safetensors").write_bytes(b"")
    assert first_wrong(recorded) == "edit weights.safetensors"


def test_an_edit_without_one_of_its_files_is_found(changeable, recorded, first_wrong):
    (recorded.edit / "adapter_config.json").unlink()
    assert first_wrong(recorded) == "edit adapter_config.json"


def test_without_the_key_no_row_can_be_checked_and_nothing_is_said_to_differ(changeable, recorded, first_wrong):
    (recorded.folder / "key").unlink()
    statuses = {check.name: check.status for check in verify(recorded.folder / "attestation.json")}
    assert statuses["forget records"] == statuses["key"] == statuses[str(changeable / "forget.jsonl")] == "not reachable"
    assert statuses["Merkle root"] == statuses["metrics"] == "ok"
    assert first_wrong(recorded) is None


def test_a_record_by_itself_is_checked_as_far_as_it_goes(recorded, tmp_path, first_wrong):
    (tmp_path / "attestation.json").write_bytes((recorded.folder / "attestation.json").read_bytes())
    assert first_wrong(Run(tmp_path)) is None
    statuses = {check.name: check.status for check in verify(tmp_path / "attestation.json")}
    assert statuses["audit.json"] == statuses["edit manifest.json"] == "not reachable"
    assert statuses["attestation id"] == "ok"


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"attestation_id":"x","signature":null', "\xff"])
def test_what_is_no_record_is_bad_input(tmp_path, said):
    (tmp_path / "attestation.json").write_bytes(said.encode("latin-1"))
    with pytest.raises(InputError, match=r"attestation\.json: is not an attestation"):
        verify(tmp_path / "attestation.json")


def test_a_field_that_no_record_has_is_named(changeable, recorded, record, rewritten):
    del record["edit"]["removable"]
    rewritten(record)
    with pytest.raises(InputError, match=r"is not an attestation of this version: edit\.removable"):
        verify(recorded.folder / "attestation.json")


def test_data_that_changed_since_training_gets_no_record(changeable, recorded):
    flip(changeable / "forget.jsonl", 40)
    with pytest.raises(InputError, match="has changed since"):
        write_attestation(recorded)


@pytest.mark.parametrize(
    ("name", "said", "wrong"),
    [
        ("verdict.json", [], "all of it"),
        ("verdict.json", {"suite": {}}, "rows: Field required"),
        ("verdict.json", {"suite": {}, "rows": [1]}, "rows.0"),
        ("audit.json", {"original": {}}, "unlearned: Field required"),
        ("audit.json", {"original": {}, "unlearned": {"forget": 3}}, "unlearned.forget"),
        ("audit.json", {"original": {}, "unlearned": {}, "other": {}}, "other"),
    ],
)
def test_a_file_that_was_made_up_along_with_its_hash_is_named_with_the_field(recorded, record, changeable, rewritten, name, said, wrong):
    path = recorded.folder / name
    path.write_text(json.dumps(said), encoding="utf-8")
    field = name.partition(".")[0]
    rewritten({**record, field: {**record[field], "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}})
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: is not what an audit writes: {re.escape(wrong)}"):
        verify(recorded.folder / "attestation.json")


def test_a_file_that_is_no_json_and_a_key_that_is_none_are_named(recorded, record, changeable, rewritten):
    path = recorded.folder / "audit.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    rewritten({**record, "audit": {**record["audit"], "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}})
    with pytest.raises(InputError, match=r"audit\.json: is not what a run writes: nested too deeply"):
        verify(recorded.folder / "attestation.json")
    key = recorded.folder / "key"
    key.write_text("no hex", encoding="utf-8")
    rewritten({**record, "key_sha256": hashlib.sha256(key.read_bytes()).hexdigest()})
    with pytest.raises(InputError, match="key: is not what a run writes: non-hexadecimal"):
        verify(recorded.folder / "attestation.json")


def test_rows_that_were_made_up_are_compared_by_their_hmac_alone(recorded, changeable, first_wrong):
    (recorded.folder / "attacks.parquet").write_bytes(b"PAR1 and nothing of the kind PAR1")
    assert first_wrong(recorded) == "attacks.parquet"


def test_python_takes_a_run_its_folder_or_the_records_file(recorded):
    checks = expunge.verify(recorded)
    assert checks == expunge.verify(str(recorded.folder)) == expunge.verify(recorded.folder / "attestation.json")
    assert {check.status for check in checks} == {"ok", "not reachable"}
