"""Fixtures and hooks of the fault suite: tiny trained runs, a copy for each trial, counts by section."""

import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from forks import Forks, forked
from places import Place, make_place
from report import write_page
from trials import PROPERTY, Trials, added, summary_lines

STARTED = time.monotonic()
MEMORY = Path("/dev/shm")
"""Copies are made in memory, where this is possible: a command flushes a hundred files to the disk, which takes seconds."""
# Every training collects garbage twice, which takes half a second with all imported objects.
gc.freeze()


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the counts of all trials; with xdist they come from the workers in the reports. `EXPUNGE_FAULTS_PAGE` also gets a page."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    of_tests = [report for report in reports if getattr(report, "when", "") == "teardown"]
    counts = [value for report in of_tests for name, value in report.user_properties if name == PROPERTY]
    if not counts:
        return
    total = added(counts)
    terminalreporter.section("faults")
    for line in summary_lines(total):
        terminalreporter.write_line(line)
    if page := os.environ.get("EXPUNGE_FAULTS_PAGE"):
        write_page(Path(page), total, time.monotonic() - STARTED)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, make_tiny_model: Callable[..., Path]) -> Place:
    """A place with a trained and audited run of every kind. Never change it: `fresh` copies it."""
    return make_place(tmp_path_factory.mktemp("faults") / "place", make_tiny_model("llama"))


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """A server that runs verbs in forked processes."""
    yield from forked(tmp_path_factory.mktemp("forks"))


@pytest.fixture
def fresh(trained: Place) -> Iterator[Callable[..., Place]]:
    """Copy the place with runs of some kinds: `fresh("lora")`; each call makes another copy."""
    numbers = count()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield lambda *kinds: trained.copy(Path(folder) / str(next(numbers)), *kinds)


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Iterator[Trials]:
    """Count the trials of a test and judge them; at its end the test fails if one did not hold."""
    counted = Trials()
    yield counted
    request.node.user_properties.append((PROPERTY, counted.counts))
    if counted.failures:
        pytest.fail(f"{len(counted.failures)} trials did not hold:\n" + "\n".join(counted.failures[:30]), pytrace=False)
