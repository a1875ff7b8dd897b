"""`expunge demo`: teach a small real model invented people, make it forget two of them, and audit."""

from typing import Annotated

import typer

from expunge.cli.placement import Device, Dtype

EXAMPLE = "expunge demo"
SHOWN_ANSWERS = 2
"""Questions of each set whose answers are shown."""
HIGHLIGHTS = (
    ("forget", "rouge"),
    ("forget", "probability"),
    ("forget", "gate_open"),
    ("forget_paraphrase", "rouge"),
    ("retain", "rouge"),
    ("retain", "probability"),
    ("retain", "gate_open"),
    ("strangers", "gate_open"),
)
"""Rows of the last table, as (set, metric); the report has all."""


def command(
    folder: Annotated[str, typer.Option(help="The folder for the demo's data and run.")] = "runs/demo",
    model: Annotated[str, typer.Option(help="The model to teach: a folder, a hub id, or the embedded default.")] = "smollm2-135m",
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Teach a small model eight invented people, make it forget two of them, and audit the result."""
    import time
    from pathlib import Path

    from expunge.console import Display

    display, started = Display(), time.monotonic()
    # The imports below take several seconds, so something is printed before them.
    display.print("The demo takes five to ten minutes on two CPU cores. It starts by loading PyTorch.")

    import pyarrow.parquet as pq

    from expunge.api import audit
    from expunge.cli.output import duration, print_lines, standard_output
    from expunge.cli.tables import print_answers
    from expunge.data.records import read_records
    from expunge.models.placement import choose_placement
    from expunge.pipeline import demo
    from expunge.pipeline.unlearn import unlearn
    from expunge.reporting.metric_rows import headline
    from expunge.reporting.table import print_table

    display.print("Step 1 of 3: teach a small model eight invented people, and a control model only six. Both are cached.")
    placement = choose_placement(device, dtype)
    recipe = demo.prepare(Path(folder), model, display, placement)
    display.print("Step 2 of 3: make the model forget two of the eight.")
    unlearning_started = time.monotonic()
    run = unlearn(recipe, display, placement)
    unlearning_seconds = time.monotonic() - unlearning_started
    display.print("Step 3 of 3: audit the original, the unlearned and the control model.")
    audit(run, device=device, dtype=dtype)

    rows = pq.read_table(run.folder / "audit.parquet").to_pylist()
    for name, title in (("forget", "Two questions about the forgotten people"), ("retain", "Two questions about the others")):
        audited = {row["id"] for row in rows if row["set"] == name}
        records = [record for record in read_records(Path(folder) / f"{name}.jsonl") if record.id in audited]
        print_answers(rows, {record.id: record.prompt for record in records[:SHOWN_ANSWERS]}, title)
    print_lines("The unlearned model should be close to the control, which never saw the two people.")
    print_table(standard_output(), select_highlights(run.summary))
    total = duration(time.monotonic() - started)
    print_lines(
        f"Forgot 2 of 8 people (20 records) in {duration(unlearning_seconds)}, of {total} in all. {headline(run.summary)}",
        f"Report  {run.folder / 'report.html'}",
        f"Next    expunge chat {run.folder}",
        f"        expunge audit {run.folder} --suite quick",
        "        expunge unlearn --forget your-file.jsonl",
    )


def select_highlights(summary: dict) -> dict:
    """Return the part of an audit's summary that `HIGHLIGHTS` names."""
    selected: dict = {}
    for model, sets in summary.items():
        for name, metric in HIGHLIGHTS:
            if metric in sets.get(name, {}):
                selected.setdefault(model, {}).setdefault(name, {})[metric] = sets[name][metric]
    return selected
