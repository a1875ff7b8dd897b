"""Commands that are killed at any file operation: the same command, repeated, leaves what an undisturbed one leaves, to the last bit."""

import os
import random
import signal
from collections.abc import Callable

import pytest
from cases import CASES, DEMO, Case, spread, undisturbed
from forks import Fault, Forks, What
from places import Place
from trials import HELD, Trials

SAMPLE = {"unlearn grun": 1, "audit full": 1, "audit again": 1, "undo": 3, "purge": 1, "compare": 1}
"""Kills of each command in every test run; `make faults` makes those of `LONG`."""
LONG = int(os.environ.get("EXPUNGE_FAULTS_KILLS", "25"))


class Killer:
    """Kill a case at an operation, repeat it, and judge the result."""

    def __init__(self, case: Case, fresh: Callable[..., Place], forks: Forks):
        self.case, self.fresh, self.forks = case, fresh, forks
        self.undisturbed = undisturbed(case, fresh, forks)

    def faults(self, most: int) -> list[Fault]:
        """Return kills spread over all operations; in the middle of each write that is met."""
        at = spread(len(self.undisturbed.operations), most)
        kinds = [self.undisturbed.operations[number - 1].kind for number in at]
        return [Fault(What.KILL_IN_WRITE if kind == "write" else What.KILL, number) for number, kind in zip(at, kinds, strict=True)]

    def judge(self, *faults: Fault) -> tuple[str, object]:
        """Disturb the command by each fault in turn, then run it undisturbed: return the verdict and a detail."""
        place = self.case.start(self.fresh)
        for fault in faults:
            disturbed = self.forks.run(*self.case.words, cwd=place.folder, fault=fault)
            if disturbed.hung or disturbed.has_traceback:
                return ("hang" if disturbed.hung else "traceback"), disturbed
        repeated = self.forks.run(*self.case.words, cwd=place.folder)
        if repeated.hung or repeated.has_traceback:
            return ("hang" if repeated.hung else "traceback"), repeated
        if repeated.code not in self.case.ends:
            return "wrong", repeated
        different = self.undisturbed.differences(place.folder)
        return ("silent" if any("/edit/" in name for name in different) else "wrong" if different else HELD), different

    def name(self, fault: Fault) -> str:
        """Return what a fault does, for messages."""
        operation = self.undisturbed.operations[fault.at - 1]
        return f"{' '.join(self.case.words[:2])}: {fault.what.name} at {fault.at}, {operation.kind} {operation.path}"


@pytest.mark.parametrize("name", SAMPLE)
def test_a_killed_command_repeated_leaves_the_same(name, fresh, forks, trials: Trials):
    killer = Killer(CASES[name], fresh, forks)
    faults = killer.faults(SAMPLE[name] + 2)[1:-1]
    for fault in faults:
        trials.count("kills", killer.name(fault), *killer.judge(fault))


def test_a_kill_does_kill(fresh, forks):
    place = CASES["undo"].start(fresh)
    assert forks.run(*CASES["undo"].words, cwd=place.folder, fault=Fault(What.KILL, 5)).code == -signal.SIGKILL


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CASES)
def test_a_command_killed_anywhere_leaves_the_same(name, fresh, forks, trials: Trials):
    killer = Killer(CASES[name], fresh, forks)
    for fault in killer.faults(LONG):
        trials.count("kills", killer.name(fault), *killer.judge(fault))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_demo_killed_anywhere_leaves_the_same(fresh, forks, trials: Trials):
    killer = Killer(DEMO, fresh, forks)
    for fault in killer.faults(8):
        trials.count("kills", killer.name(fault), *killer.judge(fault))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["unlearn lora", "release", "audit grun", "undo", "purge"])
def test_a_command_killed_twice_leaves_the_same(name, fresh, forks, trials: Trials):
    killer, draw = Killer(CASES[name], fresh, forks), random.Random(0)
    for _ in range(6):
        first = Fault(What.KILL, draw.randrange(1, len(killer.undisturbed.operations)))
        second = Fault(What.KILL_IN_WRITE, draw.randrange(1, 20))
        trials.count("kills", f"{killer.name(first)}, then at {second.at}", *killer.judge(first, second))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("name", ["unlearn full", "release", "audit lora", "undo", "export"])
def test_an_interrupted_command_repeated_leaves_the_same(name, number, fresh, forks, trials: Trials):
    killer = Killer(CASES[name], fresh, forks)
    for at in spread(len(killer.undisturbed.operations), 6):
        fault = Fault(What.SIGNAL, at, number)
        trials.count("kills", killer.name(fault), *killer.judge(fault))
