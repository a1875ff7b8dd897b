"""`expunge run`: run a recipe file, and audit the result."""

from typing import Annotated

import typer

from expunge.cli.placement import Device, Dtype

EXAMPLE = "expunge run recipes/tofu-forget-authors.yaml training.lr=1e-3"


def command(
    recipe: Annotated[str, typer.Argument(help="A YAML recipe; `expunge ls recipes` lists the shipped ones.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides, such as training.lr=1e-3.")] = None,
    out: Annotated[str | None, typer.Option(help="The run folder; the default is the recipe's, else runs/<name of the recipe>.")] = None,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Only train; run `expunge audit` later.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Run a recipe file with overrides, and audit the result.

    Repeat the command to resume an interrupted run.
    """
    from expunge.cli.settings import load_recipe
    from expunge.cli.train_and_audit import train_and_audit

    train_and_audit(load_recipe(recipe, settings, out), not no_audit, device, dtype)
