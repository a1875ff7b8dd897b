"""The options `--device` and `--dtype` of every verb that loads a model."""

from typing import Annotated

import typer

PANEL = "Machine"

Device = Annotated[
    str,
    typer.Option(rich_help_panel=PANEL, help="auto (a CUDA GPU if there is one, else the CPU), cpu, cuda, cuda:1 or mps."),
]
Dtype = Annotated[
    str,
    typer.Option(
        rich_help_panel=PANEL,
        help="Of the frozen weights: fp32, bf16, or auto. auto is the checkpoint's own on a GPU; on a CPU it is fp32, or bf16 if "
        "memory is short.",
    ),
]
