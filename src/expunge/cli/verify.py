"""`expunge verify`: check that everything still is as an attestation states."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "expunge verify runs/people --key controller.pub.pem"


def command(
    attestation: Annotated[Path, typer.Argument(help="A run folder, which means its newest attestation, or an attestation.json.")],
    key: Annotated[Path | None, typer.Option(help="PEM file with the public key that must have signed it.")] = None,
) -> None:
    """Compute every hash of an attestation again, offline, and name the first that differs.

    The run's files are looked for beside the attestation; data and models where it names them, relative to the current folder.
    A file that is missing is reported and is no failure.
    """
    from expunge.api import verify
    from expunge.cli.output import print_lines
    from expunge.errors import ExpungeError

    checks = verify(attestation, key)
    print_lines(*(f"{c.status:<13}  {c.name}{f': {c.detail}' if c.detail else ''}" for c in checks))
    if different := [check for check in checks if check.status == "differs"]:
        raise ExpungeError(f"{attestation}: {different[0].name} differs: {different[0].detail}")
    missed = sum(check.status == "not reachable" for check in checks)
    left = f", {missed} could not be made here" if missed else ""
    print_lines(f"Nothing differs: {len(checks) - missed} of {len(checks)} checks made{left}.")
