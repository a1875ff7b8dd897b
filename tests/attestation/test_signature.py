"""Who stands for a record: Ed25519 signatures, good, bad and missing."""

import json
import sys

import pytest

from expunge.attestation import read_details, verify, write_attestation
from expunge.errors import InputError

pytest.importorskip("cryptography", reason="an extra: pip install expunge[sign]")

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat


def pem(path, key, encryption=None):
    """Write a key, and its public half beside it."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    public = path.with_suffix(".pub")
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path, public


@pytest.fixture
def keys(tmp_path):
    """Two Ed25519 keys in PEM: (private, public) of each."""
    return [pem(tmp_path / f"{name}.pem", Ed25519PrivateKey.generate()) for name in ("ours", "theirs")]


def test_a_signature_is_checked_with_the_key_of_who_should_have_signed(changeable, recorded, keys, statuses):
    (ours, public), (_, other) = keys
    write_attestation(recorded, read_details(sign=ours))
    assert statuses(recorded)["signature"] == "ok"
    assert statuses(recorded, public)["signature"] == "ok"
    assert statuses(recorded, other)["signature"] == "differs"


def test_a_record_that_should_be_signed_and_is_not_fails(changeable, recorded, keys, statuses):
    assert statuses(recorded)["signature"] == "not reachable"
    assert statuses(recorded, keys[0][1])["signature"] == "differs"


def test_a_changed_record_under_a_fresh_id_does_not_have_its_signature(changeable, recorded, keys, rewritten, first_wrong):
    path = write_attestation(recorded, read_details(sign=keys[0][0]))
    rewritten({**json.loads(path.read_text(encoding="utf-8")), "stop_reason": "it was all gone"})
    assert first_wrong(recorded) == "signature"


@pytest.mark.parametrize("field", ["public_key", "value"])
def test_a_changed_byte_of_a_signature_is_found(changeable, recorded, keys, first_wrong, field):
    path = write_attestation(recorded, read_details(sign=keys[0][0]))
    raw = path.read_bytes()
    said = json.loads(raw)["signature"][field].encode()
    for at in (0, 31, 63):
        changed = said[:at] + (b"0" if said[at : at + 1] != b"0" else b"1") + said[at + 1 :]
        path.write_bytes(raw.replace(said, changed))
        assert first_wrong(recorded) == "signature"
    # Hex in capitals is the same number and another file.
    path.write_bytes(raw.replace(said, said.upper()))
    with pytest.raises(InputError, match=f"is not an attestation of this version: signature.{field}"):
        verify(path)


def test_a_file_that_is_no_key_is_bad_input(tmp_path, keys, recorded):
    (tmp_path / "text.pem").write_text("no key", encoding="utf-8")
    curve, curve_public = pem(tmp_path / "curve.pem", generate_private_key(SECP256R1()))
    locked, _ = pem(tmp_path / "locked.pem", Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret"))
    for path, said in (
        (tmp_path / "none.pem", "cannot be read"),
        (tmp_path / "text.pem", "not an unencrypted private key"),
        (locked, "not an unencrypted private key"),
        (keys[0][1], "not an unencrypted private key"),
        (curve, "not an Ed25519 key"),
    ):
        with pytest.raises(InputError, match=f"{path.name}: {said}"):
            read_details(sign=path)
    for path, said in ((keys[0][0], "not a public key in PEM format"), (curve_public, "not an Ed25519 key")):
        with pytest.raises(InputError, match=f"{path.name}: {said}"):
            verify(recorded.folder / "attestation.json", path)


def test_without_the_package_a_signed_record_is_checked_but_for_its_signature(
    changeable, recorded, keys, monkeypatch, first_wrong, statuses
):
    (ours, public), _ = keys
    write_attestation(recorded, read_details(sign=ours))
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert statuses(recorded)["signature"] == "not reachable"
    assert first_wrong(recorded) is None
    for call in (lambda: read_details(sign=ours), lambda: statuses(recorded, public)):
        with pytest.raises(InputError, match=r'signatures need the package cryptography; pip install "expunge\[sign\]"'):
            call()
