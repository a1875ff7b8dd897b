"""`expunge release`: what a model reveals, or a file, subtracted from its weights in rounds."""

from typing import Annotated

import typer

EXAMPLE = "expunge release recipes/release-people.yaml"


def command(
    recipe: Annotated[str, typer.Argument(help="A YAML recipe; see `expunge ls recipes`.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides, such as release.rounds=2.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder.")] = None,
) -> None:
    """Reveal, then release round by round. The same command goes on with an interrupted run.

    What changes are the weights themselves: `expunge export RUN` writes the plain model, `expunge undo RUN ROUND` goes back.
    """
    from expunge.cli.shared import duration, output, recipe_in, show_rounds
    from expunge.console import Display
    from expunge.pipeline.release import release
    from expunge.reveal_release.release.rounds import curve

    run = release(recipe_in(recipe, settings, out, release=True), Display())
    console = output()
    show_rounds(console, run)
    last = curve(run)[-1]
    why = f" Stopped because {last['stop']}." if last["stop"] else ""
    lines = [
        f"Released in {last['round']} rounds, {duration(run.info['seconds'])}.{why}",
        f"Run     {run.folder}",
        f"Next    expunge audit {run.folder}, or expunge export {run.folder}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
