"""`expunge gate`: what a run's gate says of a prompt, token by token."""

from typing import Annotated

import typer

EXAMPLE = 'expunge gate runs/people "Where does Basil Mahfouz live?"'


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    text: Annotated[list[str], typer.Argument(help="What a user might say; of several each is a prompt of its own.")],
) -> None:
    """Say whether the gate opens for a prompt, and which of its tokens speak for it.

    A token's score is the mean over the blocks that the gate reads; the logit is the mean of what each block says, which pools its own.
    """
    from rich.text import Text

    from expunge.cli.shared import output
    from expunge.console import Display
    from expunge.data.records import Turn
    from expunge.errors import InputError
    from expunge.gating.inspect import check_gated, look_at
    from expunge.reporting.gate_table import heat, spoken_for
    from expunge.runs.folder import open_run
    from expunge.runs.load import load_run

    if empty := [one for one in text if not one.strip()]:
        raise InputError(f"{empty[0]!r}: there is nothing in this prompt")
    opened, console = open_run(run), output()
    check_gated(opened)
    with Display().step("Loading the model"):
        model, builder = load_run(opened)
    for one in text:
        look = look_at(model, builder, builder.prompt((Turn("user", one),)))
        console.print(Text(f"The gate {look.word}."))
        if look.tokens:
            console.print(heat(look))
            console.print(Text(f"Highest scores (the darker, the more a token speaks for opening): {spoken_for(look)}\n"))
