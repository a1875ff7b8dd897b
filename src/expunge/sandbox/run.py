"""Run Python code that a model wrote, where it can do little harm: the only place of the project that runs such code.

A new process runs `expunge/sandbox/child.py`, which ties its own hands and then runs the code. The code has an empty environment, no
standard input, an empty folder that goes away, no packages besides Python's own library, and limits of time, memory and output. It
can open no socket (so it has no event loop either), start no process, signal none, and write, change or delete no file.

It is not kept from reading what its user may read (files, and in /proc the parent's environment); all it can do with it is to print
it. And it is no boundary against code made to attack the kernel or the interpreter: for that, run the whole thing in a virtual machine.
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
"""What code may print, on each of its two outputs; printing more is an error in the code."""


@dataclass(frozen=True)
class Outcome:
    """What came of a program.

    Attributes:
        ok: whether it ran to its end, which one that calls `exit` does not.
        stdout: what it printed.
        error: what stopped it, in one line; nothing if it is ok.
    """

    ok: bool
    stdout: str
    error: str


def run_python(code: str, seconds: float = 5, memory_mib: int = 512) -> Outcome:
    """Run a program, wait for its end or put one to it.

    Args:
        code: the text of a whole program.
        seconds: the time that it may take, with about 0.1 s for the interpreter's own start.
        memory_mib: the address space that it may take, with about 50 MiB for the interpreter.

    Returns:
        What came of it; the code's own faults are in there.

    Raises:
        ExpungeError: the sandbox cannot be set up here (it needs Linux on x86-64 or arm64), so nothing was run.
    """
    if not child.possible():
        raise ExpungeError("generated code is run on Linux (x86-64 or arm64) only: elsewhere there is no sandbox for it")
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
            late = False
        except subprocess.TimeoutExpired:
            status, late = -signal.SIGKILL, True
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        printed, complaint = _text(out), _text(err).strip()
    if status == child.UNCONFINED:
        raise ExpungeError(f"the sandbox for generated code could not be set up: {complaint}")
    error = f"it took longer than {seconds:g} s" if late else _why(status, complaint)
    return Outcome(not error, printed, error)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(OUTPUT_BYTES).decode("utf-8", "replace")


def _why(status: int, complaint: str) -> str:
    if status == child.ENDED:
        return ""
    if status < 0:
        return f"it was stopped by {signal.Signals(-status).name}"
    return complaint.splitlines()[-1] if status and complaint else "it stopped before its end"
