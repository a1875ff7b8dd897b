"""Unlearn from a recipe with further settings from the command line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run


def unlearn_with(settings: Sequence[str], model: str, forget: Path, retain: Path, out: Path, display: Display) -> Run:
    """Train a run, or resume it. `settings`: NAME=VALUE each, such as training.epochs=5."""
    given: dict[str, Any] = {"model": model, "data": {"forget": str(forget), "retain": str(retain)}, "out": str(out)}
    for setting in settings:
        path, _, value = setting.partition("=")
        section, _, name = path.partition(".")
        given.setdefault(section, {})[name] = json.loads(value) if value[:1] in "0123456789[{-" else value
    return unlearn(make_recipe(given), display)
