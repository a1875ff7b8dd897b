"""`expunge chat`: compare the answers of the original and the unlearned model."""

import sys
from typing import Annotated

import typer

from expunge.cli.options import MovedModel
from expunge.cli.placement import Device, Dtype

EXAMPLE = "expunge chat runs/people"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    question: Annotated[
        list[str] | None, typer.Option("--ask", help="Answer this question and exit; repeatable. Without it, type questions.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 64,
    model: MovedModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Answer each question with the original and the unlearned model; an empty line ends the chat."""
    from peft import PeftModel
    from rich.table import Table
    from rich.text import Text

    from expunge.console import Display, SafeConsole, visible
    from expunge.data.records import Turn
    from expunge.edits.active import edits_off
    from expunge.edits.requests import REQUEST
    from expunge.errors import InputError
    from expunge.models.blocks import check_room, context_length
    from expunge.models.generation import generate_answers
    from expunge.models.placement import choose_placement, placement_of
    from expunge.runs.loaded import load_base, load_run, open_run

    opened, console = open_run(run, model), SafeConsole()
    with Display().step("Loading the model"):
        loaded = load_run(opened, choose_placement(device, dtype))
        edited, builder = loaded.model, loaded.builder
        original = None if isinstance(edited, PeftModel) else load_base(opened, placement_of(edited)).model

    def prompt(text: str) -> tuple[int, ...]:
        ids = builder.prompt((Turn("user", text),))
        check_room(edited, len(ids), "the question")
        return ids

    def answer(text: str) -> None:
        prompts = [prompt(text)]
        if (room := (context_length(edited) or sys.maxsize) - len(prompts[0])) < max_new_tokens:
            console.print(f"The question leaves room for {room} tokens in the model's context: a longer answer is cut there.")
        after = generate_answers(edited, builder, prompts, max_new_tokens)[0].whole
        if original is None:
            with edits_off(edited, REQUEST):
                before = generate_answers(edited, builder, prompts, max_new_tokens)[0].whole
        else:
            before = generate_answers(original, builder, prompts, max_new_tokens)[0].whole
        table = Table("Before", "After", expand=True, title=Text(visible(text)), title_justify="left")
        table.add_row(Text(visible(before)), Text(visible(after)))
        console.print(table)

    for text in question or []:
        prompt(text)
    for text in question or []:
        answer(text)
    while not question:
        try:
            text = console.input("You: ").strip()
        except EOFError:
            return
        if not text:
            return
        try:
            answer(text)
        except InputError as error:
            console.print(f"{error}")
