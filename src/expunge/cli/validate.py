"""`expunge validate`: check a file of records before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from expunge.cli.columns import ForgetMap, ForgetSplit, Map, NoIds, RetainMap, RetainSplit, Split

if TYPE_CHECKING:
    from expunge.data.records import Record

EXAMPLE = "expunge validate forget.jsonl --retain retain.jsonl"
SHOWN = 10
"""Most near-duplicates that are listed."""


def command(
    file: Annotated[
        str, typer.Argument(help="A file of JSON, CSV or Parquet, a document or a folder of them (.txt, .md, .html), or a hub id.")
    ],
    retain: Annotated[
        str | None, typer.Option(help="A retain set; also check that no record is in both, and list those that are nearly the same.")
    ] = None,
    questions: Annotated[bool, typer.Option("--questions", help="Check multiple-choice questions, for audit.questions.")] = False,
    map: Map = None,
    forget_map: ForgetMap = None,
    retain_map: RetainMap = None,
    no_ids: NoIds = False,
    split: Split = None,
    forget_split: ForgetSplit = None,
    retain_split: RetainSplit = None,
) -> None:
    """Check a file of records as every other verb does, and print what is in it. Nothing is written."""
    from expunge.cli.output import print_lines
    from expunge.cli.settings import map_settings
    from expunge.data.fields import FORGET_OPTIONS, RETAIN_OPTIONS
    from expunge.data.overlap import check_overlap
    from expunge.data.records import read_records

    if questions:
        _check_questions(file, split)
        return
    columns = map_settings(map, forget_map, retain_map, no_ids)
    read = read_records(file, _fields(columns, "forget"), forget_split or split or "train", None if retain is None else FORGET_OPTIONS)
    retained = []
    if retain is not None:
        retained = read_records(retain, _fields(columns, "retain"), retain_split or split or "train", RETAIN_OPTIONS)
        check_overlap(read, retained, file, retain, allow=False)
    _print_summary(file, read)
    if retain is None:
        print_lines("The file is valid.")
        return
    _print_summary(retain, retained)
    _print_near_duplicates(file, read, retain, retained)
    print_lines("Both files are valid and share no record.")


def _fields(columns: dict[str, str], file: str) -> dict[str, str]:
    """Return field -> column of one file: its own options come before `--map`."""
    prefixes = ("data.map.", f"data.{file}_map.")
    return {name.removeprefix(prefix): column for prefix in prefixes for name, column in columns.items() if name.startswith(prefix)}


def _print_summary(source: str, records: list[Record]) -> None:
    from expunge.cli.output import print_lines
    from expunge.data.records import summary

    if all(record.document for record in records):
        characters = sum(len(record.answer) for record in records)
        print_lines(f"{source}: {len(records)} document{'' if len(records) == 1 else 's'}, {characters:,} characters")
        return
    facts = summary(records)
    counts = f"{facts['paraphrases']} with a paraphrase, {facts['wrong_answers']} with wrong answers"
    print_lines(f"{source}: {facts['rows']} records ({facts['shape']}), {counts}")


def _print_near_duplicates(file: str, forget: list[Record], retain: str, retained: list[Record]) -> None:
    from expunge.cli.output import print_lines
    from expunge.data.overlap import near_duplicates, place

    pairs = near_duplicates(forget, retained)
    for pair in pairs[:SHOWN]:
        print_lines(f"{place(retain, pair.retain)}: nearly the same as {place(file, pair.forget)} ({pair.share:.0%} alike)")
    if len(pairs) > SHOWN:
        print_lines(f"{retain}: {len(pairs) - SHOWN} more records are nearly the same as one to forget")
    if pairs:
        print_lines("Leave such records out of the retain set, unless they are about something else.")


def _check_questions(file: str, split: str | None) -> None:
    from expunge.cli.output import print_lines
    from expunge.data.questions import read_questions

    found = read_questions(file, split or "test")
    print_lines(f"{file}: {len(found)} multiple-choice questions", "The file is valid.")
