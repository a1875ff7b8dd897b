"""`expunge export`: write a run's model as a plain Hugging Face checkpoint."""

from typing import Annotated

import typer

from expunge.cli.options import MovedModel
from expunge.cli.placement import PANEL, Device

EXAMPLE = "expunge export runs/release-people --to models/released"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    to: Annotated[str | None, typer.Option(help="The folder to write; the default is RUN/model.")] = None,
    model: MovedModel = None,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(rich_help_panel=PANEL, help="Of the written weights: auto (that of the source), fp32 or bf16.")
    ] = "auto",
) -> None:
    """Write the unlearned model as a plain checkpoint that any Hugging Face tool loads.

    The files, the dtype, the tokenizer, the chat template and the generation defaults are those of the model that was trained.
    This works where the change can be in the weights: after a release, for full weights, and for LoRA, which is merged.
    """
    from pathlib import Path

    from expunge.cli.output import print_lines
    from expunge.console import Display
    from expunge.pipeline.export import MODEL, export_plain
    from expunge.runs.loaded import open_run

    opened = open_run(run, model)
    target = Path(to) if to else opened.folder / MODEL
    folder = export_plain(opened, target, Display(), device, dtype)
    print_lines(f"Model   {folder}", f"Next    transformers: AutoModelForCausalLM.from_pretrained({str(folder)!r})")
