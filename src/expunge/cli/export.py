"""`expunge export`: a run's model as a plain checkpoint, for whatever loads Hugging Face models."""

from typing import Annotated

import typer

EXAMPLE = "expunge export runs/release-people --to models/released"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    to: Annotated[str | None, typer.Option(help="Folder to make; without it RUN/model.")] = None,
) -> None:
    """Write the model with its change in the weights: of a release, of full weights, or of LoRA, which is merged."""
    from pathlib import Path

    from expunge.cli.shared import output
    from expunge.console import Display
    from expunge.pipeline.export import export_plain
    from expunge.runs.folder import open_run

    opened = open_run(run)
    folder = export_plain(opened, Path(to) if to else opened.folder / "model", Display())
    for line in (f"Model   {folder}", f"Next    transformers: AutoModelForCausalLM.from_pretrained({str(folder)!r})"):
        output().print(line, markup=False, highlight=False, soft_wrap=True)
