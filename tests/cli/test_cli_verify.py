"""`expunge verify`, and the options of `expunge audit` for the attestation."""

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
    for name, text in (("forget", "Where does number {} live?"), ("retain", "What is the capital of land {}?")):
        rows = [{"prompt": text.format(i), "answer": f"City {i}."} for i in range(5)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("--forget", "forget.jsonl", "--retain", "retain.jsonl", "--edit", "lora", "--objective", "npo", "--out", "runs/one")
    done = expunge_in(folder, "unlearn", "--model", make_tiny_model("llama"), *words, "training.epochs=1", "audit.max_new_tokens=2")
    assert done.code == 0, done.err
    return folder


@pytest.mark.parametrize("attestation", ["runs/one/attestation.json", "runs/one"])
def test_verify_checks_every_part_of_an_attestation(place: Path, expunge_in: Expunge, attestation: str):
    result = expunge_in(place, "verify", attestation)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert "not reachable  signature: it has none" in lines
    assert "ok             forget records: 5 records" in lines
    assert lines[-1] == f"Nothing differs: {len(lines) - 2} of {len(lines) - 1} checks made, 1 could not be made here."


def test_verify_names_the_first_that_differs(place: Path, expunge_in: Expunge):
    path = place / "runs" / "one" / "audit.json"
    was = path.read_text(encoding="utf-8")
    path.write_text(was.replace("1", "2", 1), encoding="utf-8")
    result = expunge_in(place, "verify", "runs/one/attestation.json")
    path.write_text(was, encoding="utf-8")
    assert result.code == 1
    assert result.err == "expunge: runs/one/attestation.json: audit.json differs: its content has changed\n"


def test_names_in_an_attestation_cannot_forge_a_line_of_output(place: Path, expunge_in: Expunge):
    attestation = json.loads((place / "runs" / "one" / "attestation.json").read_text(encoding="utf-8"))
    attestation["edit"]["files"][0]["path"] = "x\nok  forged \x1b[31m"
    (place / "runs" / "one" / "forged.json").write_bytes(canonical({**attestation, "attestation_id": attestation_id(attestation)}))
    result = expunge_in(place, "verify", "runs/one/forged.json")
    assert result.code == 1
    assert "edit x<U+000A>ok  forged <U+001B>[31m differs" in result.err
    assert "\x1b" not in result.out + result.err


def test_a_forged_verdict_with_its_hash_is_an_error(place: Path, expunge_in: Expunge):
    folder = place / "runs" / "one"
    attestation = json.loads((folder / "attestation.json").read_text(encoding="utf-8"))
    (folder / "verdict.json").write_text(json.dumps({"suite": {}, "rows": [], "x\nok  forged \x1b[31m": 1}), encoding="utf-8")
    verdict = {"path": "verdict.json", "sha256": hashlib.sha256((folder / "verdict.json").read_bytes()).hexdigest()}
    attestation = {**attestation, "verdict": verdict}
    (folder / "forged_verdict.json").write_bytes(canonical({**attestation, "attestation_id": attestation_id(attestation)}))
    result = expunge_in(place, "verify", "runs/one/forged_verdict.json")
    (folder / "verdict.json").unlink()
    assert (result.code, result.out) == (2, "")
    wrong = "x<U+000A>ok  forged <U+001B>[31m: Extra inputs are not permitted"
    assert result.err == f"expunge: runs/one/verdict.json: is not what an audit writes: {wrong}\n"


def test_verify_refuses_a_file_that_is_no_attestation(place: Path, expunge_in: Expunge):
    result = expunge_in(place, "verify", "runs/one/audit.json")
    assert (result.code, result.out) == (2, "")
    assert result.err == "expunge: runs/one/audit.json: is not an attestation: it has no attestation_id or no signature\n"


def test_the_request_is_read_before_anything_is_measured(place: Path, expunge_in: Expunge):
    (place / "request.yaml").write_text("who: me\n", encoding="utf-8")
    result = expunge_in(place, "audit", "runs/one", "--request", "request.yaml")
    assert result.code == 2
    assert result.err.startswith("expunge: request.yaml: who: unknown field")
    result = expunge_in(place, "audit", "runs/one", "--gate", "--request", "request.yaml")
    assert "leave out --gate" in result.err


def test_verify_checks_the_signature_with_the_given_key(place: Path, expunge_in: Expunge):
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519", reason="an extra: pip install expunge[sign]")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    for name in ("signer", "other"):
        key = ed25519.Ed25519PrivateKey.generate()
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (place / f"{name}.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (place / f"{name}.pub").write_bytes(public)
    assert expunge_in(place, "audit", "runs/one", "--sign", "signer.pem").code == 0
    assert expunge_in(place, "verify", "runs/one/attestation.json", "--key", "signer.pub").code == 0
    result = expunge_in(place, "verify", "runs/one/attestation.json", "--key", "other.pub")
    assert result.code == 1
    assert result.err == "expunge: runs/one/attestation.json: signature differs: it is by another key than the given one\n"
