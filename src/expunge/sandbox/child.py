"""Program of the sandbox's processes (`expunge/sandbox/run.py`): confine this process, then run `main.py`.

It needs no privileges and no namespaces: it sets resource limits, drops all capabilities, and installs a seccomp filter (seccomp(2))
that allows the system calls listed here and refuses all others, also those of future kernels. It runs without site-packages and
imports only the standard library.
"""

import ctypes
import errno
import os
import platform
import runpy
import struct
import sys

ENDED, UNCONFINED = 87, 88
"""Exit codes: the work was done; nothing was run."""

# Name, number on x86-64 and number on arm64 (- if there is none), from the kernel's tables.
CALLS = """
read 0 63, write 1 64, close 3 57, lseek 8 62, pread64 17 67, readv 19 65, writev 20 66, dup 32 23, dup2 33 -, dup3 292 24
pipe 22 -, pipe2 293 59, poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, ioctl 16 29
open 2 -, openat 257 56, fcntl 72 25
stat 4 -, lstat 6 -, fstat 5 80, newfstatat 262 79, statx 332 291, access 21 -, faccessat 269 48, faccessat2 439 439
readlink 89 -, readlinkat 267 78, getdents64 217 61, getcwd 79 17, chdir 80 49
mmap 9 222, mprotect 10 226, munmap 11 215, mremap 25 216, madvise 28 233, brk 12 214
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132, tgkill 234 131, setitimer 38 103, alarm 37 -
futex 202 98, clone 56 220, set_tid_address 218 96, set_robust_list 273 99, rseq 334 293, sched_yield 24 124
sched_getaffinity 204 123, nanosleep 35 101, clock_nanosleep 230 115, clock_gettime 228 113, clock_getres 229 114
gettimeofday 96 169, time 201 -, times 100 153, restart_syscall 219 128
getpid 39 172, getppid 110 173, gettid 186 178, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, uname 63 160
sysinfo 99 179, getrusage 98 165, getrlimit 97 163, prlimit64 302 261, getrandom 318 278, exit 60 93, exit_group 231 94
"""
# For each architecture: its identifier for seccomp, and the column of its numbers.
MACHINES = {"x86_64": (0xC000003E, 1), "aarch64": (0xC00000B7, 2)}

# Some calls are allowed only if an argument is one of these values, has none of these bits, or has all of these bits.
_Rule = tuple[str, int, tuple[int, ...]]
_ONE_OF, _WITHOUT, _WITH = "one of", "without", "with"
_WRITES = 0o3 | os.O_CREAT | os.O_TRUNC
_RULES: dict[str, _Rule] = {
    "open": (_WITHOUT, 1, (_WRITES,)),
    "openat": (_WITHOUT, 2, (_WRITES,)),
    # Threads, not processes: CLONE_THREAD.
    "clone": (_WITH, 0, (0x10000,)),
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: F_SETOWN could have another process signalled.
    "fcntl": (_ONE_OF, 1, (0, 1, 2, 3, 1030)),
    # TCGETS (is it a terminal?), FIONCLEX, FIOCLEX.
    "ioctl": (_ONE_OF, 1, (0x5401, 0x5450, 0x5451)),
    # Only for the process itself; it cannot raise a hard limit.
    "prlimit64": (_ONE_OF, 0, (0,)),
    # Only for the process itself, which aborts in this way.
    "tgkill": (_ONE_OF, 0, (os.getpid(),)),
}

# Linux's constants: prctl(2), seccomp(2), capset(2), and the instructions of classic BPF.
_PDEATHSIG, _SET_SECCOMP, _NO_NEW_PRIVS, _FILTER, _CAPABILITY_V3 = 1, 22, 38, 2, 0x20080522
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.ENOSYS, 0x80000000


def possible() -> bool:
    """Return whether a process can be confined on this system."""
    return sys.platform == "linux" and platform.machine() in MACHINES and sys.maxsize > 2**32 and sys.byteorder == "little"


