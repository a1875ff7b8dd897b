"""Fuzzing of every reader: damaged and random files give an answer or one sentence, soon, and nothing outside is written."""

import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forks import Forks
from fuzzed import FILES, READERS
from harness import Hang, Outcome, deadline, tree
from hostile_files import rehash_facts
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutations import NASTY, mutated
from places import Place
from trials import HELD, Trials, refusal

from expunge.config.recipe import read_recipe
from expunge.errors import ExpungeError

MINUTES = float(os.environ.get("EXPUNGE_FUZZ_MINUTES", "30"))
SECONDS = 20.0
"""A reader that takes longer hangs, and so does a verb."""
ONCE = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
OTHER_RUN_FILES = ("runs/", "cache/", "plain")
SETTINGS = ("training.lr", "training.epochs", "edit.name", "edit", "objective", "data.map.prompt", "audit.sets.x", "release.rounds")
SETTINGS += ("", "a..b", "out")


def read(call: Callable[[], Any]) -> tuple[str, str]:
    """Return the verdict on a reader, and a detail."""
    try:
        with deadline(SECONDS):
            call()
    except ExpungeError as error:
        # The command line shows line breaks of the user's words as a mark, so that there they end no sentence.
        return (HELD, "") if str(error).strip() else ("wrong", str(error))
    except Hang:
        return "hang", ""
    # Whatever else gets out is what the trial is about.
    except BaseException:
        return "traceback", crash(traceback.format_exc())
    return HELD, ""


def fuzz_reader(trials: Trials, name: str, folder: Path, options: settings, number: int) -> None:
    """Count trials: a reader on damaged files."""
    valid, form, reader = READERS[name]

    @seed(number)
    @options
    @given(mutated(valid, form))
    def trial(content: bytes) -> None:
        (folder / name).write_bytes(content)
        trials.count("fuzz", f"{name} {content[:300]!r}", *read(lambda: reader(folder / name)))

    trial()


def fuzz_overrides(trials: Trials, options: settings, number: int) -> None:
    """Count trials: overrides of the command line with any text."""

    @seed(number)
    @options
    @given(st.sampled_from(SETTINGS) | st.text(max_size=12), st.sampled_from([str(value) for value in NASTY]) | st.text(max_size=40))
    def trial(name: str, value: str) -> None:
        named = {"model": "m", "data.forget": "f.jsonl"}
        trials.count("fuzz", f"override {name!r}={value[:200]!r}", *read(lambda: read_recipe(None, dict(named), [f"{name}={value}"])))

    trial()


def fuzz_files(trials: Trials, fresh: Callable[..., Place], forks: Forks, options: settings, number: int) -> None:
    """Count trials: a damaged file of a run, and a verb that reads it."""

    @seed(number)
    @options
    @given(st.data())
    def trial(data: st.DataObject) -> None:
        kind, name, form, verbs = data.draw(st.sampled_from(FILES))
        place = fresh(kind)
        path = place.run(kind) / name
        path = next(iter(sorted(path.parent.iterdir()))) if name.endswith("*") else path
        content = data.draw(mutated(path.read_bytes(), form))
        path.write_bytes(content)
        if name == "run.json":
            rehash_facts(path)
        words = [word.format(kind=kind) for word in data.draw(st.sampled_from(verbs))]
        before = outside(place)
        ended = forks.run(*words, cwd=place.folder, seconds=SECONDS)
        verdict = "outside" if outside(place) != before else judged(ended)
        trials.count("fuzz", f"{words} with {name} {content[:300]!r}", verdict, crash(ended.traceback) or ended)

    trial()


def crash(trace: str) -> str:
    """Return the last line of a traceback, and the last place in our code."""
    lines = trace.strip().splitlines()
    ours = [line.strip() for line in lines if "/expunge/" in line]
    return " ".join([*lines[-1:], *ours[-1:]])


def judged(ended: Outcome) -> str:
    """Return the verdict on a verb that read a damaged file: it may also have done its work."""
    return HELD if ended.code == 0 and not ended.has_traceback else refusal(ended)


def outside(place: Place) -> dict[str, bytes | str]:
    """Return all that no verb may change, beside the place and in it."""
    inside = {name: content for name, content in tree(place.folder).items() if not name.startswith(OTHER_RUN_FILES)}
    return inside | {path.name: "" for path in place.folder.parent.iterdir()}


@pytest.mark.parametrize("name", READERS)
def test_no_reader_fails_on_a_damaged_file(name, trials, tmp_path):
    fuzz_reader(trials, name, tmp_path, settings(ONCE, max_examples=30), 0)


def test_no_override_fails(trials):
    fuzz_overrides(trials, settings(ONCE, max_examples=80), 0)


def test_no_verb_fails_on_a_damaged_file(trials, fresh, forks):
    fuzz_files(trials, fresh, forks, settings(ONCE, max_examples=25), 0)


@pytest.mark.long
@pytest.mark.timeout(int(60 * MINUTES) + 3600)
def test_no_reader_and_no_verb_fails_in_half_an_hour(trials, fresh, forks, tmp_path):
    options = settings(ONCE, derandomize=False, max_examples=50, phases=[Phase.generate])
    until, number = time.monotonic() + 60 * MINUTES, 0
    while time.monotonic() < until or number == 0:
        number += 1
        for name in READERS:
            fuzz_reader(trials, name, tmp_path, options, number)
        fuzz_overrides(trials, options, number)
        for part in range(8):
            fuzz_files(trials, fresh, forks, options, 100 * number + part)
