"""The settings of a recipe with their meaning and default, by section: for `expunge ls settings`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin

from expunge.config import Section
from expunge.config.recipe import DEFAULT_OBJECTIVE, Recipe
from expunge.errors import InputError

TOP = "recipe"
"""Heading of the settings that are in no section."""


def setting_lines() -> list[tuple[str, str]]:
    """Return (dotted setting, its meaning and default) for every setting of a recipe."""
    return list(_settings("", Recipe))


def settings_by_section(section: str | None = None) -> dict[str, list[tuple[str, str]]]:
    """Return {section: its lines}.

    Args:
        section: only this one with the sections inside it; the last part of its name is enough, such as "reveal". None: all.

    Raises:
        InputError: there is no such section.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, text in setting_lines():
        groups.setdefault(name.rpartition(".")[0] or TOP, []).append((name, text))
    selected = {name: lines for name, lines in groups.items() if section is None or f".{section}." in f".{name}."}
    if not selected:
        raise InputError(f"{section}: there is no such section; the sections are {', '.join(groups)}")
    return selected


def _settings(before: str, section: type[Section]) -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        kinds = get_args(field.annotation) or (field.annotation,)
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        if len(inner) < len(kinds):
            choices = f"one of {', '.join(map(str, kinds))}" if get_origin(field.annotation) is Literal else None
            default = "required" if field.is_required() else f"default {_as_text(field.get_default(call_default_factory=True))}"
            yield before + name, "; ".join(filter(None, (field.description, choices, default)))
        for kind in inner:
            yield from _settings(f"{before}{name}.", kind)


def _as_text(default: Any) -> str:
    """Return a default as a recipe writes it."""
    if is_dataclass(default):
        settings = ", ".join(f"{field.name}: {_as_text(getattr(default, field.name))}" for field in fields(default))
        return f"{DEFAULT_OBJECTIVE} ({settings})"
    if isinstance(default, tuple | list):
        return f"[{', '.join(map(str, default))}]"
    return {None: "none", True: "true", False: "false"}[default] if default is None or isinstance(default, bool) else str(default)
