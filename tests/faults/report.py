"""Write docs/results/faults.md: the counts of a run of the fault suite, with date, machine and commit."""

import os
import platform
import subprocess
import time
from collections import Counter
from pathlib import Path

import torch
from trials import HELD, MEANINGS, VERDICTS

PAGE = """# Faults

**Question.** What happens when a command is killed, the disk is full, a file is damaged or hostile, or two
processes work in one folder?

**Answer.** {answer}

| section | trials | {verdicts} |
|---|---|{rule}
{rows}

{meanings}

{date}, commit {commit}, {machine}, {minutes} min: `make faults`.
"""


def write_page(path: Path, total: dict[str, Counter[str]], seconds: float) -> None:
    """Write the page.

    Args:
        path: of the page.
        total: {section: {verdict: number of trials}}.
        seconds: duration of the run.
    """
    trials = sum(of_section.total() for of_section in total.values())
    failed = trials - sum(of_section[HELD] for of_section in total.values())
    rows = [f"| {name} | {count.total()} | {' | '.join(str(count[verdict]) for verdict in VERDICTS)} |" for name, count in total.items()]
    page = PAGE.format(
        answer=f"All of {trials} trials held." if not failed else f"{failed} of {trials} trials did not hold.",
        verdicts=" | ".join(VERDICTS),
        rule="---|" * len(VERDICTS),
        rows="\n".join(rows),
        meanings="\n".join(f"- **{verdict}**: {meaning}" for verdict, meaning in MEANINGS.items()),
        date=time.strftime("%Y-%m-%d"),
        commit=_commit(),
        machine=f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}",
        minutes=round(seconds / 60),
    )
    path.write_text(page, encoding="utf-8")


def _commit() -> str:
    """Return the commit that was tested, with a mark if files had changed since."""
    here = Path(__file__).parent
    words = ("git", "-C", here, "describe", "--always", "--dirty", "--exclude", "*")
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
