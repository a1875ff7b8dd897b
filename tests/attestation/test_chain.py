"""Which records came before one, and what was asked for."""

import datetime
import hashlib
import json

import pytest

from expunge.attestation import read_details, verify, write_attestation
from expunge.errors import InputError


def test_a_record_names_the_one_before_it_which_is_kept(changeable, recorded, first_wrong, statuses):
    first = (recorded.folder / "attestation.json").read_bytes()
    for _ in range(2):
        write_attestation(recorded)
    assert (recorded.folder / "attestations" / "0001.json").read_bytes() == first
    newest = json.loads((recorded.folder / "attestation.json").read_text(encoding="utf-8"))
    second = (recorded.folder / "attestations" / "0002.json").read_bytes()
    assert newest["previous"] == {"path": "attestations/0002.json", "sha256": hashlib.sha256(second).hexdigest()}
    assert json.loads(second)["previous"] == {"path": "attestations/0001.json", "sha256": hashlib.sha256(first).hexdigest()}
    found = statuses(recorded)
    assert found["previous attestation attestations/0001.json"] == found["previous attestation attestations/0002.json"] == "ok"
    assert first_wrong(recorded) is None
    assert all(check.status != "differs" for check in verify(recorded.folder / "attestations" / "0002.json"))


def test_an_earlier_record_that_was_changed_or_is_gone_is_named(changeable, recorded, first_wrong, statuses):
    for _ in range(2):
        write_attestation(recorded)
    path = recorded.folder / "attestations" / "0001.json"
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"lora x npo"', b'"lora x idk"'))
    assert first_wrong(recorded) == "previous attestation attestations/0001.json"
    path.unlink()
    assert statuses(recorded)["previous attestation attestations/0001.json"] == "not reachable"


def test_a_kill_between_keeping_the_old_record_and_writing_the_new_leaves_one_copy(changeable, recorded, first_wrong):
    (recorded.folder / "attestations").mkdir()
    (recorded.folder / "attestations" / "0001.json").write_bytes((recorded.folder / "attestation.json").read_bytes())
    write_attestation(recorded)
    assert [path.name for path in (recorded.folder / "attestations").iterdir()] == ["0001.json"]
    assert first_wrong(recorded) is None


def test_a_record_may_follow_one_of_another_run_also_when_that_run_is_audited_again(changeable, recorded, tmp_path, first_wrong, statuses):
    other = tmp_path / "other" / "attestation.json"
    other.parent.mkdir()
    other.write_bytes((recorded.folder / "attestation.json").read_bytes())
    write_attestation(recorded, read_details(previous=other))
    assert statuses(recorded)[f"previous attestation {other}"] == "ok"
    (other.parent / "attestations").mkdir()
    other.rename(other.parent / "attestations" / "0001.json")
    other.write_text("{}", encoding="utf-8")
    assert statuses(recorded)[f"previous attestation {other}"] == "ok"
    (other.parent / "attestations" / "0001.json").unlink()
    assert first_wrong(recorded) == f"previous attestation {other}"
    with pytest.raises(InputError, match="is not an attestation"):
        read_details(previous=other)


def test_a_request_is_recorded_and_stays_when_the_run_is_audited_again(changeable, recorded, tmp_path):
    said = "id: 17\nreceived: 2026-03-01\nlegal_basis: GDPR Art. 17\n"
    (tmp_path / "request.yaml").write_text(said, encoding="utf-8")
    write_attestation(recorded, read_details(request=tmp_path / "request.yaml"))
    write_attestation(recorded)
    record = json.loads((recorded.folder / "attestation.json").read_text(encoding="utf-8"))
    absent = {"reference": None, "deadline": None}
    assert record["request"] == {"id": "17", "received": "2026-03-01", "legal_basis": "GDPR Art. 17", **absent}
    assert record["not_given"] == ["request.reference", "request.deadline"]


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("who: me", "who: unknown field; known fields: id, received, legal_basis, reference, deadline"),
        ("id: [1]", "id: give a text, a date or a number"),
        ("id: ''", "id: give a text, a date or a number"),
        ("- id", "must be a mapping"),
    ],
)
def test_a_faulty_request_is_bad_input(tmp_path, said, wrong):
    (tmp_path / "request.yaml").write_text(said, encoding="utf-8")
    with pytest.raises(InputError, match=rf"request\.yaml: {wrong}"):
        read_details(request=tmp_path / "request.yaml")


def test_the_time_is_in_utc(recorded):
    said = json.loads((recorded.folder / "attestation.json").read_text(encoding="utf-8"))["created_utc"]
    made = datetime.datetime.fromisoformat(said)
    assert datetime.timedelta(0) <= datetime.datetime.now(datetime.UTC) - made < datetime.timedelta(hours=1)
