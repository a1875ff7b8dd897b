"""The table of tasks: each says what is to be forgotten and kept, and measures both."""

from dataclasses import asdict, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from expunge.tasks.base import Figure, Metric, Task
from expunge.tasks.code import Code
from expunge.tasks.ner import Ner
from expunge.tasks.people import People
from expunge.tasks.toxicity import Toxicity

TASKS: dict[str, type[Task]] = {"people": People, "ner": Ner, "code": Code, "toxicity": Toxicity}

__all__ = ["TASKS", "Code", "Figure", "Metric", "Ner", "People", "Task", "Toxicity", "as_plain", "make_task"]


def make_task(given: str | dict[str, Any] | Task) -> Task:
    """A task from its name, or from a mapping of its name and settings.

    Raises:
        ValueError: one sentence that names what is wrong.
    """
    if isinstance(given, tuple(TASKS.values())):
        return given
    settings: Any = {"name": given} if isinstance(given, str) else given
    if not isinstance(settings, dict) or "name" not in settings:
        raise ValueError("give a task's name, or a mapping with its name and settings")
    settings = dict(settings)
    name = settings.pop("name")
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"no task {name!r}; there are {', '.join(TASKS)}")
    known = [field.name for field in fields(TASKS[name])]
    if unknown := set(settings) - set(known):
        raise ValueError(f"{name} has no setting {', '.join(sorted(map(str, unknown)))}; it has {', '.join(known)}")
    try:
        return TypeAdapter(TASKS[name]).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *map(str, first["loc"])])
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def as_plain(task: Task) -> dict[str, Any]:
    """Plain values that `make_task` reads back as the same task."""
    return {"name": {cls: name for name, cls in TASKS.items()}[type(task)], **asdict(task)}
