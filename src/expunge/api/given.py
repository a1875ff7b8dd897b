"""What the verbs of the Python API are given: a run or its folder, a recipe or its values, a device and a dtype."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expunge.config.recipe import Recipe
    from expunge.models.placement import Placement
    from expunge.runs.folder import Run
    from expunge.runs.loaded import OpenedRun


def placement(device: str, dtype: str) -> Placement:
    """Return where models are loaded; errors are those of `expunge.models.placement.choose_placement`."""
    from expunge.models.placement import choose_placement

    return choose_placement(device, dtype)


def opened(run: Run | str | Path, model: str | Path | None = None) -> OpenedRun:
    """Open a run whose training is complete, with its model at another place if one is given; errors are those of `open_run`."""
    from expunge.runs.loaded import open_run

    return open_run(folder(run), model)


@contextmanager
def locked_run(run: Run | str | Path, model: str | Path | None = None) -> Iterator[OpenedRun]:
    """Lock a run and open it within this context; for `model` see `opened`. Of processes that share work the first one locks it."""
    from expunge.models.ranks import is_first, wait
    from expunge.runs.folder import find_run, locked

    # It is read after it was locked: another process may change it before, and what a killed one left is cleaned up by then.
    with locked(find_run(folder(run))) if is_first() else nullcontext():
        wait()
        yield opened(run, model)


def folder(run: Run | str | Path) -> str | Path:
    """Return the folder of a run."""
    return run if isinstance(run, str | Path) else run.folder


def path(name: str | Path | None) -> Path | None:
    """Return the path of a file, if one was named."""
    return None if name is None else Path(name)


def recipe(source: str | Path | dict[str, Any]) -> Recipe:
    """Read a recipe file, or make the recipe of plain values."""
    from expunge.config.recipe import make_recipe, read_recipe

    return make_recipe(source) if isinstance(source, dict) else read_recipe(source)