def confine(cpu_seconds: int, memory: int, output: int) -> None:
    """Confine this process irrevocably; sizes are in bytes.

    Raises:
        OSError: the system refuses one of the steps.
    """
    # Imported here, because some systems that import this file do not have it.
    import resource

    limits = {resource.RLIMIT_CPU: cpu_seconds, resource.RLIMIT_AS: memory, resource.RLIMIT_FSIZE: output}
    for limit, maximum in {**limits, resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CORE: 0}.items():
        current = resource.getrlimit(limit)[1]
        value = maximum if current == resource.RLIM_INFINITY else min(maximum, current)
        resource.setrlimit(limit, (value, value))
    libc = ctypes.CDLL(None, use_errno=True)
    # Without this, root could raise the limits again. Pid 0 is this process; the effective, permitted and inheritable sets are empty.
    _check(libc.capset(struct.pack("Ii", _CAPABILITY_V3, 0), bytes(24)))
    # Kill this process when its parent ends.
    _check(libc.prctl(_PDEATHSIG, 9, 0, 0, 0))
    _check(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _filter(platform.machine()))
    instructions = ctypes.create_string_buffer(code, len(code))
    _check(libc.prctl(_SET_SECCOMP, _FILTER, struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(instructions)), 0, 0))


def _check(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _filter(machine: str) -> list[tuple[int, int, int, int]]:
    """Return BPF instructions (code, jump if true, jump if false, value).

    They read the kernel's `seccomp_data`: the call is at byte 0, the architecture at 4, the arguments start at 16.
    """
    architecture, column = MACHINES[machine]
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for call in CALLS.replace("\n", ",").split(","):
        words = call.split()
        if words and words[column] != "-":
            decision = _decide(*_RULES[words[0]]) if words[0] in _RULES else [(_RETURN, 0, 0, _ALLOW)]
            program += [(_EQUAL, 0, len(decision), int(words[column])), *decision]
    return [*program, (_RETURN, 0, 0, _REFUSE)]


def _decide(kind: str, argument: int, values: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    # Load the low half; the high half of these arguments has no meaning.
    test, if_true, otherwise = {
        _ONE_OF: (_EQUAL, _ALLOW, _REFUSE),
        _WITHOUT: (_ANY_BIT, _REFUSE, _ALLOW),
        _WITH: (_ANY_BIT, _ALLOW, _REFUSE),
    }[kind]
    tests = [step for value in values for step in ((test, 0, 1, value), (_RETURN, 0, 0, if_true))]
    return [(_LOAD, 0, 0, 16 + 8 * argument), *tests, (_RETURN, 0, 0, otherwise)]


def main() -> None:
    """Confine this process, and run `main.py` of the working folder as the main program.

    The arguments are three limits (see `confine`), what to do, and for the last two of these a function's name and two file descriptors:
    `run` the program; `serve` its function to the process of a test; `test` the function that another process serves.
    """
    *limits, what = sys.argv[1:5]
    name, descriptors = sys.argv[5:6], [int(descriptor) for descriptor in sys.argv[6:]]
    word = _read_word()
    calls = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "calls.py"))
    sys.argv = ["main.py"]
    os.environ.clear()
    try:
        confine(*map(int, limits))
    except OSError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(UNCONFINED)
    if what == "run":
        runpy.run_path("main.py", run_name="__main__")
    elif what == "serve":
        program = runpy.run_path("main.py", run_name="__main__")
        calls["serve"](program[name[0]], *descriptors)
    else:
        # The program defines the function too, without its body: helpers that the test uses are beside it.
        program = runpy.run_path("main.py", run_name="__main__")
        program[name[0]] = calls["remote"](*descriptors)
        with open("test.py", encoding="utf-8") as file:
            exec(compile(file.read(), "test.py", "exec"), program)
    os.write(2, word)
    sys.exit(ENDED)


def _read_word() -> bytes:
    """Return the word that says that the program ran to its end, and leave an empty standard input."""
    word = os.read(0, 64)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return word


if __name__ == "__main__":
    main()
