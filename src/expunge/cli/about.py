"""`unlearn --about`: what the model reveals about a name or a topic is shown first, and trained on only after a yes."""

from __future__ import annotations

import hashlib
import shlex
import sys
from typing import TYPE_CHECKING, Any

import typer

from expunge.cli.output import print_lines
from expunge.errors import InputError, quoted

if TYPE_CHECKING:
    from expunge.config.recipe import Recipe
    from expunge.runs.folder import Run

SHOWN = 8
"""Revealed records that are shown."""
SHOWN_CHARS = 300


def forget_setting(forget: str | None, about: str | None, yes: bool, reads_file: bool) -> str | dict[str, Any]:
    """Return the value of `data.forget` from the options, of which exactly one must be given.

    Args:
        forget: the option --forget.
        about: the option --about.
        yes: the option --yes.
        reads_file: whether an option tells how to read the forget file.

    Raises:
        InputError: both or none are given, or another option does not fit the one that is given.
    """
    from expunge.config.about import reveal_about

    if about is not None and forget is not None:
        raise InputError("--about and --forget exclude each other; give the file that holds the forget set, or the name of what to forget")
    if about is None and forget is None:
        raise InputError('--forget is missing; give the file that holds the forget set, or only a name or a topic: --about "Ada Lund"')
    if yes and about is None:
        raise InputError("--yes belongs to --about; with --forget there is no question, so leave it out")
    if about is not None and reads_file:
        raise InputError("--forget-map and --forget-split tell how to read a file; with --about there is none, so leave them out")
    return str(forget) if about is None else reveal_about(about)


def with_folder(recipe: Recipe, about: str) -> Recipe:
    """Return a recipe with a run folder for this name or topic, unless one was given. A hash names it, since everybody may list folders."""
    from expunge.runs.folder import default_folder

    name = f"about-{hashlib.sha256(' '.join(about.split()).encode()).hexdigest()[:8]}"
    return recipe if recipe.out else recipe.model_copy(update={"out": default_folder(recipe, name)})


def reveal_and_ask(recipe: Recipe, about: str, yes: bool, device: str, dtype: str) -> bool:
    """Have the model reveal what it knows, print a sample of it, and return whether to train on it.

    At a terminal the user is prompted. Without one, with several processes, or after a no, the command that trains is printed.
    """
    from accelerate import PartialState

    from expunge.console import Display
    from expunge.models.placement import choose_placement
    from expunge.pipeline.prepare import reveal_only

    run, ranks = reveal_only(recipe, Display(), choose_placement(device, dtype)), PartialState()
    if run.read_info()["status"] != "training":
        return True
    if ranks.is_main_process:
        count = _print_revealed(run, about)
        if not yes and ranks.num_processes == 1 and sys.stdin.isatty():
            yes = typer.confirm(f"Train the model to forget these {count} answers?")
        if not yes:
            again = " ".join(["expunge", *map(shlex.quote, sys.argv[1:]), "--yes"])
            print_lines("Nothing is trained yet. To train, repeat the command with --yes:", f"Next    {again}")
    return yes


def _print_revealed(run: Run, about: str) -> int:
    """Print what was found, how many, and where it is; return how many."""
    from expunge.reveal_release.reveal.select import read_queries, read_results
    from expunge.runs.folder import REVEAL, REVEALED
    from expunge.runs.generated import read_revealed

    folder = run.folder / REVEAL
    if not (folder / REVEALED).exists():
        raise InputError(f"{run.folder}: what was revealed is gone (`expunge purge` deletes it); reveal again with another --out")
    records, results = read_revealed(folder), read_results(folder)
    dropped = ", ".join(f"{count} {reason}" for reason, count in results["dropped"].items() if count)
    print_lines(f"About {quoted(about)} the model got {len(read_queries(folder))} questions. Some of its answers:", "")
    # From the most to the least relevant, evenly.
    for record in records[:: max(1, len(records) // SHOWN)][:SHOWN]:
        answer = " ".join(record.answer.split())
        print_lines(f"  {record.prompt}", f"      {answer[:SHOWN_CHARS]}{'…' if len(answer) > SHOWN_CHARS else ''}")
    print_lines(
        "",
        f"Of {results['responses']} answers {len(records)} are the forget set (dropped: {dropped or 'none'}). They may be wrong: a model "
        "answers fluently about anything. What is not in them is not forgotten.",
        f"Found   {folder / REVEALED}, readable by you alone; delete lines that the model should go on answering",
    )
    return len(records)
