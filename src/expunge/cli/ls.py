"""`expunge ls`: what there is to choose from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, get_args

import typer

if TYPE_CHECKING:
    from expunge.auditing.attacks import Attack
    from expunge.auditing.suite import Suite
    from expunge.config import Section
    from expunge.metrics import Metric

EXAMPLE = "expunge ls objectives"


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


def command(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what there is of a kind; recipes are those in ./recipes, settings those of a recipe with their defaults."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table, console, rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0)), Console(), _rows(kind)
    if rows and not console.is_terminal:
        # A line each, so that grep finds whole ones.
        print("\n".join(f"{name}  {text}" for name, text in rows))
        return
    for name, text in rows:
        table.add_row(Text(name, style="bold"), Text(text))
    console.print(table if rows else f"There are no {kind} here: they are looked for in ./recipes, the repository's folder.")


def _rows(kind: Kind) -> list[tuple[str, str]]:
    if kind is Kind.objectives:
        from expunge.objectives import OBJECTIVES

        return [(name, _first_line(cls.__doc__)) for name, cls in OBJECTIVES.items()]
    if kind is Kind.edits:
        from expunge.edits.apply import EDITS

        return list(EDITS.items())
    if kind is Kind.oracles:
        from expunge.oracles import ORACLES

        return [(name, _first_line(cls.__doc__)) for name, cls in ORACLES.items()]
    if kind is Kind.tasks:
        from expunge.tasks import TASKS

        return [(name, _first_line(cls.__doc__)) for name, cls in TASKS.items()]
    if kind is Kind.metrics:
        from expunge.metrics import METRICS

        return [(name, _ways(metric)) for name, metric in METRICS.items()]
    if kind is Kind.attacks:
        from expunge.auditing.attacks import ATTACKS

        return [(name, _attack(cls)) for name, cls in ATTACKS.items()]
    if kind is Kind.suites:
        from expunge.auditing.suite import SHIPPED, read_suite

        return [(name, _suite(read_suite(name))) for name in SHIPPED]
    if kind is Kind.settings:
        return setting_lines()
    from pathlib import Path

    return [(str(path), _first_line(path.read_text(encoding="utf-8")).lstrip("# ")) for path in sorted(Path("recipes").glob("*.yaml"))]


def _ways(metric: Metric) -> str:
    on_forget, elsewhere = (way or "neither way" for way in (metric.on_forget, metric.elsewhere))
    return f"{metric.label}; better on a forget set: {on_forget}; elsewhere: {elsewhere}"


def _attack(cls: type[Attack]) -> str:
    """Who can try it, what it is (the first line of its file), its settings with their defaults."""
    settings = ", ".join(f"{one.name}: {_plain(one.default)}" for one in fields(cls))
    return f"{cls.threat}; {_first_line(sys.modules[cls.__module__].__doc__)} Settings: {settings}"


def _suite(suite: Suite) -> str:
    """How long it takes, and what it does, with the settings that are not the defaults."""
    parts = [_chosen(attack) for attack in suite.attacks]
    if suite.membership is not None:
        parts.append(f"membership inference (records: {suite.membership}{', gradients' if suite.gradients else ''})")
    rows = "the recipe's" if suite.max_rows is None else suite.max_rows
    return f"budget {suite.seconds} s on two cores with 135M parameters; records a set: {rows}; {', '.join(parts)}"


def _chosen(attack: Attack) -> str:
    settings = {one.name: value for one in fields(attack) if (value := getattr(attack, one.name)) != one.default}
    said = ", ".join(f"{name}: {_plain(value)}" for name, value in settings.items())
    return f"{attack.name} ({said})" if said else attack.name


def _plain(value: object) -> object:
    """As a suite's YAML has it."""
    return list(value) if isinstance(value, tuple) else "null" if value is None else value


def setting_lines() -> list[tuple[str, str]]:
    """Every setting of a recipe with its default and what it means."""
    from expunge.config.recipe import Recipe

    return list(_settings("", Recipe))


def _settings(before: str, section: type[Section]) -> Iterator[tuple[str, str]]:
    from expunge.config import Section

    for name, field in section.model_fields.items():
        kinds = get_args(field.annotation) or (field.annotation,)
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        if len(inner) < len(kinds):
            default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)}"
            yield before + name, "; ".join(filter(None, (field.description, default)))
        for kind in inner:
            yield from _settings(f"{before}{name}.", kind)


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
