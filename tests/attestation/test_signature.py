"""Ed25519 signatures of an attestation: valid, invalid and missing."""

import json
import sys

import pytest

from expunge.attestation import read_details, verify
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


def test_a_signature_is_checked_with_the_expected_key(restored, audited, attest, keys, statuses):
    (ours, public), (_, other) = keys
    attest(audited, read_details(sign=ours))
    assert statuses(audited)["signature"] == "ok"
    assert statuses(audited, public)["signature"] == "ok"
    assert statuses(audited, other)["signature"] == "differs"


def test_a_missing_signature_fails_if_a_key_is_expected(restored, audited, keys, statuses):
    assert statuses(audited)["signature"] == "not reachable"
    assert statuses(audited, keys[0][1])["signature"] == "differs"


def test_a_changed_attestation_with_a_new_id_fails_its_signature(restored, audited, attest, keys, rewrite, first_difference):
    path = attest(audited, read_details(sign=keys[0][0]))
    rewrite({**json.loads(path.read_text(encoding="utf-8")), "stop_reason": "it was all gone"})
    assert first_difference(audited) == "signature"


@pytest.mark.parametrize("field", ["public_key", "value"])
def test_a_changed_byte_of_a_signature_is_detected(restored, audited, attest, keys, first_difference, field):
    path = attest(audited, read_details(sign=keys[0][0]))
    raw = path.read_bytes()
    value = json.loads(raw)["signature"][field].encode()
    for at in (0, 31, 63):
        changed = value[:at] + (b"0" if value[at : at + 1] != b"0" else b"1") + value[at + 1 :]
        path.write_bytes(raw.replace(value, changed))
        assert first_difference(audited) == "signature"
    # Hex in capitals is the same number, but other bytes.
    path.write_bytes(raw.replace(value, value.upper()))
    with pytest.raises(InputError, match=f"is not an attestation of this version: signature.{field}"):
        verify(path)


def test_a_file_that_is_not_a_key_is_an_input_error(tmp_path, keys, audited):
    (tmp_path / "text.pem").write_text("no key", encoding="utf-8")
    curve, curve_public = pem(tmp_path / "curve.pem", generate_private_key(SECP256R1()))
    locked, _ = pem(tmp_path / "locked.pem", Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret"))
    for path, message in (
        (tmp_path / "none.pem", "cannot be read"),
        (tmp_path / "text.pem", "not an unencrypted private key"),
        (locked, "not an unencrypted private key"),
        (keys[0][1], "not an unencrypted private key"),
        (curve, "not an Ed25519 key"),
    ):
        with pytest.raises(InputError, match=f"{path.name}: {message}"):
            read_details(sign=path)
    for path, message in ((keys[0][0], "not a public key in PEM format"), (curve_public, "not an Ed25519 key")):
        with pytest.raises(InputError, match=f"{path.name}: {message}"):
            verify(audited.folder / "attestation.json", path)


def test_without_the_package_all_but_the_signature_is_checked(restored, audited, attest, keys, monkeypatch, first_difference, statuses):
    (ours, public), _ = keys
    attest(audited, read_details(sign=ours))
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert statuses(audited)["signature"] == "not reachable"
    assert first_difference(audited) is None
    for call in (lambda: read_details(sign=ours), lambda: statuses(audited, public)):
        with pytest.raises(InputError, match=r'signatures need the package cryptography; pip install "expunge\[sign\]"'):
            call()
