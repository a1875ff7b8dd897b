"""Two processes at work in one run folder: what is left is what the commands that succeeded leave one after the other."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from itertools import permutations

import pytest
from cases import CASES, Case, spread
from forks import Fault, Forks, What
from harness import VERBS, Outcome
from places import Place
from same import differences, result
from trials import HELD, Trials, refusal

BOTH = ("--no-audit", "--out", "runs/both")
NOTHING = Case(())
RELEASED, AUDITED = Case((), ("release",)), Case((), ("lora",))
Words = tuple[str, ...]
PAIRS: dict[str, tuple[Case, Words, Words]] = {
    "two recipes": (NOTHING, ("run", "lora.yaml", *BOTH), ("run", "reft.yaml", *BOTH)),
    "two seeds": (NOTHING, ("run", "lora.yaml", *BOTH), ("run", "lora.yaml", "training.seed=7", *BOTH)),
    "one recipe twice": (NOTHING, ("run", "full.yaml", *BOTH), ("run", "full.yaml", *BOTH)),
    "unlearn and release": (NOTHING, ("run", "grun.yaml", *BOTH), ("release", "release.yaml", "--out", "runs/both")),
    "two audits": (CASES["audit lora"], ("audit", "runs/lora"), ("audit", "runs/lora")),
    "audits with other settings": (AUDITED, ("audit", "runs/lora"), ("audit", "runs/lora", "--max-records", "2")),
    "unlearn and audit": (NOTHING, ("run", "lora.yaml", *BOTH), ("audit", "runs/both")),
    "audit and undo": (RELEASED, ("audit", "runs/release"), ("undo", "runs/release", "1")),
    "undo and audit": (RELEASED, ("undo", "runs/release", "1"), ("audit", "runs/release")),
    "audit and purge": (RELEASED, ("audit", "runs/release"), ("purge", "runs/release", "--yes")),
    "purge and undo": (RELEASED, ("purge", "runs/release", "--yes"), ("undo", "runs/release", "1")),
    "two undos": (RELEASED, ("undo", "runs/release", "0"), ("undo", "runs/release", "1")),
    "undo and export": (RELEASED, ("undo", "runs/release", "1"), ("export", "runs/release", "--to", "plain")),
    "two exports": (AUDITED, ("export", "runs/lora", "--to", "plain"), ("export", "runs/lora", "--to", "plain")),
    "audit and gate": (Case((), ("grun",)), VERBS["audit"].on("grun"), VERBS["audit --gate"].on("grun")),
}
"""A name -> the state before, the command that is stopped, and the one that runs meanwhile."""
SAMPLE = {"unlearn and audit": 2, "audit and undo": 2, "audit and purge": 2, "two undos": 2}
LONG = int(os.environ.get("EXPUNGE_FAULTS_PAIRS", "12"))


class Pair:
    """Two commands on one state, and what they leave in any order."""

    def __init__(self, name: str, fresh: Callable[..., Place], forks: Forks, trials: Trials):
        self.name, self.fresh, self.forks, self.trials = name, fresh, forks, trials
        self.case, *self.commands = PAIRS[name]
        self.left: dict[tuple[int, ...], dict[str, bytes | str]] = {}

    def operations(self) -> int:
        """Return the number of file operations of the first command, undisturbed."""
        place = self.case.start(self.fresh)
        child = self.forks.start(*self.commands[0], cwd=place.folder, fault=Fault())
        child.wait()
        return len(child.operations())

    def stopped_at(self, at: int) -> None:
        """Count a trial: the second command runs while the first is stopped before an operation."""
        place = self.case.start(self.fresh)
        one = self.forks.start(*self.commands[0], cwd=place.folder, fault=Fault(What.SIGNAL, at, signal.SIGSTOP))
        stopped = one.reached()
        other = self.forks.run(*self.commands[1], cwd=place.folder)
        if stopped:
            one.go_on()
        self.judge(f"the first stopped at {at}", place, [one.wait(), other])

    def apart(self, seconds: float) -> None:
        """Count a trial: the second command starts some seconds after the first."""
        place = self.case.start(self.fresh)
        one = self.forks.start(*self.commands[0], cwd=place.folder)
        time.sleep(seconds)
        other = self.forks.start(*self.commands[1], cwd=place.folder)
        self.judge(f"{seconds:.3f} s apart", place, [one.wait(), other.wait()])

    def judge(self, what: str, place: Place, ended: Sequence[Outcome]) -> None:
        """Count a trial: each command succeeded or was refused with a sentence, and those that succeeded left their result."""
        name = f"{self.name}: {what}"
        for outcome in ended:
            if outcome.code != 0 and (verdict := refusal(outcome)) != HELD:
                return self.trials.count("processes", name, verdict, outcome)
        succeeded = [number for number, outcome in enumerate(ended) if outcome.code == 0]
        if not succeeded:
            return self.trials.count("processes", name, "wrong", ended)
        different = [differences(self.result(order), place.folder, keyed=False) for order in permutations(succeeded)]
        return self.trials.count("processes", name, HELD if [] in different else "silent", (succeeded, different))

    def result(self, order: tuple[int, ...]) -> dict[str, bytes | str]:
        """Return what the commands leave one after the other; a command that is refused then leaves nothing."""
        if order not in self.left:
            place = self.case.start(self.fresh)
            for number in order:
                self.forks.run(*self.commands[number], cwd=place.folder)
            self.left[order] = result(place.folder, keyed=False)
        return self.left[order]


@pytest.mark.parametrize("name", SAMPLE)
def test_two_commands_at_once_leave_the_result_of_one_or_of_both_in_turn(name, fresh, forks, trials):
    pair = Pair(name, fresh, forks, trials)
    for at in spread(pair.operations(), SAMPLE[name]):
        pair.stopped_at(at)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", PAIRS)
def test_two_commands_at_any_moment_leave_the_result_of_one_or_of_both_in_turn(name, fresh, forks, trials):
    pair, draw = Pair(name, fresh, forks, trials), random.Random(0)
    for at in spread(pair.operations(), LONG):
        pair.stopped_at(at)
    for _ in range(LONG // 2):
        pair.apart(draw.random() * 0.6)
