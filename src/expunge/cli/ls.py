"""`expunge ls`: list objectives, edits, metrics, attacks, suites, oracles, tasks, recipes or settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from expunge.auditing.attacks import Attack
    from expunge.auditing.suite import Suite
    from expunge.metrics import Metric

EXAMPLE = "expunge ls settings release"
Line = tuple[str, str]
"""A name and what it is."""


class Kind(StrEnum):
    """What can be listed."""

    objectives = "objectives"
    edits = "edits"
    metrics = "metrics"
    attacks = "attacks"
    suites = "suites"
    oracles = "oracles"
    tasks = "tasks"
    recipes = "recipes"
    settings = "settings"


def command(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    section: Annotated[str | None, typer.Argument(help="With settings: only this section, such as training, release or reveal.")] = None,
) -> None:
    """List what you can choose from: names with one line each.

    Recipes are the files in ./recipes. Settings are those of a recipe, with their defaults. Piped output has one line for each name.
    """
    from rich.text import Text

    from expunge.console import SafeConsole
    from expunge.errors import InputError

    if section is not None and kind is not Kind.settings:
        raise InputError(f"{section}: only settings have sections; write `expunge ls {kind}`")
    groups, console = _groups(kind, section), SafeConsole()
    lines = [line for group in groups.values() for line in group]
    if not lines:
        console.print("There are no recipes here; `expunge ls recipes` lists the folder ./recipes, such as the repository's.")
    elif not console.is_terminal:
        # Plain lines that are not wrapped, so that grep finds whole ones.
        for name, text in lines:
            console.print_line(f"{name}  {text}")
    else:
        for heading, group in groups.items():
            if heading:
                console.print(Text(f"\n{heading}", style="bold cyan"))
            console.print(_table(group))


def _groups(kind: Kind, section: str | None) -> dict[str, list[Line]]:
    """Return {heading: lines}; only settings have headings."""
    if kind is Kind.settings:
        from expunge.cli.setting_list import settings_by_section

        return settings_by_section(section)
    return {"": LISTS[kind]()}


def _table(lines: list[Line]):
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in lines:
        table.add_row(Text(name, style="bold"), Text(text))
    return table


def _objectives() -> list[Line]:
    from expunge.objectives import OBJECTIVES

    return [(name, _first_line(cls.__doc__)) for name, cls in OBJECTIVES.items()]


def _edits() -> list[Line]:
    from expunge.edits import descriptions

    return list(descriptions().items())


def _metrics() -> list[Line]:
    from expunge.metrics import METRICS

    return [(name, _directions(metric)) for name, metric in METRICS.items()]


def _attacks() -> list[Line]:
    from expunge.auditing.attacks import ATTACKS

    return [(name, _attack(cls)) for name, cls in ATTACKS.items()]


def _suites() -> list[Line]:
    from expunge.auditing.suite import SHIPPED, read_suite

    return [(name, _suite(read_suite(name))) for name in SHIPPED]


def _oracles() -> list[Line]:
    from expunge.oracles import ORACLES

    return [(name, _first_line(cls.__doc__)) for name, cls in ORACLES.items()]


def _tasks() -> list[Line]:
    from expunge.tasks import TASKS

    return [(name, _first_line(cls.__doc__)) for name, cls in TASKS.items()]


def _recipes() -> list[Line]:
    from pathlib import Path

    return [(str(path), _first_line(path.read_text(encoding="utf-8")).lstrip("# ")) for path in sorted(Path("recipes").glob("*.yaml"))]


LISTS: dict[Kind, Callable[[], list[Line]]] = {
    Kind.objectives: _objectives,
    Kind.edits: _edits,
    Kind.metrics: _metrics,
    Kind.attacks: _attacks,
    Kind.suites: _suites,
    Kind.oracles: _oracles,
    Kind.tasks: _tasks,
    Kind.recipes: _recipes,
}


def _directions(metric: Metric) -> str:
    on_forget, elsewhere = (direction or "neither" for direction in (metric.on_forget, metric.elsewhere))
    return f"{metric.label}: {metric.definition}; better on a forget set: {on_forget}; elsewhere: {elsewhere}"


def _attack(cls: type[Attack]) -> str:
    """Return who can try it, the first line of its module, and its settings with their defaults."""
    settings = ", ".join(f"{field.name}: {_as_yaml(field.default)}" for field in fields(cls))
    return f"{cls.threat}; {_first_line(sys.modules[cls.__module__].__doc__)} Settings: {settings}"


def _suite(suite: Suite) -> str:
    """Return how long it takes and what it runs, with the settings that differ from the defaults."""
    parts = [_changed_settings(attack) for attack in suite.attacks]
    if suite.membership_records is not None:
        parts.append(f"membership inference (records: {suite.membership_records}{', gradients' if suite.membership_gradients else ''})")
    records = "the recipe's" if suite.max_records is None else suite.max_records
    return f"budget {suite.budget_seconds} s on two cores with 135M parameters; records a set: {records}; {', '.join(parts)}"


def _changed_settings(attack: Attack) -> str:
    values = {field.name: value for field in fields(attack) if (value := getattr(attack, field.name)) != field.default}
    changed = ", ".join(f"{name}: {_as_yaml(value)}" for name, value in values.items())
    return f"{attack.name} ({changed})" if changed else attack.name


def _as_yaml(value: object) -> object:
    return list(value) if isinstance(value, tuple) else "null" if value is None else value


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
