"""`expunge validate`: is this file fit to be forgotten or kept?"""

from typing import Annotated

import typer

EXAMPLE = "expunge validate forget.jsonl --retain retain.jsonl"


def command(
    file: Annotated[str, typer.Argument(help="A JSONL, CSV or Parquet file, or a hub id.")],
    retain: Annotated[str | None, typer.Option(help="Also check that this retain set does not overlap with it.")] = None,
    map: Annotated[list[str] | None, typer.Option(help="ours=theirs: our field and the file's column; repeatable.")] = None,
    split: Annotated[str, typer.Option(help="Split of a hub id.")] = "train",
) -> None:
    """Check a file of records as every other verb does, and say what is in it. Nothing is written."""
    from rich.console import Console

    from expunge.cli.shared import named_settings
    from expunge.data.records import check_overlap, read_records, summary

    fields = {name.removeprefix("data.map."): column for name, column in named_settings({}, map or []).items()}
    read = {source: read_records(source, fields, split) for source in (file, retain) if source is not None}
    if retain is not None:
        check_overlap(read[file], read[retain], file, retain, allow=False)
    console = Console()
    for source, records in read.items():
        facts = summary(records)
        counts = f"{facts['paraphrases']} with a paraphrase, {facts['wrong_answers']} with wrong answers"
        console.print(f"{source}: {facts['rows']} records ({facts['shape']}), {counts}", markup=False, highlight=False, soft_wrap=True)
    console.print("Nothing is wrong with it." if retain is None else "Nothing is wrong with them, and they do not overlap.")
