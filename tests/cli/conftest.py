"""Fixtures that run `expunge` in this process and return what it printed and its exit code."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from expunge.cli.main import main


@dataclass(frozen=True)
class CommandResult:
    """What a command printed on standard output and standard error, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def expunge_in() -> Callable[..., CommandResult]:
    """Run `expunge words...` in a folder, with the cache in the same folder and `typed` on standard input."""

    def run(folder: Path, *words: object, typed: str = "") -> CommandResult:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(folder)
            patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
            patch.setenv("COLUMNS", "200")
            patch.setattr(sys, "argv", ["expunge", *map(str, words)])
            patch.setattr(sys, "stdin", io.StringIO(typed))
            with pytest.raises(SystemExit) as ended:
                main()
        return CommandResult(ended.value.code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def expunge(tmp_path: Path, expunge_in: Callable[..., CommandResult]) -> Callable[..., CommandResult]:
    """Run `expunge words...` in the folder of the test."""
    return partial(expunge_in, tmp_path)
