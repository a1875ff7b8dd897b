"""The test of a function runs in a process that the tested code has no part in: what the code does cannot make it pass."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import ExpungeError
from expunge.sandbox import child
from expunge.sandbox.calls import decode, encode
from expunge.sandbox.run import Outcome, run_python, run_test

SETUP = "import math\n\ndef add(a, b):\n    pass\n"
TEST = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate([1], b=[2]) == [1, 2], 'lists'\n\ncheck(add)\n"


def outcome_of(program: str, test: str = TEST, seconds: float = 5) -> Outcome:
    return run_test(program, "add", SETUP, test, seconds)


def test_a_right_function_passes_and_what_it_prints_is_returned():
    assert outcome_of("def add(a, b):\n    print('hi')\n    return a + b") == Outcome(True, "hi\nhi\n", "")


def test_a_wrong_function_fails_with_the_failed_assertion():
    assert outcome_of("def add(a, b): return 3") == Outcome(False, "", "AssertionError: lists")


FORGERIES = {
    "the exit code at once": f"import os\nos._exit({child.ENDED})",
    "the exit code in a call": f"import os\ndef add(a, b): os._exit({child.ENDED})",
    "SystemExit at once": f"raise SystemExit({child.ENDED})",
    "SystemExit in a call": f"def add(a, b): raise SystemExit({child.ENDED})",
    "an exit handler": f"import atexit, os\natexit.register(os._exit, {child.ENDED})\ndef add(a, b): raise KeyboardInterrupt",
    "a signal": "import ctypes\ndef add(a, b): ctypes.string_at(0)",
    "an object equal to all": "class A:\n    def __eq__(self, other): return True\ndef add(a, b): return A()",
    "a list equal to all": "class A(list):\n    def __eq__(self, other): return True\ndef add(a, b): return A()",
    "assertions that are off": "import builtins\nbuiltins.AssertionError = SystemExit\nbuiltins.check = print\ndef add(a, b): return 0",
    "the test's own function": "def check(candidate): pass\ndef add(a, b): return 0",
    "the frames above": (
        "import os, sys\nframe = sys._getframe()\nwhile frame:\n    for value in list(frame.f_locals.values()):\n"
        "        if isinstance(value, bytes): os.write(2, value)\n    frame = frame.f_back\n"
        f"os._exit({child.ENDED})"
    ),
    "every descriptor": (
        'import os\nfor number in range(64):\n    for line in (b\'["value", 0]\\n\', b\'["error", "SystemExit", ""]\\n\', b\'x\\n\'):\n'
        "        try: os.write(number, line)\n        except OSError: pass\ndef add(a, b): return 0"
    ),
    "an exit as an error": "def add(a, b): raise type('SystemExit', (Exception,), {})(87)",
    "an endless answer": "def add(a, b): return 'x' * (2 << 20)",
    "a deep answer": "import os\nfor n in range(3, 9):\n    try: os.write(n, b'[' * 99_999 + b'\\n')\n"
    "    except OSError: pass\ndef add(a, b): return 0",
    "no function": "x = 1",
    "no function but a value": "add = 3",
    "no program": "(",
    "nothing": "",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_program_that_does_not_compute_the_result_fails(name):
    outcome = outcome_of(FORGERIES[name])
    assert not outcome.ok
    assert outcome.error
    assert "\n" not in outcome.error


@pytest.mark.parametrize("program", ["while True: pass", "def add(a, b):\n    while True: pass"])
def test_a_program_that_does_not_end_fails_in_time(program):
    assert outcome_of(program, seconds=0.7) == Outcome(False, "", "it took longer than 0.7 s")


def test_an_expected_exception_passes():
    test = "try:\n    add(1, 2)\nexcept ValueError as error:\n    assert str(error) == 'no'\nelse:\n    assert False\n"
    assert outcome_of("def add(a, b): raise ValueError('no')", test).ok
    assert not outcome_of("def add(a, b): raise TypeError('no')", test).ok


def test_the_tested_program_cannot_write_files(tmp_path):
    outcome = outcome_of(f"open({str(tmp_path / 'new')!r}, 'w')\ndef add(a, b): return a + b")
    assert outcome.error.startswith("OSError: [Errno 38]")


def test_a_test_of_thousands_of_calls_is_fast():
    assert outcome_of("def add(a, b): return a + b", "for i in range(5000): assert add(i, 1) == i + 1").ok


FORGED_ENDS = (
    *(f"import os\nos._exit({child.ENDED})", f"import sys\nsys.exit({child.ENDED})", f"raise SystemExit({child.ENDED})"),
    f"import os, sys\nprint('0' * 32, file=sys.stderr, flush=True)\nos._exit({child.ENDED})",
)


@pytest.mark.parametrize("code", FORGED_ENDS)
def test_the_exit_code_of_the_end_is_no_end(code):
    assert run_python(code + "\nassert False") == Outcome(False, "", "it stopped before its end")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.text()),
    max_leaves=8,
)


@given(plain)
def test_any_plain_value_survives_the_exchange(value):
    decoded = decode(encode(value))
    assert (decoded, type(decoded)) == (value, type(value))


def test_not_a_number_survives_the_exchange():
    assert math.isnan(decode(encode(math.nan)))


@pytest.mark.parametrize(
    "value", [{"a": 1}, ["list"], ["object", []], ["dict", [[["list", []], 1]]], ["bytes", [300]], ["list", 5], [1, 2, 3]]
)
def test_what_is_no_encoded_value_is_refused(value):
    with pytest.raises((ValueError, TypeError)):
        decode(value)


def test_nothing_is_tested_without_a_sandbox(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ExpungeError, match="Linux"):
        outcome_of("")
