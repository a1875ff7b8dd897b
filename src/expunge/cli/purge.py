"""`expunge purge`: delete what a model revealed, and the modules that would teach it again."""

from typing import Annotated

import typer

EXAMPLE = "expunge purge runs/release-people"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete revealed texts, forget modules and the audit with its report from a run; hashes, scores and the model itself stay.

    Afterwards rounds cannot be undone and the audit cannot be repeated: keep a copy of the report. Answers of the original that an
    audit with --show-text has kept are in the cache (~/.cache/expunge/measured).
    """
    from expunge.api import purge
    from expunge.cli.shared import output
    from expunge.errors import InputError
    from expunge.runs.folder import find_run

    opened = find_run(run)
    if not yes and not typer.confirm(f"Delete what {opened.folder} holds of what is to be forgotten?"):
        raise InputError(f"{opened.folder}: nothing was deleted")
    gone = purge(opened)
    for path in gone:
        output().print(f"Deleted {path}", markup=False, highlight=False, soft_wrap=True)
    if not gone:
        output().print("There was nothing to delete.")
