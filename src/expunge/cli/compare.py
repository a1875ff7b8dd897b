"""`expunge compare`: the audits of several runs side by side."""

from typing import Annotated

import typer

EXAMPLE = "expunge compare runs/people-grun runs/people-lora"


def command(runs: Annotated[list[str], typer.Argument(help="Audited run folders.")]) -> None:
    """Put the audits of several runs side by side, with the original and the control of the first."""
    from expunge.audit.report.table import print_table
    from expunge.cli.shared import output
    from expunge.run import open_run

    opened = [open_run(folder) for folder in runs]
    first = opened[0].summary
    columns = {"original": first["original"]}
    for run in opened:
        columns[str(run.folder)] = run.summary["unlearned"]
    if "control" in first:
        columns["control"] = first["control"]
    print_table(output(), columns)
