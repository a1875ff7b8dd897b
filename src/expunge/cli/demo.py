"""`expunge demo`: the whole story on a small real model."""

from typing import Annotated

import typer

EXAMPLE = "expunge demo"
ASKED = 2


def command(
    folder: Annotated[str, typer.Option(help="Where its data and its run go.")] = "runs/demo",
    model: Annotated[str, typer.Option(help="The model to teach: a folder, a hub id, or the embedded default.")] = "smollm2-135m",
) -> None:
    """Teach a small model fictitious people, make it forget two of them, show before and after, and audit."""
    import time
    from pathlib import Path

    import pyarrow.parquet as pq

    from expunge.auditing.audit import audit
    from expunge.cli.shared import closing, duration, output, show_answers, show_table
    from expunge.console import Display
    from expunge.data.records import read_records
    from expunge.pipeline import demo
    from expunge.pipeline.unlearn import unlearn

    display, console, started = Display(), output(), time.monotonic()
    display.say("Teaching a small model eight fictitious people, in two lessons; kept for the next time.")
    recipe = demo.prepare(Path(folder), model, display)
    took = time.monotonic()
    run = unlearn(recipe, display)
    took = time.monotonic() - took
    audit(run, display)
    questions = {record.id: record.prompt for name in ("forget", "retain") for record in read_records(Path(folder) / f"{name}.jsonl")}
    rows = pq.read_table(run.folder / "audit.parquet").to_pylist()
    for of_set, title in (("forget", "to be forgotten"), ("retain", "to be kept")):
        show_answers(console, rows, questions, of_set, ASKED, title)
    show_table(run)
    closing(run, f"Forgot 2 of 8 people (20 records) in {duration(took)}, of {duration(time.monotonic() - started)} in all.")
