"""`expunge purge`: delete the revealed answers, and the modules that could teach them again."""

from typing import Annotated

import typer

EXAMPLE = "expunge purge runs/release-people"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without confirmation.")] = False,
) -> None:
    """Delete a run's revealed answers, forget modules, audit and report. Hashes, scores and the model stay.

    Afterwards rounds cannot be undone and the audit cannot be repeated: copy the report first. If an audit ran with --show-text, answers
    of the original are also in the cache (~/.cache/expunge/measured).
    """
    from expunge.api import purge
    from expunge.cli.output import print_lines
    from expunge.errors import InputError
    from expunge.runs.folder import find_run

    opened = find_run(run)
    if not yes and not typer.confirm(f"Delete the forget data in {opened.folder}?"):
        raise InputError(f"{opened.folder}: nothing was deleted")
    deleted = purge(opened)
    print_lines(*(f"Deleted {path}" for path in deleted))
    if not deleted:
        print_lines("There was nothing to delete.")
