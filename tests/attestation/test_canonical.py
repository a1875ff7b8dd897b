"""The canonical form and the Merkle tree, worked out by hand."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.attestation.canonical import attestation_id, canonical, parse, signed_bytes
from expunge.attestation.merkle import merkle_root

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def sha(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def test_the_canonical_form_by_hand():
    value = {"b": [1, 1.5, None, True], "a": {"z": 'é"\n\u007f', "Z": ""}}
    assert canonical(value) == '{"a":{"Z":"","z":"é\\"\\n\u007f"},"b":[1,1.5,null,true]}'.encode()


@given(PLAIN)
def test_parse_inverts_canonical(value):
    assert parse(canonical(value)) == value
    assert canonical(parse(canonical(value))) == canonical(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": number})


@pytest.mark.parametrize("raw", [b"{'a': 1}", b'{"a": NaN}', b'"\xff"', b"[" * 100_000])
def test_parse_refuses_what_is_not_json(raw):
    with pytest.raises(ValueError):
        parse(raw)


def test_the_id_covers_everything_except_itself_and_the_signature():
    bare = hashlib.sha256(b'{"a":1}').hexdigest()
    assert attestation_id({"a": 1}) == attestation_id({"a": 1, "attestation_id": "x", "signature": {"value": "y"}}) == bare
    assert signed_bytes({"a": 1, "attestation_id": "x", "signature": None}) == b'{"a":1,"attestation_id":"x"}'


def test_the_merkle_root_by_hand():
    # RFC 6962: a leaf is H(0x00 | entry), a node H(0x01 | left | right); of three entries two go to the left
    one, two, three = b"a" * 32, b"b" * 32, b"c" * 32
    assert merkle_root([]) == sha(b"")
    assert merkle_root([one]) == sha(b"\x00" + one)
    pair = sha(b"\x01" + sha(b"\x00" + one) + sha(b"\x00" + two))
    assert merkle_root([one, two]) == pair
    assert merkle_root([one, two, three]) == sha(b"\x01" + pair + sha(b"\x00" + three))


def test_the_published_root_of_eight_leaves():
    # the test vectors of Certificate Transparency's reference implementation
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    assert merkle_root([bytes.fromhex(leaf) for leaf in leaves]).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_a_pair_of_hashes_cannot_pass_for_a_record():
    one, two = b"a" * 32, b"b" * 32
    inner = sha(b"\x00" + one) + sha(b"\x00" + two)
    assert merkle_root([one, two]) != merkle_root([inner])
