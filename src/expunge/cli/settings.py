"""Settings from command-line options, and the recipe file that a verb names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.errors import InputError

# Importing the recipe imports torch, which `expunge validate` does not need.
if TYPE_CHECKING:
    from expunge.config.recipe import Recipe


def given_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return {dotted setting: value} for the options that were given, from {dotted setting: value, or None}."""
    return {name: value for name, value in options.items() if value is not None}


def map_settings(both: list[str] | None, forget: list[str] | None, retain: list[str] | None, no_ids: bool) -> dict[str, str]:
    """Return {dotted setting: column} for the entries of `--map`, `--forget-map` and `--retain-map`, and for `--no-ids`.

    Raises:
        InputError: an entry has no `=`.
    """
    given = {"data.map.id": ""} if no_ids else {}
    for name, entries in (("map", both), ("forget_map", forget), ("retain_map", retain)):
        for entry in entries or []:
            field, sign, column = entry.partition("=")
            if not sign:
                raise InputError(f"--{name.replace('_', '-')} {entry}: write field=column, such as --map prompt=instruction")
            given[f"data.{name}.{field}"] = column
    return given


def load_recipe(path: str, overrides: list[str] | None, out: str | None, release: bool = False) -> Recipe:
    """Load a recipe file with overrides; a recipe without `out` gets the run folder runs/<name of the file>.

    Args:
        path: the recipe file.
        overrides: `section.setting=value`.
        out: the run folder.
        release: add a release section with the defaults if the recipe has none.

    Raises:
        InputError: the file or an override is faulty.
    """
    from expunge.config.recipe import read_recipe
    from expunge.documents import read_yaml

    given = read_yaml(path)
    named: dict[str, Any] = {"out": out or f"runs/{Path(path).stem}"} if out or "out" not in given else {}
    if release and given.get("release") is None:
        named["release"] = {}
    return read_recipe(path, named, overrides or [])
