"""`expunge validate`: check a file of records before it is used."""

from typing import Annotated

import typer

EXAMPLE = "expunge validate forget.jsonl --retain retain.jsonl"


def command(
    file: Annotated[str, typer.Argument(help="A JSONL, CSV or Parquet file, or a hub id.")],
    retain: Annotated[str | None, typer.Option(help="A retain set; also check that no record is in both.")] = None,
    map: Annotated[
        list[str] | None,
        typer.Option(help="field=column: the column of a field, such as prompt=question; id= ignores a column of ids. Repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="The split of a hub id.")] = "train",
) -> None:
    """Check a file of records as every other verb does, and print what is in it. Nothing is written.

    If the ids of a file are not unique, ignore them with --map id=; records then get ids from their lines.
    """
    from expunge.cli.output import print_lines
    from expunge.cli.settings import settings_from_options
    from expunge.data.records import check_overlap, read_records, summary

    fields = {name.removeprefix("data.map."): column for name, column in settings_from_options({}, map or []).items()}
    read = {source: read_records(source, fields, split) for source in (file, retain) if source is not None}
    if retain is not None:
        check_overlap(read[file], read[retain], file, retain, allow=False)
    for source, records in read.items():
        facts = summary(records)
        counts = f"{facts['paraphrases']} with a paraphrase, {facts['wrong_answers']} with wrong answers"
        print_lines(f"{source}: {facts['rows']} records ({facts['shape']}), {counts}")
    print_lines("The file is valid." if retain is None else "Both files are valid and share no record.")
