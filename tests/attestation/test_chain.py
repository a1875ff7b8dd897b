"""The chain of earlier attestations, and the request to forget."""

import datetime
import hashlib
import json

import pytest

from expunge.attestation import read_details, verify
from expunge.errors import InputError


def test_an_attestation_names_the_earlier_one_which_is_archived(restored, audited, attest, first_difference, statuses):
    first = (audited.folder / "attestation.json").read_bytes()
    for _ in range(2):
        attest(audited)
    assert (audited.folder / "attestations" / "0001.json").read_bytes() == first
    newest = json.loads((audited.folder / "attestation.json").read_text(encoding="utf-8"))
    second = (audited.folder / "attestations" / "0002.json").read_bytes()
    assert newest["previous"] == {"path": "attestations/0002.json", "sha256": hashlib.sha256(second).hexdigest()}
    assert json.loads(second)["previous"] == {"path": "attestations/0001.json", "sha256": hashlib.sha256(first).hexdigest()}
    found = statuses(audited)
    assert found["previous attestation attestations/0001.json"] == found["previous attestation attestations/0002.json"] == "ok"
    assert first_difference(audited) is None
    assert all(check.status != "differs" for check in verify(audited.folder / "attestations" / "0002.json"))


def test_a_changed_or_missing_earlier_attestation_is_named(restored, audited, attest, first_difference, statuses):
    for _ in range(2):
        attest(audited)
    path = audited.folder / "attestations" / "0001.json"
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"lora x npo"', b'"lora x idk"'))
    assert first_difference(audited) == "previous attestation attestations/0001.json"
    path.unlink()
    assert statuses(audited)["previous attestation attestations/0001.json"] == "not reachable"


def test_an_interruption_between_archiving_and_writing_leaves_one_copy(restored, audited, attest, first_difference):
    (audited.folder / "attestations").mkdir()
    (audited.folder / "attestations" / "0001.json").write_bytes((audited.folder / "attestation.json").read_bytes())
    attest(audited)
    assert [path.name for path in (audited.folder / "attestations").iterdir()] == ["0001.json"]
    assert first_difference(audited) is None


def test_an_attestation_may_follow_one_of_another_run_that_is_audited_again(
    restored, audited, attest, tmp_path, first_difference, statuses
):
    other = tmp_path / "other" / "attestation.json"
    other.parent.mkdir()
    other.write_bytes((audited.folder / "attestation.json").read_bytes())
    attest(audited, read_details(previous=other))
    assert statuses(audited)[f"previous attestation {other}"] == "ok"
    (other.parent / "attestations").mkdir()
    other.rename(other.parent / "attestations" / "0001.json")
    other.write_text("{}", encoding="utf-8")
    assert statuses(audited)[f"previous attestation {other}"] == "ok"
    (other.parent / "attestations" / "0001.json").unlink()
    assert first_difference(audited) == f"previous attestation {other}"
    with pytest.raises(InputError, match="is not an attestation"):
        read_details(previous=other)


def test_the_request_is_recorded_and_remains_when_the_run_is_audited_again(restored, audited, attest, tmp_path):
    request = "id: 17\nreceived: 2026-03-01\nlegal_basis: GDPR Art. 17\n"
    (tmp_path / "request.yaml").write_text(request, encoding="utf-8")
    attest(audited, read_details(request=tmp_path / "request.yaml"))
    attest(audited)
    document = json.loads((audited.folder / "attestation.json").read_text(encoding="utf-8"))
    absent = {"reference": None, "deadline": None}
    assert document["request"] == {"id": "17", "received": "2026-03-01", "legal_basis": "GDPR Art. 17", **absent}
    assert document["not_given"] == ["request.reference", "request.deadline"]


@pytest.mark.parametrize(
    ("request_yaml", "problem"),
    [
        ("who: me", "who: unknown field; known fields: id, received, legal_basis, reference, deadline"),
        ("id: [1]", "id: give a text, a date or a number"),
        ("id: ''", "id: give a text, a date or a number"),
        ("- id", "must be a mapping"),
    ],
)
def test_a_faulty_request_is_an_input_error(tmp_path, request_yaml, problem):
    (tmp_path / "request.yaml").write_text(request_yaml, encoding="utf-8")
    with pytest.raises(InputError, match=rf"request\.yaml: {problem}"):
        read_details(request=tmp_path / "request.yaml")


def test_the_time_is_in_utc(audited):
    created = json.loads((audited.folder / "attestation.json").read_text(encoding="utf-8"))["created_utc"]
    time = datetime.datetime.fromisoformat(created)
    assert datetime.timedelta(0) <= datetime.datetime.now(datetime.UTC) - time < datetime.timedelta(hours=1)


def test_the_language_is_recorded_with_its_rule_and_older_attestations_name_none(restored, audited, statuses, rewrite):
    document = json.loads((audited.folder / "attestation.json").read_text(encoding="utf-8"))
    recorded = {"code": "en", "rule": "detected in 4 of 4 records"}
    assert document["reading"]["language"] == recorded == audited.read_info()["data"]["language"]
    del document["reading"]["language"]
    rewrite(document)
    assert "differs" not in statuses(audited).values()
