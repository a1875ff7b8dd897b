"""The sandbox: results of programs, and what they cannot do. Every attempt is harmless even if the sandbox fails."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from expunge.errors import ExpungeError
from expunge.sandbox import child
from expunge.sandbox.run import OUTPUT_BYTES, Outcome, run_python


def processes_of_the_sandbox() -> list[str]:
    """Return the command lines of processes that run the sandbox's program, but not of those that another test worker started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError):
            line = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
            if child.__file__ in line and not is_of_another_worker(int(pid)):
                found.append(line)
    return found


def is_of_another_worker(pid: int) -> bool:
    """Return whether a process descends from the process that started this one, but not from this one. An orphan does not."""
    while pid > 1:
        if pid in (os.getpid(), os.getppid()):
            return pid == os.getppid()
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        pid = int(status.partition("PPid:")[2].split()[0])
    return False


def test_a_program_that_ends_returns_its_output():
    assert run_python("print('Guten Tag, Zoë')") == Outcome(True, "Guten Tag, Zoë\n", "")


def test_a_failed_assertion_is_the_error():
    assert run_python("print(1)\nassert 1 + 1 == 3, 'wrong sum'") == Outcome(False, "1\n", "AssertionError: wrong sum")


def test_a_program_runs_as_the_main_one():
    assert run_python("import sys\nprint(__name__, sys.argv)").stdout == "__main__ ['main.py']\n"


@pytest.mark.parametrize("code", ["import sys\nsys.exit()", "raise SystemExit(0)", "import os\nos._exit(0)"])
def test_a_program_that_exits_before_its_end_is_not_ok(code):
    # Otherwise a completion that calls exit would pass every test after it.
    assert run_python(code + "\nassert False") == Outcome(False, "", "it stopped before its end")


@pytest.mark.parametrize("code", ["(", "\0", "x = '\ud800", "(" * 100_000])
def test_text_that_is_not_python_is_an_error(code):
    outcome = run_python(code)
    assert not outcome.ok
    assert "Error" in outcome.error


@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(60)"])
def test_an_endless_program_is_stopped_in_time(code):
    start = time.monotonic()
    assert run_python(code, seconds=0.5) == Outcome(False, "", "it took longer than 0.5 s")
    assert time.monotonic() - start < 5
    assert not processes_of_the_sandbox()


def test_a_program_that_ignores_signals_is_stopped():
    code = (
        "import signal\nfor s in {*signal.Signals} - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass"
    )
    assert run_python(code, seconds=0.5).error == "it took longer than 0.5 s"
    assert not processes_of_the_sandbox()


def test_memory_is_limited():
    assert run_python("bytearray(100 << 20)", memory_mib=256).ok
    assert run_python("bytearray(300 << 20)", memory_mib=256).error == "MemoryError"


def test_output_is_limited():
    outcome = run_python("for _ in range(10_000): print('x' * 1000)")
    assert outcome.error == "OSError: [Errno 27] File too large"
    assert len(outcome.stdout) == OUTPUT_BYTES


def test_a_crash_of_the_interpreter_is_an_outcome():
    assert run_python("import ctypes\nctypes.string_at(0)").error == "it was stopped by SIGSEGV"


@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['true'])",
        "multiprocessing.Process(target=print).start()",
    ],
)
def test_no_process_can_be_started(attempt):
    # At most four rounds, so that allowed forks would give 16 processes.
    code = f"import multiprocessing, os, subprocess\nfor _ in range(4):\n    {attempt}"
    assert run_python(code).error.startswith("OSError: [Errno 38] Function not implemented")
    assert not processes_of_the_sandbox()


def test_threads_can_be_started():
    code = "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool: print(sum(pool.map(abs, [-1, 2])))"
    assert run_python(code).stdout == "3\n"


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.socket()",
        "socket.socketpair()",
        "socket.create_connection(('127.0.0.1', 9))",
        "os.kill(os.getppid(), 0)",
        "os.kill(os.getpid(), 0)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
        "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "os.memfd_create('x')",
        "ctypes.CDLL(None).unshare(0x10000000) and refused()",
        "ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) and refused()",
    ],
)
def test_network_and_other_processes_are_unreachable(attempt):
    code = f"import ctypes, fcntl, os, resource, socket\ndef refused(): raise OSError(38, 'refused')\n{attempt}"
    assert run_python(code).error.startswith(("OSError: [Errno 38]", "socket.gaierror"))


