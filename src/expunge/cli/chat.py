"""`expunge chat`: compare the answers of the original and the unlearned model."""

from typing import Annotated

import typer

EXAMPLE = "expunge chat runs/people"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    question: Annotated[
        list[str] | None, typer.Option("--ask", help="Answer this question and exit; repeatable. Without it, type questions.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 64,
) -> None:
    """Answer each question with the original and the unlearned model; an empty line ends the chat."""
    from peft import PeftModel
    from rich.table import Table
    from rich.text import Text

    from expunge.console import Display, SafeConsole, visible
    from expunge.data.records import Turn
    from expunge.edits.active import edits_off
    from expunge.edits.requests import REQUEST
    from expunge.models.generation import generate
    from expunge.runs.loaded import load_base, load_run, open_run

    opened, console = open_run(run), SafeConsole()
    with Display().step("Loading the model"):
        loaded = load_run(opened)
        model, builder = loaded.model, loaded.builder
        original = None if isinstance(model, PeftModel) else load_base(opened).model

    def answer(text: str) -> None:
        prompts = [builder.prompt((Turn("user", text),))]
        after = generate(model, builder, prompts, max_new_tokens)[0]
        if original is None:
            with edits_off(model, REQUEST):
                before = generate(model, builder, prompts, max_new_tokens)[0]
        else:
            before = generate(original, builder, prompts, max_new_tokens)[0]
        table = Table("Before", "After", expand=True, title=Text(visible(text)), title_justify="left")
        table.add_row(Text(visible(before)), Text(visible(after)))
        console.print(table)

    for text in question or []:
        answer(text)
    while not question:
        try:
            text = console.input("You: ").strip()
        except EOFError:
            return
        if not text:
            return
        answer(text)
