"""`expunge unlearn`: make a model forget the records of a file, or what it knows about a name or a topic, and audit the result."""

from typing import Annotated

import typer

from expunge.cli.columns import ForgetMap, ForgetSplit, Map, NoIds, RetainMap, RetainSplit, Split
from expunge.cli.placement import Device, Dtype

EXAMPLE = "expunge unlearn --model smollm2-135m --forget forget.jsonl --retain retain.jsonl"


def command(
    forget: Annotated[
        str | None,
        typer.Option(
            help="The forget set: a file of JSON, CSV or Parquet, a document or a folder of them (.txt, .md, .html), or a hub id."
        ),
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(help="In place of --forget: a name or a topic. The model reveals what it knows about it, and you see it first."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --about: train on what is revealed without a question.")] = False,
    model: Annotated[str, typer.Option(help="A hub id, a local folder, a .gguf file, or smollm2-135m.")] = "smollm2-135m",
    retain: Annotated[
        str | None, typer.Option(help="The retain set, as --forget. Without it, the model's own answers to neutral instructions are used.")
    ] = None,
    edit: Annotated[str | None, typer.Option(help="Which part of the model changes; `expunge ls edits` lists the choices.")] = None,
    quantise: Annotated[
        str | None, typer.Option(help="Load the model's linear layers in 4 bits (nf4) or 8 bits (int8); for grun, reft and lora.")
    ] = None,
    objective: Annotated[str | None, typer.Option(help="The loss; `expunge ls objectives` lists the choices.")] = None,
    control: Annotated[str | None, typer.Option(help="A model that never saw the forget set; the audit compares with it.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Of the shipped refusals and prompt variants, such as de; auto: that of most forget records.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run folder; the default is runs/<file>-<edit>-<objective>.")] = None,
    allow_overlap: Annotated[bool, typer.Option("--allow-overlap", help="Accept records that are in both sets.")] = False,
    show_text: Annotated[bool, typer.Option("--show-text", help="Store questions and answers and show them in the report.")] = False,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Only train; run `expunge audit` later.")] = False,
    settings: Annotated[
        list[str] | None, typer.Argument(help="Other settings, such as training.epochs=10; `expunge ls settings` lists them.")
    ] = None,
    map: Map = None,
    forget_map: ForgetMap = None,
    retain_map: RetainMap = None,
    no_ids: NoIds = False,
    split: Split = None,
    forget_split: ForgetSplit = None,
    retain_split: RetainSplit = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Make a model forget the records of a file, or what it knows about a name or a topic, and audit the result.

    Repeat the command to resume an interrupted run.
    """
    from expunge.cli.about import forget_setting, reveal_and_ask, with_folder
    from expunge.cli.settings import given_settings, map_settings
    from expunge.cli.train_and_audit import train_and_audit
    from expunge.config.recipe import read_recipe

    source = forget_setting(forget, about, yes, reads_file=bool(forget_map or forget_split))
    options = {"model": model, "data.forget": source, "data.retain": retain, "edit.name": edit, "objective.name": objective}
    options |= {
        "audit.control": control,
        "out": out,
        "quantise": quantise,
        "data.language": language,
        "data.allow_overlap": allow_overlap or None,
        "data.split": split,
        "data.forget_split": forget_split,
        "data.retain_split": retain_split,
        "audit.show_text": show_text or None,
    }
    recipe = read_recipe(None, given_settings(options) | map_settings(map, forget_map, retain_map, no_ids), settings or [])
    if about is not None:
        recipe = with_folder(recipe, about)
        if not reveal_and_ask(recipe, about, yes, device, dtype):
            return
    train_and_audit(recipe, not no_audit, device, dtype)
