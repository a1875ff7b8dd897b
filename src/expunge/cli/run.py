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
    from expunge.cli.shared import finish, recipe_in

    finish(recipe_in(recipe, settings, out), audited=not no_audit)
