"""`expunge audit`: measure a run's models, write its report."""

from typing import Annotated

import typer

EXAMPLE = "expunge audit runs/people --control models/never-saw"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    control: Annotated[str | None, typer.Option(help="A model that never saw the forget set.")] = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Keep and show questions and answers.")] = False,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Records a set, drawn by seed.")] = None,
) -> None:
    """Measure the unlearned, the original and the control model on the same sets, and write the report."""
    from expunge.audit.engine import audit
    from expunge.cli.shared import closing, show_table
    from expunge.console import Display
    from expunge.run import open_run

    audited = audit(open_run(run), Display(), control, max_rows, show_text)
    show_table(audited)
    closing(audited, "Audited.")
