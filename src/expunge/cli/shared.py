"""What the verbs share: settings from options, the way from a recipe to an audited run, the closing lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expunge.console import Display
from expunge.errors import InputError

# Only their names are needed here; torch comes with them, and `expunge validate` has no use for it.
if TYPE_CHECKING:
    from expunge.config.recipe import Recipe
    from expunge.runs.folder import Run


PIPED_WIDTH = 110


def named_settings(options: dict[str, Any], field_map: list[str]) -> dict[str, Any]:
    """Dotted settings from the options that were given.

    Raises:
        InputError: a `--map` without `=`.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for entry in field_map:
        ours, sign, theirs = entry.partition("=")
        if not sign:
            raise InputError(f"--map {entry}: write ours=theirs, such as --map prompt=instruction")
        given[f"data.map.{ours}"] = theirs
    return given


def recipe_in(path: str, settings: list[str] | None, out: str | None, release: bool = False) -> Recipe:
    """A recipe file with overrides; its run is called after it where it names none.

    Raises:
        InputError: the file or an override is faulty.
    """
    from pathlib import Path

    from expunge.config.recipe import read_recipe
    from expunge.files import read_yaml

    given = read_yaml(path)
    named: dict[str, Any] = {"out": out or f"runs/{Path(path).stem}"} if out or "out" not in given else {}
    if release and given.get("release") is None:
        named["release"] = {}
    return read_recipe(path, named, settings or [])


def show_rounds(console: Console, run: Run) -> None:
    """A release's rounds as a table."""
    from expunge.reveal_release.release.rounds import curve

    rows = curve(run)
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None and name != "round")
    titles = [f"round {row['round']}" if row["round"] else "original" for row in rows]
    table = Table("", *titles, title="Round by round", title_justify="left")
    for name in names:
        values = [row.get(name) for row in rows]
        shown = [f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value) for value in values]
        table.add_row(name.replace("_", " "), *map(Text, shown))
    console.print(table)


def finish(recipe: Recipe, audited: bool) -> Run:
    """Train, or release in rounds where the recipe says so, audit, and say where the result is."""
    from accelerate import PartialState

    from expunge.pipeline.release import release
    from expunge.pipeline.unlearn import unlearn

    display = Display()
    run = unlearn(recipe, display) if recipe.release is None else release(recipe, display)
    if not PartialState().is_main_process:
        return run
    if audited:
        from expunge.auditing.audit import audit

        audit(run, display)
        show_table(run)
    closing(run, f"Forgot {run.info['data']['forget']['rows']} records in {duration(run.info['seconds'])}.")
    return run


def output() -> Console:
    """Standard output; wide enough for the audit's table where it is no terminal, whose width nobody knows."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)


def show_table(run: Run) -> None:
    """The audit's table on standard output."""
    from expunge.reporting.table import print_table

    print_table(output(), run.summary)


def show_verdict(rows: list[dict[str, Any]]) -> None:
    """A verdict's rows on standard output."""
    table = Table("Verdict", "Row", "Unlearned", "Control", "Original", "Why", title="Verdict", title_justify="left")
    colours = {"pass": "green", "fail": "bold red", "not shown": "yellow"}
    for row in rows:
        numbers = ["" if row[model] is None else f"{row[model]['value']:.3f}" for model in ("unlearned", "control", "original")]
        table.add_row(Text(row["verdict"], style=colours[row["verdict"]]), *map(Text, (row["name"], *numbers, row["reason"])))
    output().print(table)


def closing(run: Run, done: str) -> None:
    """The last lines of a verb: what was done, where it is, what to type next."""
    console = Console()
    if (run.folder / "report.html").exists():
        from expunge.reporting.metric_rows import headline

        lines = [f"{done} {headline(run.summary)}", f"Report  {run.folder / 'report.html'}", f"Next    expunge chat {run.folder}"]
    else:
        lines = [done, f"Run     {run.folder}", f"Next    expunge audit {run.folder}"]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """1 min 12 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def show_answers(console: Console, rows: list[dict[str, Any]], questions: dict[str, str], of_set: str, at_most: int, title: str) -> None:
    """Some questions of a set with the answers before and after, from the rows of an audit."""
    answers = {(row["id"], row["model"]): row["answer"] for row in rows if row["set"] == of_set}
    ids = list(dict.fromkeys(row_id for row_id, _ in answers))
    table = Table("Question", "Before", "After", title=f"Answers {title}", title_justify="left", expand=True)
    for row_id in ids[:at_most]:
        table.add_row(*(Text(text) for text in (questions[row_id], answers[row_id, "original"], answers[row_id, "unlearned"])))
    console.print(table)
