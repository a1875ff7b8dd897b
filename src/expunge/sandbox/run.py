"""Run Python code that a model wrote in a confined process. No other module of the project runs such code.

A new process runs `expunge/sandbox/child.py`, which confines itself and then runs the code. The code gets an empty environment, no
standard input, an empty temporary folder, Python's standard library without other packages, and limits of time, memory and output. It
cannot open a socket (so it has no event loop either), start or signal a process, or write, change or delete a file.

It can read what its user can read (files, and the parent's environment in /proc), but it can only print it. The sandbox does not stop
code that attacks the kernel or the interpreter; run everything in a virtual machine to be safe from such code.
"""

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

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


def run_python(code: str, seconds: float = 5, memory_mib: int = 512) -> Outcome:
    """Run a program and wait for its end; kill it after `seconds`.

    Args:
        code: the source of a whole program.
        seconds: time limit; the start of the interpreter takes about 0.1 s of it.
        memory_mib: limit of the address space; the interpreter takes about 50 MiB of it.

    Returns:
        The result; errors of the code are in it.

    Raises:
        ExpungeError: the sandbox cannot be set up (it needs Linux on x86-64 or arm64), and nothing was run.
    """
    if not child.possible():
        raise ExpungeError("generated code runs only on Linux (x86-64 or arm64), because there is no sandbox for other systems")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        program = Path(folder, "main.py")
        program.write_bytes(code.encode("utf-8", "surrogatepass"))
        limits = [str(limit) for limit in (int(seconds) + 1, memory_mib << 20, OUTPUT_BYTES)]
        process = subprocess.Popen(
            # Isolated, without site-packages, without bytecode files, in UTF-8.
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", child.__file__, *limits],
            cwd=folder,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
            timed_out = False
        except subprocess.TimeoutExpired:
            status, timed_out = -signal.SIGKILL, True
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        stdout, stderr = _text(out), _text(err).strip()
    if status == child.UNCONFINED:
        raise ExpungeError(f"the sandbox for generated code could not be set up: {stderr}")
    error = f"it took longer than {seconds:g} s" if timed_out else _error(status, stderr)
    return Outcome(not error, stdout, error)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(OUTPUT_BYTES).decode("utf-8", "replace")


def _error(status: int, stderr: str) -> str:
    if status == child.ENDED:
        return ""
    if status < 0:
        return f"it was stopped by {signal.Signals(-status).name}"
    return stderr.splitlines()[-1] if status and stderr else "it stopped before its end"
