"""`expunge unlearn`: one command from a file to a model that has forgotten it, audited."""

from typing import Annotated

import typer

EXAMPLE = "expunge unlearn --model smollm2-135m --forget forget.jsonl --retain retain.jsonl"


def command(
    forget: Annotated[str, typer.Option(help="What to forget: a JSONL, CSV or Parquet file, or a hub id.")],
    model: Annotated[str, typer.Option(help="A hub id, a local folder, a .gguf file, or smollm2-135m.")] = "smollm2-135m",
    retain: Annotated[str | None, typer.Option(help="What to keep; without it the model's own answers to neutral instructions.")] = None,
    edit: Annotated[str | None, typer.Option(help="Where the change lives: see `expunge ls edits`.")] = None,
    objective: Annotated[str | None, typer.Option(help="The loss: see `expunge ls objectives`.")] = None,
    control: Annotated[str | None, typer.Option(help="A model that never saw the forget set, to audit against.")] = None,
    map: Annotated[list[str] | None, typer.Option(help="ours=theirs: our field and the file's column; repeatable.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder; without it runs/<file>-<edit>-<objective>.")] = None,
    allow_overlap: Annotated[bool, typer.Option("--allow-overlap", help="Accept records in both sets.")] = False,
    show_text: Annotated[bool, typer.Option("--show-text", help="Keep and show questions and answers in the audit.")] = False,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Train only; `expunge audit` can follow.")] = False,
    settings: Annotated[list[str] | None, typer.Argument(help="Further settings of the recipe, such as training.epochs=10.")] = None,
) -> None:
    """Make a model forget a file of records, and audit the result. The same command resumes an interrupted run."""
    from expunge.cli.shared import finish, named_settings
    from expunge.config.recipe import read_recipe

    named = {"model": model, "data.forget": forget, "data.retain": retain, "edit.name": edit, "objective.name": objective}
    named |= {"audit.control": control, "out": out, "data.allow_overlap": allow_overlap or None, "audit.show_text": show_text or None}
    recipe = read_recipe(None, named_settings(named, map or []), settings or [])
    finish(recipe, audited=not no_audit)
