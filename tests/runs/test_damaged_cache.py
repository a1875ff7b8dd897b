"""A cached measurement that is damaged, swapped or crafted is measured anew and replaced, never believed, never a traceback."""

import hashlib
import hmac
import json
import os

import pytest
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.errors import InputError
from expunge.files import cache_dir
from expunge.runs.cache import Measurement

RESULT = [{"id": "1", "rouge": 0.25, "answer": "Ana lives in Öland."}]
OTHER = [{"id": "1", "rouge": 0.0, "answer": ""}]


@pytest.fixture
def measurement(make_tokenizer, tmp_path, monkeypatch):
    """A measurement in a cache of its own, by the identity of its model: `measurement("a")`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    builder, model = PromptBuilder(make_tokenizer()), nn.Linear(1, 1)
    return lambda identity: Measurement("sets", identity, model, builder, {})


def measured_anew(measurement) -> bool:
    """Return whether a result is measured although something is in the cache, and is found there the next time."""
    calls = []
    assert measurement.load_or(lambda: calls.append(1) or RESULT) == RESULT
    assert measurement.load_or(lambda: pytest.fail("measured again")) == RESULT
    return bool(calls)


def signed(content: str, secret: str) -> str:
    return hmac.new(secret.encode(), content.encode(), hashlib.sha256).hexdigest() + "\n" + content


def test_every_flipped_bit_and_every_cut_is_found(measurement):
    stored = measurement("a")
    stored.store(RESULT)
    whole = stored.path.read_bytes()
    assert not measured_anew(stored)
    for at in range(len(whole)):
        for content in (whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :], whole[:at]):
            stored.path.write_bytes(content)
            assert measured_anew(stored), (at, content)
    assert stored.path.read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OTHER),
        json.dumps({"result": OTHER}),
        "[" * 100_000,
        "null",
        "\n\n\n",
        "\ud800",
        "é" * 64 + "\n" + json.dumps(OTHER),
        signed(json.dumps({"key": "k", "result": OTHER}), ""),
        signed(json.dumps({"key": "k", "result": OTHER}), "0" * 64),
    ],
)
def test_a_crafted_file_is_not_believed(measurement, content):
    stored = measurement("a")
    stored.path.parent.mkdir(parents=True)
    stored.path.write_bytes(content.encode(errors="surrogatepass"))
    assert measured_anew(stored)


def test_the_file_of_another_measurement_is_not_believed(measurement):
    stored, other = measurement("a"), measurement("b")
    other.store(OTHER)
    other.path.rename(stored.path)
    assert measured_anew(stored)


@pytest.mark.parametrize("secret", [b"", b"short", b"\xff" * 64, b"0" * 64])
def test_a_damaged_or_exchanged_secret_makes_nothing_believed(measurement, secret):
    stored = measurement("a")
    stored.store(OTHER)
    (cache_dir() / "secret").write_bytes(secret)
    assert measured_anew(stored)
    assert (cache_dir() / "secret").stat().st_size == 64


@pytest.mark.parametrize("what", ["a link", "a pipe"])
@pytest.mark.parametrize("which", ["result", "secret"])
def test_a_link_or_a_pipe_is_replaced(measurement, tmp_path, what, which):
    stored = measurement("a")
    stored.store(RESULT)
    path, elsewhere = stored.path if which == "result" else cache_dir() / "secret", tmp_path / "elsewhere"
    path.rename(elsewhere)
    before = elsewhere.read_bytes()
    path.symlink_to(elsewhere) if what == "a link" else os.mkfifo(path)
    assert measured_anew(stored)
    assert elsewhere.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_in_its_place_is_one_sentence(measurement):
    stored = measurement("a")
    stored.path.mkdir(parents=True)
    with pytest.raises(InputError, match=r"\.json: is a folder where a file belongs; remove it"):
        stored.load_or(lambda: RESULT)
