"""Settings from command-line options, and the recipe file that a verb names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.errors import InputError

# Importing the recipe imports torch, which `expunge validate` does not need.
if TYPE_CHECKING:
    from expunge.config.recipe import Recipe


def settings_from_options(options: dict[str, Any], field_map: list[str]) -> dict[str, Any]:
    """Return {dotted setting: value} for the options that were given.

    Args:
        options: {dotted setting: value, or None where the option was not given}.
        field_map: entries of `--map`.

    Raises:
        InputError: an entry of `--map` has no `=`.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for entry in field_map:
        field, sign, column = entry.partition("=")
        if not sign:
            raise InputError(f"--map {entry}: write field=column, such as --map prompt=instruction")
        given[f"data.map.{field}"] = column
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
