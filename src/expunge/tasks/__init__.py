"""Tasks for reveal-and-release: each gives forget and retain records and measures both. `TASKS` is the table of them."""

from dataclasses import asdict
from typing import Any

from expunge.registry import make_named
from expunge.tasks.base import Metric, Task
from expunge.tasks.code import Code
from expunge.tasks.ner import Ner
from expunge.tasks.people import People
from expunge.tasks.toxicity import Toxicity

TASKS: dict[str, type[Task]] = {"people": People, "ner": Ner, "code": Code, "toxicity": Toxicity}

__all__ = ["TASKS", "Code", "Metric", "Ner", "People", "Task", "Toxicity", "as_plain", "make_task"]


def make_task(given: str | dict[str, Any] | Task) -> Task:
    """Return a task from its name, or from a mapping of its name and settings.

    Raises:
        ValueError: there is no such task, or a setting is wrong.
    """
    if isinstance(given, tuple(TASKS.values())):
        return given
    return make_named("task", TASKS, given)


def as_plain(task: Task) -> dict[str, Any]:
    """Return plain values from which `make_task` makes the same task."""
    return {"name": {cls: name for name, cls in TASKS.items()}[type(task)], **asdict(task)}
