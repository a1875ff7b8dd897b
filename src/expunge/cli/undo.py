"""`expunge undo`: go back to an earlier round of a release."""

from typing import Annotated

import typer

from expunge.cli.options import MovedModel
from expunge.cli.placement import Device, Dtype

EXAMPLE = "expunge undo runs/release-people 1"


def command(
    run: Annotated[str, typer.Argument(help="A run folder of `expunge release`.")],
    to: Annotated[int, typer.Argument(help="The number of the round; 0 is the original. Later rounds stay available.")],
    model: MovedModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Restore a released model exactly as it was after a round.

    The model is computed again from the original and the LoRA modules in the run folder.
    """
    from expunge.cli.output import print_lines
    from expunge.console import Display
    from expunge.models.placement import choose_placement
    from expunge.pipeline.release import undo
    from expunge.runs.loaded import open_unchecked

    opened = open_unchecked(run, model)
    undo(opened, to, Display(), choose_placement(device, dtype))
    print_lines(f"The model of {opened.folder} is that of round {to}.", f"Next    expunge export {opened.folder}")
