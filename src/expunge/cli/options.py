"""Options that several commands have."""

from typing import Annotated

import typer

MovedModel = Annotated[
    str | None,
    typer.Option("--model", help="The run's model, if it is no longer where it was; it must be the model that the run recorded."),
]
