"""`expunge compare`: show the audits of several runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "expunge compare runs/people-grun runs/people-lora --html compared.html"


def command(
    runs: Annotated[list[str], typer.Argument(help="Audited run folders.")],
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with all runs in one plot, their verdicts and their numbers.")
    ] = None,
) -> None:
    """Show the audits of several runs side by side, with the original and the control of the first."""
    from expunge.cli.output import print_lines, standard_output
    from expunge.errors import InputError
    from expunge.reporting.comparison import compared_metrics, write_comparison
    from expunge.reporting.table import print_table
    from expunge.runs.loaded import open_run

    if html is not None and (html.is_dir() or not html.parent.is_dir()):
        raise InputError(f"--html: {html} cannot be written; name a file in a folder that exists")
    opened = [open_run(folder) for folder in runs]
    print_table(standard_output(), compared_metrics(opened))
    if html is not None:
        write_comparison(html, opened)
        print_lines(f"Page    {html}")
