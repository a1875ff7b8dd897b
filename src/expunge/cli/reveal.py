"""`expunge reveal`: have a model tell what it knows of something, and keep that as a forget set."""

from typing import Annotated

import typer

EXAMPLE = "expunge reveal recipes/release-people.yaml"
SHOWN = 10


def command(
    recipe: Annotated[str, typer.Argument(help="A YAML recipe whose data.forget is {reveal: …}; see `expunge ls recipes`.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides, such as data.forget.reveal.budget=320.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder.")] = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show instructions, not their hashes.")] = False,
) -> None:
    """Search for instructions that make the model tell, and keep what it tells. The same command goes on with an interrupted search.

    `expunge release` with the same recipe goes on from there.
    """
    from rich.table import Table
    from rich.text import Text

    from expunge.cli.shared import output, recipe_in
    from expunge.console import Display
    from expunge.pipeline.prepare import reveal_only
    from expunge.reveal_release.reveal.private_files import hash_key, text_hash
    from expunge.reveal_release.reveal.select import asked_in, best_of, read_results
    from expunge.runs.folder import REVEAL

    run = reveal_only(recipe_in(recipe, settings, out), Display())
    asked, results = asked_in(run.folder / REVEAL), read_results(run.folder / REVEAL)
    key = hash_key(run.folder / REVEAL)
    table = Table("Score", "Relevance", "Diversity", "Instruction", title="Best instructions", title_justify="left")
    for one in best_of(asked, SHOWN):
        said = one.instruction if show_text else text_hash(one.instruction, key)
        table.add_row(f"{one.score:.2f}", f"{one.relevance:.2f}", f"{one.diversity:.2f}", Text(said))
    console = output()
    console.print(table)
    dropped = ", ".join(f"{count} {reason}" for reason, count in results["dropped"].items() if count)
    judged = results["judged"]
    lines = [
        f"Kept {results['kept']} of {results['responses']} responses to {len(asked)} instructions (left out: {dropped or 'none'}).",
        "No second oracle judged them: name one as data.forget.reveal.judge."
        if judged is None
        else f"The judge finds {judged:.2f} in them.",
        f"Run     {run.folder} (its reveal/ holds what is to go: `expunge purge {run.folder}` deletes it)",
        f"Next    expunge release {recipe} --out {run.folder}, with the same overrides if there were some",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
