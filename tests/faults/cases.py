"""The commands that write, each with the state it starts from: what kills, full disks and second processes interrupt."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from forks import Fault, Forks, Operation
from harness import EDIT_KINDS, KINDS, VERBS
from places import Place
from same import differences, result

AUDITED = ("audit.parquet", "audit.json", "report.html", "attestation.json")


@dataclass(frozen=True)
class Case:
    """A command that writes.

    Attributes:
        words: of the command line.
        kinds: kinds of run that the place holds before.
        prepare: changes the place before the command.
        ends: exit codes of the command when it is repeated after a kill.
        makes_key: whether the command makes a random key, so that two results differ in it and in what is hashed with it.
        left_out: files that hold the absolute path of the place, or hashes of such files, which differ between two places.
    """

    words: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    prepare: Callable[[Place], None] = lambda place: None
    ends: tuple[int, ...] = (0,)
    makes_key: bool = False
    left_out: re.Pattern[str] | None = None

    def start(self, fresh: Callable[..., Place]) -> Place:
        """Return a place in the state that the command starts from."""
        place = fresh(*self.kinds)
        self.prepare(place)
        return place


@dataclass(frozen=True)
class Undisturbed:
    """What a command does when nothing disturbs it.

    Attributes:
        operations: its file operations.
        results: what it leaves, and what it leaves when it is repeated: a second audit archives the first attestation.
        keyed: whether results are compared with the key, see `same.result`.
        left_out: see `Case`.
    """

    operations: list[Operation]
    results: list[dict[str, bytes | str]]
    keyed: bool
    left_out: re.Pattern[str] | None

    def differences(self, folder: Path) -> list[str]:
        """Return how a folder differs from the results; nothing if it is equal to one of them."""
        different = [self._of_compared(differences(expected, folder, self.keyed)) for expected in self.results]
        return [] if [] in different else different[0]

    def _of_compared(self, lines: list[str]) -> list[str]:
        return [line for line in lines if self.left_out is None or not self.left_out.search(line)]


def undisturbed(case: Case, fresh: Callable[..., Place], forks: Forks) -> Undisturbed:
    """Run a case to its end and return what it did."""
    place = case.start(fresh)
    child = forks.start(*case.words, cwd=place.folder, fault=Fault())
    ended = child.wait()
    assert ended.code == 0, ended
    keyed, results = not case.makes_key, [result(place.folder, not case.makes_key)]
    forks.run(*case.words, cwd=place.folder)
    return Undisturbed(child.operations(), [*results, result(place.folder, keyed)], keyed, case.left_out)


def _never_audited(place: Place) -> None:
    """Delete the audits, and all cached measurements; key and secret stay, so that two audits give equal hashes."""
    shutil.rmtree(place.folder / "cache" / "expunge" / "measured")
    for run in (place.folder / "runs").iterdir():
        for name in AUDITED:
            (run / name).unlink()


def _reveals(place: Place) -> None:
    settings = {
        "oracle": {"name": "regex", "pattern": "[aeiou]"},
        "instructions": [f"Tell me about number {i}" for i in range(4)],
        "searcher": "random",
        **{"samples_per_instruction": 3, "budget": 12, "max_new_tokens": 6, "min_responses": 2, "min_relevance": 0.0, "min_chars": 1},
    }
    recipe = yaml.safe_load((place.folder / "release.yaml").read_text(encoding="utf-8"))
    recipe["data"]["forget"], recipe["out"] = {"reveal": settings}, "runs/revealed"
    (place.folder / "revealed.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")


CASES = {
    **{f"unlearn {kind}": Case(("run", f"{kind}.yaml", "--no-audit")) for kind in EDIT_KINDS},
    "release": Case(("run", "release.yaml", "--no-audit")),
    **{f"audit {kind}": Case(("audit", f"runs/{kind}"), (kind,), _never_audited) for kind in KINDS},
    "audit again": Case(("audit", "runs/lora"), ("lora",)),
    "audit with a suite": Case(("audit", "runs/lora", "--suite", "suite.yaml", "--allow-fail"), ("lora",)),
    "evaluate the gate": Case(("audit", "runs/grun", "--gate"), ("grun",)),
    "undo": Case(("undo", "runs/release", "1"), ("release",)),
    "undo all": Case(("undo", "runs/release", "0"), ("release",)),
    "purge": Case(("purge", "runs/release", "--yes"), ("release",)),
    # A model that was complete when the kill came is not exported twice.
    "export": Case(("export", "runs/lora", "--to", "plain"), ("lora",), ends=(0, 2)),
    "compare": Case(("compare", "runs/lora", "--html", "compared.html"), ("lora",)),
    "reveal": Case(("reveal", "revealed.yaml"), prepare=_reveals, makes_key=True),
    "reveal and release": Case(("release", "revealed.yaml"), prepare=_reveals, makes_key=True),
    "add a request": Case(
        (*VERBS["add request"].on("reft"), "training.save_steps=1"),
        ("reft",),
    ),
}
_WITH_PATHS = re.compile(r"cache/expunge/measured/|/(attestation|adapter_config|manifest|key|recipe|report|run)\b|/attestations\b")
DEMO = Case(("demo", "--model", "model"), left_out=_WITH_PATHS)
"""The demo on a tiny model; it takes half a minute."""


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` numbers of 1..count, evenly spread, both ends included."""
    numbers = range(1, count + 1)
    return (
        list(numbers) if len(numbers) <= most else sorted({numbers[round(i * (len(numbers) - 1) / max(1, most - 1))] for i in range(most)})
    )
