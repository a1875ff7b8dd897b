"""Disks that are full, read-only or not ours: exit code 1, one sentence with the path, the last good state, and the command resumes."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cases import CASES, Case, spread, undisturbed
from forks import Fault, Forks, What
from harness import VERBS, Outcome
from places import Place
from trials import HELD, Trials, refusal

SAMPLE = {"audit lora": 1, "undo": 3, "purge": 1, "compare": 1, "export": 2}
LEVELS = 17
"""Operations at which a disk becomes full, and amounts of free space on a real one, in the long suite."""
PATHS = ("runs/", "cache", "plain", "compared.html")
"""One of these is in every sentence: what the commands of `CASES` write."""


def verdict(outcome: Outcome) -> str:
    """Return the verdict on a command that could not write: exit code 1 and a sentence with a path."""
    refused = refusal(outcome)
    return refused if refused != HELD else HELD if outcome.code == 1 and any(path in outcome.sentence for path in PATHS) else "wrong"


class Disk:
    """Disturb a case by a disk that does not write, repeat the case, and count a trial."""

    def __init__(self, name: str, fresh: Callable[..., Place], forks: Forks, trials: Trials):
        self.name, self.case, self.fresh, self.forks, self.trials = name, CASES[name], fresh, forks, trials
        self.undisturbed = undisturbed(self.case, fresh, forks)

    def fails(self, what: What, at: int, error: int) -> None:
        """Count a trial: operations fail from one on, then the command is repeated."""
        place = self.case.start(self.fresh)
        operation = self.undisturbed.operations[at - 1]
        failed = self.forks.run(*self.case.words, cwd=place.folder, fault=Fault(what, at, error))
        self.judge(f"{errno.errorcode[error]} from {at}, {operation.kind} {operation.path}", place, failed)

    def judge(self, what: str, place: Place, failed: Outcome) -> None:
        """Count a trial on a failed command: what it said, whether the run still loads, and what its repetition leaves."""
        # What came after the last byte that needed space may have been cleaning only.
        said = HELD if failed.code in self.case.ends else verdict(failed)
        good = self._still_loads(place)
        repeated = self.forks.run(*self.case.words, cwd=place.folder)
        if said != HELD:
            self.trials.count("disk full", f"{self.name}: {what}", said, failed)
        elif good.code != 0:
            self.trials.count("disk full", f"{self.name}: {what}: the run no longer loads", "wrong", good)
        elif repeated.code not in self.case.ends:
            self.trials.count("disk full", f"{self.name}: {what}: not resumed", "wrong", repeated)
        else:
            different = self.undisturbed.differences(place.folder)
            self.trials.count("disk full", f"{self.name}: {what}", "wrong" if different else HELD, different)

    def _still_loads(self, place: Place) -> Outcome:
        loads = [kind for kind in self.case.kinds if self.case.words[0] != "purge"]
        return self.forks.run(*VERBS["chat"].on(loads[0]), cwd=place.folder) if loads else Outcome(0, "", "")


@pytest.mark.parametrize("name", SAMPLE)
def test_a_full_disk_is_one_sentence_and_the_command_resumes(name, fresh, forks, trials):
    disk = Disk(name, fresh, forks, trials)
    needs_space = [n for n, op in enumerate(disk.undisturbed.operations, 1) if op.kind in ("open", "write", "mkdir", "truncate")]
    for index in spread(len(needs_space), SAMPLE[name]) if name != "purge" else []:
        disk.fails(What.FULL_FROM, needs_space[index - 1], errno.ENOSPC)
    disk.fails(What.FAIL_FROM, len(disk.undisturbed.operations) // 2, errno.EROFS)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CASES)
def test_no_error_of_the_disk_anywhere_loses_anything(name, fresh, forks, trials):
    disk = Disk(name, fresh, forks, trials)
    for at in spread(len(disk.undisturbed.operations), LEVELS):
        disk.fails(What.FULL_FROM, at, errno.ENOSPC)
    for error in (errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT):
        for at in spread(len(disk.undisturbed.operations), 3):
            disk.fails(What.FAIL_FROM, at, error)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder), check=False, capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(("umount", "-l", folder), check=True)


def _on(disk: Path, case: Case, fresh: Callable[..., Place]) -> Place:
    """Return a place in the state that a case starts from, on another file system."""
    return Place(Path(shutil.copytree(case.start(fresh).folder, disk / "place")))


def _free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_bsize


@pytest.mark.parametrize("name", ["unlearn lora", "undo"])
def test_a_small_disk_that_fills_up_is_one_sentence(name, small_disk, fresh, forks, trials):
    _fill_at_levels(name, 2, small_disk, fresh, forks, trials)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["unlearn lora", "unlearn full", "release", "audit lora", "undo", "export"])
def test_a_small_disk_that_fills_up_at_any_level_is_one_sentence(name, small_disk, fresh, forks, trials):
    _fill_at_levels(name, LEVELS, small_disk, fresh, forks, trials)


def _fill_at_levels(name: str, levels: int, small_disk: Path, fresh: Callable[..., Place], forks: Forks, trials: Trials) -> None:
    disk = Disk(name, fresh, forks, trials)
    place = _on(small_disk, disk.case, fresh)
    forks.run(*disk.case.words, cwd=place.folder)
    # Checkpoints and temporary files need about twice what is left in the end.
    needed = 2 * sum(path.stat().st_size for path in (place.folder / "runs").rglob("*"))
    for level in range(levels):
        shutil.rmtree(place.folder)
        place = _on(small_disk, disk.case, fresh)
        left = needed * level // levels
        _fill(small_disk / "filler", left)
        failed = forks.run(*disk.case.words, cwd=place.folder)
        (small_disk / "filler").unlink()
        disk.judge(f"{left // 1024} KB left", place, failed)


def _fill(filler: Path, left: int) -> None:
    """Write a file until the disk is full, then cut it so that some bytes are left."""
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(max(0, file.tell() // 4096 * 4096 - left))


def test_verbs_that_only_read_work_on_a_read_only_disk(small_disk, fresh, forks, trials):
    place = _on(small_disk, Case((), ("grun", "release")), fresh)
    subprocess.run(("mount", "-o", "remount,ro", small_disk), check=True)
    for verb in ("chat", "gate", "verify", "validate"):
        ended = forks.run(*VERBS[verb].on("grun"), cwd=place.folder)
        trials.count("disk full", f"read-only: {verb}", HELD if ended.code == 0 else "wrong", ended)
    for words in (VERBS["audit"].on("grun"), VERBS["undo"].on("release"), VERBS["purge"].on("release"), VERBS["compare"].on("grun")):
        ended = forks.run(*words, cwd=place.folder)
        trials.count("disk full", f"read-only: {words[0]}", verdict(ended), ended)
