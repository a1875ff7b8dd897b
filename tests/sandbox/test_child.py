"""The sandbox's filter of system calls, interpreted by the test, so that both architectures are covered."""

import os

import pytest

from expunge.sandbox import child


def decision(machine: str, call: int, *arguments: int) -> bool:
    """Interpret the filter and return whether it allows a call."""
    architecture = child.MACHINES[machine][0]
    record = {0: call, 4: architecture, **{16 + 8 * i: value for i, value in enumerate(arguments)}}
    program, at, held = child._filter(machine), 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        match code:
            case child._LOAD:
                held = record.get(value, 0)
            case child._EQUAL:
                at += if_true if held == value else if_false
            case child._ANY_BIT:
                at += if_true if held & value else if_false
            case child._RETURN:
                return value == child._ALLOW


@pytest.mark.parametrize(
    ("machine", "read", "openat", "clone", "refused"),
    [
        # socket, execve, kill, unlinkat, ptrace, clone3.
        ("x86_64", 0, 257, 56, (41, 59, 62, 263, 101, 435)),
        ("aarch64", 63, 56, 220, (198, 221, 129, 35, 117, 435)),
    ],
)
def test_the_filter_decides_the_same_on_both_architectures(machine, read, openat, clone, refused):
    assert decision(machine, read)
    assert decision(machine, openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC)
    assert not decision(machine, openat, 0, 0, os.O_WRONLY)
    assert not decision(machine, openat, 0, 0, os.O_RDONLY | os.O_TRUNC)
    # A thread as the C library starts it, and a fork.
    assert decision(machine, clone, 0x3D0F00)
    assert not decision(machine, clone, 0x1200011)
    assert not any(decision(machine, call) for call in refused)
