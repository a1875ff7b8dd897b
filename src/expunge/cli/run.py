"""`expunge run`: a recipe file, with overrides."""

from typing import Annotated

import typer

EXAMPLE = "expunge run recipes/tofu-forget-authors.yaml training.lr=1e-3"


def command(
    recipe: Annotated[str, typer.Argument(help="A YAML recipe: see `expunge ls recipes`.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides, such as training.lr=1e-3.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder.")] = None,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Train only; `expunge audit` can follow.")] = False,
) -> None:
    """Run a recipe and audit the result. The same command resumes an interrupted run."""
    from pathlib import Path

    from expunge.cli.shared import finish, named_settings
    from expunge.recipe import read_recipe

    named = named_settings({"out": out or f"runs/{Path(recipe).stem}"} if out or not _names_out(recipe) else {}, [])
    finish(read_recipe(recipe, named, settings or []), audited=not no_audit)


def _names_out(path: str) -> bool:
    from expunge.recipe import read_yaml

    return "out" in read_yaml(path)
