"""Unlearn from a recipe with further settings from the command line."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run


def parser_with_settings(description: str, out: str, mark: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every study that unlearns once; `out`: its folder, `mark`: around its tables in a page."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for data, runs and results")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="a further setting of the recipe; repeatable")
    help_of_write = f"write the tables into the page in docs/results/, between two of these marks (default: {mark})"
    parser.add_argument("--write", nargs="?", const=mark, metavar="MARK", help=help_of_write)
    return parser


def as_options(settings: Sequence[str]) -> str:
    """Return the settings as a command line repeats them, with a space before each."""
    return "".join(f" --setting {setting}" for setting in settings)


def unlearn_with(settings: Sequence[str], model: str, forget: Path, retain: Path, out: Path, display: Display) -> Run:
    """Train a run, or resume it. `settings`: NAME=VALUE each, such as training.epochs=5."""
    given: dict[str, Any] = {"model": model, "data": {"forget": str(forget), "retain": str(retain)}, "out": str(out)}
    for setting in settings:
        path, _, value = setting.partition("=")
        section, _, name = path.partition(".")
        given.setdefault(section, {})[name] = json.loads(value) if value[:1] in "0123456789[{-" else value
    return unlearn(make_recipe(given), display)
