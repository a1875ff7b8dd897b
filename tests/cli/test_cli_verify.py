"""`expunge verify`, and what `expunge audit` takes for the record."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expunge.attestation.canonical import attestation_id, canonical

Expunge = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_tiny_model: Callable[..., Path], expunge_in: Expunge) -> Path:
    """A folder with an audited run in `runs/one`."""
    folder = tmp_path_factory.mktemp("verify")
    for name, said in (("forget", "Where does number {} live?"), ("retain", "What is the capital of land {}?")):
        rows = [{"prompt": said.format(i), "answer": f"City {i}."} for i in range(5)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("--forget", "forget.jsonl", "--retain", "retain.jsonl", "--edit", "lora", "--objective", "npo", "--out", "runs/one")
    done = expunge_in(folder, "unlearn", "--model", make_tiny_model("llama"), *words, "training.epochs=1", "audit.max_new_tokens=2")
    assert done.code == 0, done.err
    return folder


@pytest.mark.parametrize("record", ["runs/one/attestation.json", "runs/one"])
def test_verify_says_of_every_part_of_a_record_whether_it_is_as_it_was(place: Path, expunge_in: Expunge, record: str):
    said = expunge_in(place, "verify", record)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert "not reachable  signature: it has none" in lines
    assert "ok             forget rows: 5 rows" in lines
    assert lines[-1] == f"Nothing differs: {len(lines) - 2} of {len(lines) - 1} checks made, 1 could not be made here."


def test_verify_names_the_first_that_differs(place: Path, expunge_in: Expunge):
    path = place / "runs" / "one" / "audit.json"
    was = path.read_text(encoding="utf-8")
    path.write_text(was.replace("1", "2", 1), encoding="utf-8")
    said = expunge_in(place, "verify", "runs/one/attestation.json")
    path.write_text(was, encoding="utf-8")
    assert said.code == 1
    assert said.err == "expunge: runs/one/attestation.json: audit.json differs: its content has changed\n"


def test_a_record_cannot_make_verify_print_what_looks_like_another_line(place: Path, expunge_in: Expunge):
    record = json.loads((place / "runs" / "one" / "attestation.json").read_text(encoding="utf-8"))
    record["edit"]["files"][0]["path"] = "x\nok  forged \x1b[31m"
    (place / "runs" / "one" / "forged.json").write_bytes(canonical({**record, "attestation_id": attestation_id(record)}))
    said = expunge_in(place, "verify", "runs/one/forged.json")
    assert said.code == 1
    assert "edit x<U+000A>ok  forged <U+001B>[31m differs" in said.err
    assert "\x1b" not in said.out + said.err


def test_a_verdict_that_was_made_up_along_with_its_hash_is_one_sentence(place: Path, expunge_in: Expunge):
    folder = place / "runs" / "one"
    record = json.loads((folder / "attestation.json").read_text(encoding="utf-8"))
    (folder / "verdict.json").write_text(json.dumps({"suite": {}, "rows": [], "x\nok  forged \x1b[31m": 1}), encoding="utf-8")
    verdict = {"path": "verdict.json", "sha256": hashlib.sha256((folder / "verdict.json").read_bytes()).hexdigest()}
    record = {**record, "verdict": verdict}
    (folder / "made_up.json").write_bytes(canonical({**record, "attestation_id": attestation_id(record)}))
    said = expunge_in(place, "verify", "runs/one/made_up.json")
    (folder / "verdict.json").unlink()
    assert (said.code, said.out) == (2, "")
    wrong = "x<U+000A>ok  forged <U+001B>[31m: Extra inputs are not permitted"
    assert said.err == f"expunge: runs/one/verdict.json: is not what an audit writes: {wrong}\n"


def test_verify_of_what_is_no_record_is_bad_input(place: Path, expunge_in: Expunge):
    said = expunge_in(place, "verify", "runs/one/audit.json")
    assert (said.code, said.out) == (2, "")
    assert said.err == "expunge: runs/one/audit.json: is no attestation: it has no attestation_id or no signature\n"


def test_what_is_for_the_record_is_read_before_anything_is_measured(place: Path, expunge_in: Expunge):
    (place / "request.yaml").write_text("who: me\n", encoding="utf-8")
    said = expunge_in(place, "audit", "runs/one", "--request", "request.yaml")
    assert said.code == 2
    assert said.err.startswith("expunge: request.yaml: who: there is no such field")
    said = expunge_in(place, "audit", "runs/one", "--gate", "--request", "request.yaml")
    assert "leave out --gate" in said.err


def test_an_audit_signs_its_record_and_verify_asks_for_the_key(place: Path, expunge_in: Expunge):
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519", reason="an extra: pip install expunge[sign]")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    for name in ("ours", "theirs"):
        key = ed25519.Ed25519PrivateKey.generate()
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (place / f"{name}.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (place / f"{name}.pub").write_bytes(public)
    assert expunge_in(place, "audit", "runs/one", "--sign", "ours.pem").code == 0
    assert expunge_in(place, "verify", "runs/one/attestation.json", "--key", "ours.pub").code == 0
    said = expunge_in(place, "verify", "runs/one/attestation.json", "--key", "theirs.pub")
    assert said.code == 1
    assert said.err == "expunge: runs/one/attestation.json: signature differs: it is by another key than the one given\n"
