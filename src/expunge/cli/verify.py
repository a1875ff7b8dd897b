"""`expunge verify`: is everything still as a record says?"""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "expunge verify runs/people --key controller.pub.pem"


def command(
    record: Annotated[Path, typer.Argument(help="A run folder, whose newest record is meant, or a attestation.json.")],
    key: Annotated[Path | None, typer.Option(help="PEM of the public key that it must be signed with.")] = None,
) -> None:
    """Make every hash of a record again, offline, and name the first that differs.

    A run's files are looked for beside its record, data and models where the record says, from the current folder. What is not there is
    said, and is no fault.
    """
    from expunge.api import verify
    from expunge.cli.shared import output
    from expunge.errors import ExpungeError, InputError

    try:
        checks = verify(record, key)
    except InputError as error:
        raise InputError(_one_line(str(error))) from error
    for check in checks:
        said = f"{check.status:<13}  {check.name}{f': {check.detail}' if check.detail else ''}"
        output().print(_one_line(said), markup=False, highlight=False, soft_wrap=True)
    if wrong := [check for check in checks if check.status == "differs"]:
        raise ExpungeError(f"{record}: {_one_line(f'{wrong[0].name} differs: {wrong[0].detail}')}")
    missed = sum(check.status == "not reachable" for check in checks)
    left = f", {missed} could not be made here" if missed else ""
    output().print(f"Nothing differs: {len(checks) - missed} of {len(checks)} checks made{left}.", highlight=False)


def _one_line(said: str) -> str:
    """Text with names from the record, which whoever made it chose: none may look like another line, or steer the terminal."""
    from expunge.reporting.escape import visible

    return visible(said).replace("\n", "<U+000A>")
