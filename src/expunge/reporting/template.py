"""Fill an HTML template; every value is escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from expunge.console import visible
from expunge.reporting.metric_rows import GROUPS, Row

GROUP_TITLES = {"forget": "Forget set", "retain": "Retain set", "others": "Other sets"}


def fill(template: str, **values: Any) -> str:
    """Return the filled template as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(on_unit_scale=_on_unit_scale, **values)


def metric_groups(table: list[Row]) -> list[tuple[str, dict[str, list[Row]]]]:
    """Return the rows of the metrics table by group and set, each group with its title."""
    return [(GROUP_TITLES[group], _by_set(table, group)) for group in GROUPS]


def _finalize(value: object) -> object:
    """Make a value safe to show. Jinja applies it to every value, so that none can be missed."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _by_set(table: list[Row], group: str) -> dict[str, list[Row]]:
    sets: dict[str, list[Row]] = {}
    for row in table:
        if row.group == group:
            sets.setdefault(row.set, []).append(row)
    return sets


def _on_unit_scale(row: Row) -> bool:
    """Return whether all numbers of a row lie between 0 and 1."""
    return all(0 <= bound <= 1 for cell in row.cells.values() for bound in (cell["value"], *(cell["ci95"] or ())))
