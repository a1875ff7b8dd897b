"""Search for regular expressions that a user wrote, in a process with limits: a pattern can need hours or all memory."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import regex

from expunge.errors import InputError, quoted
from expunge.sandbox import search_child

SECONDS = 5.0
"""Most time for the search in one text."""
MEMORY = 2**30
LONGEST = 2000
"""Most characters of a pattern."""

Span = tuple[int, int]


@cache
def check_pattern(pattern: str) -> None:
    """Raise `ValueError` if a text is not a regular expression of the library `regex`, or one that takes too long to compile."""
    if len(pattern) > LONGEST:
        raise ValueError(f"the regular expression is longer than {LONGEST} characters")
    answer = _PROCESS.request(pattern, [], ignore_case=False)
    if answer is None:
        raise ValueError(f"the regular expression takes over {SECONDS:g} s or {MEMORY >> 30} GiB to compile; give a simpler one")
    if "error" in answer:
        raise ValueError(f"not a regular expression: {answer['error']}")


def search(pattern: str, texts: Sequence[str], setting: str, ignore_case: bool = False) -> list[Span | None]:
    """Return where the first match of a pattern is in each text, as (start, end); None where there is none.

    Args:
        pattern: a regular expression of the library `regex`, which reads all patterns of Python's `re`.
        texts: any texts.
        setting: where the pattern is from, such as `edit.modules`, for errors.
        ignore_case: whether case does not matter.

    Raises:
        InputError: the search takes too long or too much memory. Counting that as no match would hide what the text holds.
    """
    answer = _PROCESS.request(pattern, list(texts), ignore_case)
    if answer is None:
        raise InputError(f"{setting}: {quoted(pattern)} takes over {SECONDS:g} s on one text; give one that backtracks less")
    if "error" in answer:
        raise InputError(f"{setting}: {quoted(pattern)} cannot be used: {answer['error']}")
    return [None if span is None else (span[0], span[1]) for span in answer["spans"]]


def matching(pattern: str, texts: Sequence[str], setting: str) -> list[str]:
    """Return those texts that contain a match of a pattern; arguments and errors are those of `search`."""
    return [text for text, span in zip(texts, search(pattern, texts, setting), strict=True) if span is not None]


class _SearchProcess:
    """The process that searches: started when it is first needed, and again after it has ended itself."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def request(self, pattern: str, texts: list[str], ignore_case: bool) -> dict[str, Any] | None:
        """Return the answer to a request, see `search_child`; None if the process ended itself over it."""
        # A forked process must not share the pipes of its parent.
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            self._process, self._owner = self._start(), os.getpid()
        process, request = self._process, {"pattern": pattern, "texts": texts, "ignore_case": ignore_case, "seconds": SECONDS}
        stdin, stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            if line := stdout.readline():
                return json.loads(line)
        except BrokenPipeError:
            pass
        process.wait()
        return None

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        folder = str(Path(regex.__file__).parents[1])
        # Isolated, without site-packages, without bytecode files. The environment may hold secrets.
        command = [sys.executable, "-I", "-S", "-B", search_child.__file__, folder, str(MEMORY)]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, env={}, stdin=pipe, stdout=pipe, stderr=nothing, encoding="ascii")


_PROCESS = _SearchProcess()
