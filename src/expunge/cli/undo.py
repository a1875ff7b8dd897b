"""`expunge undo`: a released model as an earlier round left it."""

from typing import Annotated

import typer

EXAMPLE = "expunge undo runs/release-people 1"


def command(
    run: Annotated[str, typer.Argument(help="A run folder of `expunge release`.")],
    to: Annotated[int, typer.Argument(help="The round to go back, or forth again, to; 0 is the original.")],
) -> None:
    """Make a release's model what it was after a round: exactly, from the original and the modules that the run keeps."""
    from expunge.cli.shared import output
    from expunge.console import Display
    from expunge.pipeline.release import undo
    from expunge.runs.folder import open_run

    opened = open_run(run)
    undo(opened, to, Display())
    for line in (f"The model of {opened.folder} is that of round {to}.", f"Next    expunge export {opened.folder}"):
        output().print(line, markup=False, highlight=False, soft_wrap=True)
