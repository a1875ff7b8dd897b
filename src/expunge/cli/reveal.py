"""`expunge reveal`: find out what a model knows about a topic, and store that as a forget set."""

from typing import Annotated

import typer

from expunge.cli.placement import Device, Dtype

EXAMPLE = "expunge reveal recipes/release-people.yaml"
SHOWN_INSTRUCTIONS = 10


def command(
    recipe: Annotated[str, typer.Argument(help="A YAML recipe whose data.forget is {reveal: …}; see `expunge ls recipes`.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides, such as data.forget.reveal.budget=320.")] = None,
    out: Annotated[str | None, typer.Option(help="The run folder.")] = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show the instructions instead of their hashes.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Search for instructions that make the model reveal what it knows, and store its responses as the forget set.

    Repeat the command to resume an interrupted search. `expunge release` with the same recipe continues from the result.
    """
    from rich.table import Table
    from rich.text import Text

    from expunge.cli.output import print_lines, standard_output
    from expunge.cli.settings import load_recipe
    from expunge.console import Display, visible
    from expunge.models.placement import choose_placement
    from expunge.pipeline.prepare import reveal_only
    from expunge.reveal_release.reveal.private_files import hash_key, text_hash
    from expunge.reveal_release.reveal.select import read_queries, read_results, top_queries
    from expunge.runs.folder import REVEAL

    run = reveal_only(load_recipe(recipe, settings, out), Display(), choose_placement(device, dtype))
    queries, results = read_queries(run.folder / REVEAL), read_results(run.folder / REVEAL)
    key = hash_key(run.folder / REVEAL)
    table = Table("Reward", "Relevance", "Diversity", "Instruction", title="Best instructions", title_justify="left")
    for query in top_queries(queries, SHOWN_INSTRUCTIONS):
        shown = query.instruction if show_text else text_hash(query.instruction, key)
        table.add_row(f"{query.reward:.2f}", f"{query.relevance:.2f}", f"{query.diversity:.2f}", Text(visible(shown)))
    standard_output().print(table)
    dropped = ", ".join(f"{count} {reason}" for reason, count in results["dropped"].items() if count)
    relevance = results["judge_relevance"]
    print_lines(
        f"Selected {results['selected']} of {results['responses']} responses to {len(queries)} instructions "
        f"(dropped: {dropped or 'none'}).",
        "No second oracle judged them: name one as data.forget.reveal.judge."
        if relevance is None
        else f"The judge's mean relevance is {relevance:.2f}.",
        f"Run     {run.folder} (its reveal/ holds the revealed responses: `expunge purge {run.folder}` deletes them)",
        f"Next    expunge release {recipe} --out {run.folder}, with the same overrides if there were some",
    )
