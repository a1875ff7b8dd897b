"""`expunge demo` on a tiny random model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expunge.cli.demo import HIGHLIGHTS


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, make_tiny_model: Callable[..., Path], expunge_in: Callable[..., Any]) -> Any:
    """The result of the command."""
    return expunge_in(tmp_path_factory.mktemp("demo"), "demo", "--model", make_tiny_model("llama"))


def test_the_demo_announces_its_steps_from_the_start(demo):
    assert demo.code == 0, demo.err
    lines = demo.err.splitlines()
    assert lines[0].startswith("The demo takes five to ten minutes")
    assert [line.partition(":")[0] for line in lines if line.startswith("Step ")] == ["Step 1 of 3", "Step 2 of 3", "Step 3 of 3"]


def test_the_demo_ends_with_a_short_table_and_three_commands(demo):
    lines = demo.out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.split()[:2] == ["set", "metric"])
    end = next(i for i, line in enumerate(lines) if line.startswith("Forgot 2 of 8 people (20 records)"))
    assert 4 <= end - header - 1 <= len(HIGHLIGHTS) <= 8
    assert lines[-4:] == [
        "Report  runs/demo/people/report.html",
        "Next    expunge chat runs/demo/people",
        "        expunge audit runs/demo/people --suite quick",
        "        expunge unlearn --forget your-file.jsonl",
    ]
