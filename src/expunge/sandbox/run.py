"""Run Python code that a model wrote in confined processes. No other module of the project runs such code.

A new process runs `expunge/sandbox/child.py`, which confines itself and then runs the code. The code gets an empty environment, no
standard input, an empty temporary folder, Python's standard library without other packages, and limits of time, memory and output. It
cannot open a socket (so it has no event loop either), start or signal a process, or write, change or delete a file.

It can read what its user can read (files, and the parent's environment in /proc), but it can only print it. The sandbox does not stop
code that attacks the kernel or the interpreter; run everything in a virtual machine to be safe from such code.

Code cannot be trusted to say whether it passed a test. `run_test` therefore runs the test in another process, which gets plain values from
the tested function and nothing else. The tested code can still return what it reads in files of its user, such as the data set's solution.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, cast

from expunge.errors import ExpungeError
from expunge.sandbox import child

OUTPUT_BYTES = 1 << 20
"""Maximum number of bytes on each of the two outputs; the code fails if it prints more."""


@dataclass(frozen=True)
class Outcome:
    """Result of a program.

    Attributes:
        ok: whether the program ran to its end; a program that calls `exit` does not.
        stdout: the standard output.
        error: what stopped the program, in one line; empty if it is ok.
    """

    ok: bool
    stdout: str
    error: str


@dataclass(frozen=True)
class Limits:
    """Limits of a confined process: `seconds` of time, of which the start of the interpreter takes about 0.1, and memory in MiB, of which
    it takes about 50.
    """

    seconds: float = 5
    memory_mib: int = 512

    @property
    def arguments(self) -> list[str]:
        """The limits as `child.main` takes them."""
        return [str(limit) for limit in (int(self.seconds) + 1, self.memory_mib << 20, OUTPUT_BYTES)]


def run_python(code: str, seconds: float = 5, memory_mib: int = 512) -> Outcome:
    """Run a program and wait for its end; kill it after `seconds`.

    The process itself reports its end, by a random word that it got at the start. No exit code and no printed text counts as an end, but
    a program that searches its own memory for the word could forge one: use `run_test` to judge a program.

    Args:
        code: the source of a whole program.
        seconds: see `Limits`.
        memory_mib: see `Limits`.

    Returns:
        The result; errors of the code are in it.

    Raises:
        ExpungeError: the sandbox cannot be set up (it needs Linux on x86-64 or arm64), and nothing was run.
    """
    _check_possible()
    with _Confined({"main.py": code}, ["run"], Limits(seconds, memory_mib)) as program:
        program.wait(seconds)
    return Outcome(not program.error, program.stdout, program.error)


def run_test(program: str, function: str, setup: str, test: str, seconds: float = 5, memory_mib: int = 512) -> Outcome:
    """Test a function of a program: the program in one confined process, the test in another; kill both after `seconds`.

    Args:
        program: the source of the whole program, which may be hostile.
        function: name of the tested function. Its arguments and results must be plain values (numbers, texts, lists, dicts and so on).
        setup: source that defines everything else that the test uses; it is trusted.
        test: source of the test; it calls the function by its name, and ends without an error if the function passes. It is trusted.
        seconds: see `Limits`; of both processes together.
        memory_mib: see `Limits`; of each process.

    Returns:
        `ok` if the test ran to its end; `stdout` is what the program printed.

    Raises:
        ExpungeError: the sandbox cannot be set up, and nothing was run.
    """
    _check_possible()
    limits = Limits(seconds, memory_mib)
    (calls_out, calls_in), (answers_out, answers_in) = os.pipe(), os.pipe()
    try:
        tested = _Confined({"main.py": program}, ["serve", function], limits, (calls_out, answers_in))
        tester = _Confined({"main.py": setup, "test.py": test}, ["test", function], limits, (calls_in, answers_out))
    finally:
        # With copies open here, neither process would see the end of the other.
        for descriptor in (calls_out, calls_in, answers_out, answers_in):
            os.close(descriptor)
    with tested, tester:
        tester.wait(seconds)
        # A program that stopped by itself says why in less time than this.
        tested.wait(0.2 if tester.timed_out else seconds)
    error = tester.error and (tester.error if tester.timed_out else tested.error or tester.error)
    return Outcome(not tester.error, tested.stdout, error)


def _check_possible() -> None:
    if not child.possible():
        raise ExpungeError("generated code runs only on Linux (x86-64 or arm64), because there is no sandbox for other systems")


class _Confined:
    """A process that runs `child.py` in a temporary folder of its files; as a context, it is killed at the end.

    Attributes:
        stdout: the standard output, after the end.
        error: what stopped the process, in one line; empty if it did its work.
        timed_out: whether it was killed because its time was over.
    """

    def __init__(self, sources: dict[str, str], task: list[str], limits: Limits, descriptors: tuple[int, ...] = ()):
        self._word, self._limits = secrets.token_hex(16).encode(), limits
        self.stdout, self.error, self.timed_out = "", "", False
        self._files = ExitStack()
        folder = Path(self._files.enter_context(tempfile.TemporaryDirectory()))
        self._out = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._err = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        for name, source in sources.items():
            (folder / name).write_bytes(source.encode("utf-8", "surrogatepass"))
        self._process = subprocess.Popen(
            # Isolated, without site-packages, without bytecode files, in UTF-8.
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", child.__file__, *limits.arguments, *task, *map(str, descriptors)],
            cwd=folder,
            env={},
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
            pass_fds=descriptors,
        )
        with suppress(BrokenPipeError), cast(IO[bytes], self._process.stdin) as stdin:
            stdin.write(self._word)

    def __enter__(self) -> Self:
        return self

    def wait(self, seconds: float) -> None:
        """Wait for the end, at most so long."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.timed_out = True

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        with self._files:
            stdout, stderr = _content(self._out), _content(self._err)
        ended = self._process.returncode == child.ENDED and self._word in stderr
        message = _text(stderr.replace(self._word, b"")).strip()
        if self._process.returncode == child.UNCONFINED:
            raise ExpungeError(f"the sandbox for generated code could not be set up: {message}")
        self.stdout, self.error = _text(stdout), "" if ended else self._reason(message)

    def _reason(self, message: str) -> str:
        status = self._process.returncode
        if self.timed_out:
            return f"it took longer than {self._limits.seconds:g} s"
        if status < 0:
            return f"it was stopped by {signal.Signals(-status).name}"
        return message.splitlines()[-1] if status not in (0, child.ENDED) and message else "it stopped before its end"


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(OUTPUT_BYTES)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
