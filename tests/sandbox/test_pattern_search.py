"""Regular expressions of users: the same matches as the library gives, and an end within seconds for every pattern."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.sandbox import search
from expunge.sandbox.search import LONGEST, check_pattern, matching

BOMBS = {
    "alternatives that overlap": (r"^(a|a)*$", "a" * 4000 + "b"),
    "repeats inside each other": (r"(?:a|aa|b?)+$", "a" * 60 + "!"),
    "recursion": ("(a(?R)?b)", "a" * 300_000),
    "recursion without an end": ("(?R)", "a"),
    "case folding": ("(?i)" + "\u017f" * 1990, "s" * 200_000),
}


@pytest.fixture
def a_short_time(monkeypatch):
    monkeypatch.setattr(search, "SECONDS", 0.5)


@pytest.mark.parametrize("name", BOMBS)
def test_a_search_that_does_not_end_is_one_sentence_within_seconds(name, a_short_time):
    pattern, text = BOMBS[name]
    started = time.monotonic()
    with pytest.raises(InputError, match=r"^edit\.modules: .*(takes over 0\.5 s on one text|needs too much memory)"):
        search.search(pattern, ["short", text], "edit.modules")
    assert time.monotonic() - started < 5
    # The next search gets a new process.
    assert search.search("b+", ["abba", "c"], "edit.modules") == [(1, 3), None]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "not a regular expression: missing"),
        ("a{1000}{1000}{1000}", "not a regular expression: multiple repeat"),
        ("(?:(?:(?:(?:a{9999}){9999}){9999}){9999}){9999}", "needs too much memory|to compile"),
        ("(" * 900 + ")" * 900, "not a regular expression: maximum recursion depth"),
        ("a" * (LONGEST + 1), "longer than 2000 characters"),
        ("a{99999999999999999999}", "not a regular expression: repeat count too big"),
        ("\ud800(", "not a regular expression"),
    ],
)
def test_a_pattern_that_cannot_be_compiled_is_one_sentence(pattern, problem):
    with pytest.raises(ValueError, match=problem) as error:
        check_pattern(pattern)
    assert "\n" not in str(error.value)


@given(st.sampled_from(["a+", r"\bb\w*", "(?i)A", "^$", r"\p{L}", "[^a]"]), st.lists(st.text(st.characters(), max_size=20), max_size=4))
def test_matches_are_those_of_the_library(pattern, texts):
    expected = [match and match.span() for match in (regex.search(pattern, text) for text in texts)]
    assert search.search(pattern, texts, "p") == expected
    assert matching(pattern, texts, "p") == [text for text, span in zip(texts, expected, strict=True) if span]


def test_case_is_ignored_on_request():
    assert search.search("KEY", ["key"], "p", ignore_case=True) == [(0, 3)]
    assert search.search("KEY", ["key"], "p") == [None]


def test_a_forked_process_has_a_search_of_its_own():
    search.search("a", ["a"], "p")
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, json.dumps(search.search("b", ["ab"], "p")).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"[[1, 2]]"
    assert search.search("c", ["abc"], "p") == [(2, 3)]
    os.close(reading)
    os.close(writing)


def is_running(pid: str) -> bool:
    """Return whether a process has not ended; an ended one that nobody waited for has no command line."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and path.read_bytes() != b""


def test_the_search_ends_after_its_starter_was_killed():
    bomb = "import expunge.sandbox.search as s; s.SECONDS = 1.0; print(flush=True); s.search('^(a|a)*$', ['a' * 9999 + 'b'], 'p')"
    with subprocess.Popen([sys.executable, "-c", bomb], stdout=subprocess.PIPE) as starter:
        starter.stdout.read(1)
        time.sleep(0.4)
        children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        assert children
        starter.kill()
    time.sleep(1.5)
    assert not list(filter(is_running, children))
