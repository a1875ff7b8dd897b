"""`expunge release`: subtract what a model reveals, or a file, from its weights in rounds."""

from typing import Annotated

import typer

from expunge.cli.placement import Device, Dtype

EXAMPLE = "expunge release recipes/release-people.yaml"


def command(
    recipe: Annotated[str, typer.Argument(help="A YAML recipe; `expunge ls recipes` lists the shipped ones.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides, such as release.rounds=2.")] = None,
    out: Annotated[str | None, typer.Option(help="The run folder.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Reveal what the model knows, then subtract it from the weights, round by round.

    Repeat the command to resume an interrupted run. `expunge export RUN` writes the plain model; `expunge undo RUN ROUND` goes back.
    """
    from expunge.cli.output import duration, print_lines
    from expunge.cli.settings import load_recipe
    from expunge.cli.tables import print_rounds
    from expunge.console import Display
    from expunge.models.placement import choose_placement
    from expunge.pipeline.release import release
    from expunge.reveal_release.release.round_results import curve

    run = release(load_recipe(recipe, settings, out, release=True), Display(), choose_placement(device, dtype))
    print_rounds(run)
    last = curve(run)[-1]
    why = f" Stopped because {last['stop']}." if last["stop"] else ""
    print_lines(
        f"Released in {last['round']} rounds, {duration(run.read_info()['seconds'])}.{why}",
        f"Run     {run.folder}",
        f"Next    expunge audit {run.folder}, or expunge export {run.folder}",
    )
