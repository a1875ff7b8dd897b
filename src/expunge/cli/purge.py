"""`expunge purge`: delete what a model revealed, and the modules that would teach it again."""

from typing import Annotated

import typer

EXAMPLE = "expunge purge runs/release-people"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete revealed texts, forget modules and answers kept by an audit from a run; hashes, scores and the model itself stay.

    Afterwards rounds cannot be undone and the audit cannot be repeated.
    """
    from expunge.cli.shared import output
    from expunge.errors import InputError
    from expunge.reveal.custody import purge
    from expunge.run import locked, open_run

    opened = open_run(run)
    if not yes and not typer.confirm(f"Delete what {opened.folder} holds of what is to be forgotten?"):
        raise InputError(f"{opened.folder}: nothing was deleted")
    with locked(opened):
        gone = purge(opened.folder)
    for path in gone:
        output().print(f"Deleted {path}", markup=False, highlight=False, soft_wrap=True)
    if not gone:
        output().print("There was nothing to delete.")
