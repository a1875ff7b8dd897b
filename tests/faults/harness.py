"""Run a verb in this process, judge how it ended, and the table of all verbs with words that run them."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

EDIT_KINDS = ("grun", "reft", "lora", "full")
KINDS = (*EDIT_KINDS, "release")
"""Kinds of run: one for each edit, and a release."""
SECONDS = 60.0
"""A verb on a tiny model that takes longer hangs: most take less than one second."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: exit code; None if an exception other than `SystemExit` got out.
        out: standard output.
        err: standard error.
        traceback: of that exception, else empty.
        hung: whether it did not end in time.
    """

    code: int | None
    out: str
    err: str
    traceback: str = ""
    hung: bool = False

    @property
    def sentence(self) -> str:
        """The error sentence without `expunge: `, or an empty string unless there is exactly one, on the last line."""
        lines = self.err.splitlines()
        errors = [line for line in lines if line.startswith("expunge: ")]
        return errors[0].removeprefix("expunge: ") if len(errors) == 1 and lines[-1] == errors[0] else ""

    @property
    def refused(self) -> bool:
        """Whether the command ended with exit code 1 or 2 and one sentence."""
        return self.code in (1, 2) and bool(self.sentence) and not self.has_traceback

    @property
    def has_traceback(self) -> bool:
        """Whether an exception got out, a traceback was printed, or the sentence is about an error that nobody expected."""
        unexpected = self.sentence.startswith("unexpected ")
        return bool(self.traceback) or unexpected or "Traceback (most recent call last)" in self.err


class Hang(BaseException):
    """A verb did not end in time."""


def run_verb(*words: object, cwd: Path, typed: str = "", seconds: float = SECONDS) -> Outcome:
    """Run `expunge words...` in this process, in a folder that also holds the cache, with `typed` on standard input.

    After `seconds` an exception ends the verb; code in C cannot be ended so, use `Forks` for what might hang there.
    """
    from expunge.cli.main import main

    out, err, code, trace, hung = io.StringIO(), io.StringIO(), None, "", False
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err), deadline(seconds):
        patch.chdir(cwd)
        patch.setenv("XDG_CACHE_HOME", str(cwd / "cache"))
        patch.setenv("COLUMNS", "200")
        # An unexpected exception gets out, where a user gets its type and place in one sentence.
        patch.setenv("EXPUNGE_DEBUG", "1")
        patch.setattr(sys, "argv", ["expunge", *map(str, words)])
        patch.setattr(sys, "stdin", io.StringIO(typed))
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Hang:
            hung = True
        # Whatever gets out is what the trial is about.
        except BaseException:
            trace = traceback.format_exc()
    return Outcome(code, out.getvalue(), err.getvalue(), trace, hung)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `Hang` in the body after some seconds. pytest-timeout uses the same timer, so it is set again afterwards."""

    def end(*_: object) -> None:
        raise Hang

    handler = signal.signal(signal.SIGALRM, end)
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)


@dataclass(frozen=True)
class Verb:
    """A verb and the words that run it on `runs/<kind>` of a place.

    Attributes:
        words: `{kind}` stands for the kind of run.
        kinds: the kinds of run that it works on.
        loads_edit: whether it loads the run's edit or attests it, so that damage must stop it.
        writes: whether it writes to the run folder.
        ends: its exit code on an intact run.
    """

    words: tuple[str, ...]
    kinds: tuple[str, ...] = KINDS
    loads_edit: bool = True
    writes: bool = False
    ends: int = 0

    def on(self, kind: str) -> tuple[str, ...]:
        """Return the words for a kind of run."""
        return tuple(word.format(kind=kind) for word in self.words)


MORE = ("unlearn", "--model", "runs/{kind}", "--forget", "more.jsonl", "--retain", "retain.jsonl", "--no-audit", "--out", "runs/more")
VERBS = {
    "chat": Verb(("chat", "runs/{kind}", "--ask", "Where does Ana Petrova live?", "--max-new-tokens", "2")),
    "gate": Verb(("gate", "runs/{kind}", "Where does Ana Petrova live?"), ("grun",)),
    "audit": Verb(("audit", "runs/{kind}"), writes=True),
    "audit --suite": Verb(("audit", "runs/{kind}", "--suite", "suite.yaml", "--allow-fail"), writes=True),
    "audit --gate": Verb(("audit", "runs/{kind}", "--gate"), ("grun",), writes=True),
    "export": Verb(("export", "runs/{kind}", "--to", "plain"), ("lora", "full", "release")),
    "compare": Verb(("compare", "runs/{kind}", "--html", "compared.html")),
    "verify": Verb(("verify", "runs/{kind}")),
    "add request": Verb((*MORE, "--edit", "{kind}", "--objective", "npo", "training.epochs=1", "training.dtype=fp32"), ("reft", "grun")),
    "run": Verb(("run", "{kind}.yaml", "--no-audit"), writes=True),
    "undo": Verb(("undo", "runs/{kind}", "1"), ("release",), writes=True),
    "purge": Verb(("purge", "runs/{kind}", "--yes"), loads_edit=False, writes=True),
    "validate": Verb(("validate", "forget.jsonl", "--retain", "retain.jsonl"), loads_edit=False),
}
"""Every verb that reads a run, or records, with words that run it in a place; `reveal`, `demo` and `ls` start from no run."""


def tree(folder: Path) -> dict[str, bytes | str]:
    """Return {relative path: content, or the target of a link, or an empty string for a folder} of all that a folder holds."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = f"-> {os.readlink(path)}" if path.is_symlink() else path.read_bytes() if path.is_file() else ""
    return found
