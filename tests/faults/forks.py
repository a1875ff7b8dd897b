"""Run verbs in forked processes that can be killed, be denied the disk, or run two at a time: the client of `fork_server.py`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from itertools import count
from pathlib import Path
from typing import Any

from harness import SECONDS, Outcome

HERE = Path(__file__).parent


class What(IntEnum):
    """What happens at a file operation; the numbers are those of `file_faults.c`."""

    COUNT = 0
    KILL = 1
    """SIGKILL before the operation, which is the same as after the one before."""
    KILL_IN_WRITE = 2
    """SIGKILL after half of the bytes, if the operation is a write; otherwise before it."""
    FULL_FROM = 3
    """This operation and all later ones that need space fail with an error: the disk is full."""
    FAIL_FROM = 4
    """This operation and all later ones fail with an error."""
    SIGNAL = 5
    """A signal arrives before the operation."""


@dataclass(frozen=True)
class Fault:
    """What happens at which operation.

    Attributes:
        what: the event.
        at: number of the operation in the place of the command, from 1.
        value: number of the error or of the signal.
    """

    what: What = What.COUNT
    at: int = 0
    value: int = 0


@dataclass(frozen=True)
class Operation:
    """One file operation: its kind and the path, relative to the place."""

    kind: str
    path: str


class Child:
    """A command at work in a forked process."""

    def __init__(self, server: "Forks", pid: int, files: Path, cwd: Path):
        self.server, self.pid, self.files, self.cwd = server, pid, files, cwd

    def wait(self, seconds: float = SECONDS) -> Outcome:
        """Return how it ended; the code of a killed process is minus the signal."""
        ended = self.server.request(pid=self.pid, seconds=seconds)
        out, err = (_read(self.files.with_suffix(suffix)) for suffix in (".out", ".err"))
        trace = err if ended["code"] == 70 else ""
        return Outcome(ended["code"], out, err, trace, ended["hung"])

    def reached(self, seconds: float = SECONDS) -> bool:
        """Wait until a SIGSTOP has stopped the process; return False if it ended before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and (state := Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0]) != "Z":
            if state == "T":
                return True
            time.sleep(0.003)
        return False

    def go_on(self) -> None:
        """Let a stopped process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def operations(self) -> list[Operation]:
        """Return its file operations so far, in their order."""
        lines = [line.split(" ", 2) for line in _read(self.files.with_suffix(".log")).splitlines()]
        return [Operation(kind, str(Path(path).relative_to(self.cwd))) for _, kind, path in lines]


class Forks:
    """A server that forks a process for each command.

    Args:
        scratch: an empty folder for its library and for the output of commands.
    """

    def __init__(self, scratch: Path):
        self.scratch, self.numbers = scratch, count()
        library = scratch / "file_faults.so"
        compiler = ("cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, HERE / "file_faults.c", "-ldl")
        subprocess.run(compiler, check=True)
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MPLCONFIGDIR": str(scratch)}
        env = {**os.environ, **one_thread, **offline, "LD_PRELOAD": str(library), "PYTHONWARNINGS": "ignore"}
        command = (sys.executable, str(HERE / "fork_server.py"))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def request(self, **request: Any) -> Any:
        """Send a request and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, *words: object, cwd: Path, fault: Fault | None = None, **env: str) -> Child:
        """Start `expunge words...` in a folder that also holds the cache.

        Args:
            words: of the command line.
            cwd: the folder; operations below it are counted.
            fault: what happens at one of these operations; none: they are not counted.
            env: further environment variables.
        """
        files = self.scratch / str(next(self.numbers))
        paths = {"out": f"{files}.out", "err": f"{files}.err", "cwd": str(cwd)}
        env = {"XDG_CACHE_HOME": str(cwd / "cache"), "COLUMNS": "200", **env}
        armed = None if fault is None else {**asdict(fault), "below": str(cwd), "log": f"{files}.log"}
        pid = self.request(words=[str(word) for word in words], fault=armed, env=env, **paths)
        return Child(self, pid, files, cwd)

    def run(self, *words: object, cwd: Path, seconds: float = SECONDS, **options: Any) -> Outcome:
        """Run a command to its end; the options are those of `start`."""
        return self.start(*words, cwd=cwd, **options).wait(seconds)

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def forked(scratch: Path) -> Iterator[Forks]:
    """Yield a server and close it: the body of a fixture."""
    forks = Forks(scratch)
    yield forks
    forks.close()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
