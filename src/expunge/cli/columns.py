"""Options of verbs that read two files of records: columns, splits and ids."""

from __future__ import annotations

from typing import Annotated

import typer

PANEL = "Columns and splits of the files"

Map = Annotated[
    list[str] | None,
    typer.Option(
        help="field=column: the column of a field, such as prompt=query; a+b joins two columns, a[0] is the first of a list. Repeatable.",
        rich_help_panel=PANEL,
    ),
]
ForgetMap = Annotated[list[str] | None, typer.Option(help="Like --map, for the forget set alone.", rich_help_panel=PANEL)]
RetainMap = Annotated[list[str] | None, typer.Option(help="Like --map, for the retain set alone.", rich_help_panel=PANEL)]
NoIds = Annotated[
    bool,
    typer.Option("--no-ids", help="Ignore the ids in the files; records get ids from their lines.", rich_help_panel=PANEL),
]
Split = Annotated[str | None, typer.Option(help="The split of a hub id; the default is train.", rich_help_panel=PANEL)]
ForgetSplit = Annotated[str | None, typer.Option(help="Like --split, for the forget set alone.", rich_help_panel=PANEL)]
RetainSplit = Annotated[str | None, typer.Option(help="Like --split, for the retain set alone.", rich_help_panel=PANEL)]
