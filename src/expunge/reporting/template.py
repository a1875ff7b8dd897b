"""A page from its template: what is put into it is only ever text."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from expunge.reporting.escape import visible
from expunge.reporting.metric_rows import GROUPS, Row

GROUP_TITLES = {"forget": "To be forgotten", "retain": "To be kept", "others": "Everything else"}


def fill(template: str, **values: Any) -> str:
    """The page as text."""
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
    """The rows of the audit's table by group and set, each group with its title."""
    return [(GROUP_TITLES[group], _by_set(table, group)) for group in GROUPS]


def _finalize(value: object) -> object:
    """Applied to every value that a template prints, so that none can be forgotten."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _by_set(table: list[Row], group: str) -> dict[str, list[Row]]:
    sets: dict[str, list[Row]] = {}
    for row in table:
        if row.group == group:
            sets.setdefault(row.set, []).append(row)
    return sets


def _on_unit_scale(row: Row) -> bool:
    """Whether all of a row's numbers can be drawn on a scale from 0 to 1."""
    return all(0 <= bound <= 1 for cell in row.cells.values() for bound in (cell["value"], *(cell["ci95"] or ())))