@pytest.mark.parametrize(
    "attempt",
    [
        "open('new', 'w')",
        "open(victim, 'a')",
        "open(victim, 'r+')",
        "os.open(victim, os.O_RDONLY | os.O_TRUNC)",
        "os.truncate(victim, 0)",
        "os.remove(victim)",
        "os.rename(victim, 'new')",
        "os.link(victim, 'new')",
        "os.symlink(victim, 'new')",
        "os.mkdir('new')",
        "os.chmod(victim, 0o777)",
        "os.utime(victim)",
        "os.setxattr(victim, 'user.x', b'x')",
        "os.mkfifo('new')",
    ],
)
def test_no_file_can_be_created_changed_or_deleted(attempt, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    before = victim.stat()
    outcome = run_python(f"import os\nvictim = {str(victim)!r}\nprint(open(victim).read())\n{attempt}")
    assert outcome.stdout == "as it was\n"
    assert outcome.error.startswith("OSError: [Errno 38]")
    assert victim.read_text() == "as it was"
    assert (victim.stat().st_mode, victim.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("EXPUNGE_JUDGE_KEY", "secret")
    assert run_python("import os\nprint(dict(os.environ))").stdout == "{}\n"


def test_there_is_no_input():
    assert run_python("input()").error == "EOFError: EOF when reading a line"


def test_no_open_file_is_inherited(tmp_path):
    with open(tmp_path / "open", "w") as ours:
        os.set_inheritable(ours.fileno(), True)
        code = "import os\nprint(sorted(os.listdir('/proc/self/fd'), key=int))"
        # The input, two outputs and the listing itself.
        assert run_python(code).stdout == "['0', '1', '2', '3']\n"


def test_packages_cannot_be_imported():
    assert run_python("import expunge").error == "ModuleNotFoundError: No module named 'expunge'"


def test_the_folder_is_empty_and_deleted_afterwards():
    outcome = run_python("import os\nprint(os.getcwd())\nprint(os.listdir())")
    folder, listing = outcome.stdout.splitlines()
    assert listing == "['main.py']"
    assert not os.path.exists(folder)


def test_no_limit_can_be_raised_again():
    code = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))"
    assert run_python(code).error == "ValueError: not allowed to raise maximum limit"


def test_the_program_ends_with_its_parent():
    starter = "from expunge.sandbox.run import run_python\nrun_python('import time\\ntime.sleep(60)', seconds=60)"
    with subprocess.Popen([sys.executable, "-c", starter]) as process:
        deadline = time.monotonic() + 30
        while not processes_of_the_sandbox() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes_of_the_sandbox()
        # The child may not have requested this yet.
        time.sleep(0.5)
        process.kill()
        process.wait()
    time.sleep(0.2)
    assert not processes_of_the_sandbox()


def test_nothing_runs_without_a_sandbox(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ExpungeError, match="Linux"):
        run_python("print(1)")


def test_a_sandbox_that_cannot_be_set_up_is_an_error(monkeypatch, tmp_path):
    # The sandbox's program on a system that refuses the filter.
    refused = tmp_path / "refused.py"
    refused.write_text(f"import sys\nprint('[Errno 1] Operation not permitted', file=sys.stderr)\nsys.exit({child.UNCONFINED})")
    monkeypatch.setattr(child, "__file__", str(refused))
    with pytest.raises(ExpungeError, match=r"could not be set up.*not permitted"):
        run_python("print(1)")


def test_lower_limits_are_not_raised():
    # A container may allow less than the sandbox.
    starter = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\nfrom expunge.sandbox.run import run_python\n"
    code = "import resource\\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))"
    printed = subprocess.run([sys.executable, "-c", f"{starter}print(run_python('{code}').stdout)"], capture_output=True, text=True)
    assert printed.stdout.strip() == "(20, 20)"
