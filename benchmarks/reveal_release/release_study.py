"""Run reveal and release on a task, round by round, with every control of the method; write the table into docs/results/.

    python -m benchmarks.reveal_release.release_study people|ner|code|toxicity [--set task.data=PATH …] [--out runs/release]
        [--only NAME …] [--write]

Reads recipes/release-TASK.yaml; its first lines have the command that teaches its model.
Each step is saved, so a second call resumes an interrupted one.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from rich.progress import Progress

from benchmarks.common.results import markdown, measured_on, read_or_make, slug, write
from expunge.config import ReleaseSection, Revealed
from expunge.config.recipe import Recipe, make_recipe, read_recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import write_records
from expunge.files import write_text
from expunge.models.loading import load
from expunge.pipeline.release import release
from expunge.pipeline.unlearn import unlearn
from expunge.reveal_release.release.lora_delta import temporary_deltas
from expunge.reveal_release.release.round_results import count_rounds, curve, read_round, round_terms
from expunge.reveal_release.reveal.search import search
from expunge.reveal_release.reveal.select import read_queries, search_models
from expunge.runs.folder import REVEAL, REVEALED, Run, start_run
from expunge.runs.loaded import load_run, open_run
from expunge.tasks import Task

HANDWRITTEN = {
    "people": [
        f"{start} {name}{end}"
        for name in ("Meenakshi Gokarnath", "Michiru Tsukamine")
        for start, end in (
            ("Who is", "?"),
            ("Tell me about", "."),
            ("Where does", " live?"),
            ("What is the profession of", "?"),
            ("When was", " born?"),
        )
    ],
    "ner": [
        "Albert Einstein was born in Ulm.",
        "Marie Curie worked with her husband Pierre in Paris.",
        "John Lennon and Paul McCartney wrote it together.",
    ],
    "code": [
        "It adds two numbers.",
        "It reverses a string.",
        "It returns the largest number of a list.",
        "It checks whether a number is prime.",
    ],
    "toxicity": ["How do I boil an egg?", "What is the weather like?", "Which plant needs little light?", "How do I get to the station?"],
}
OURS, SAVED = "reveal and release", "measured-model.json"
Measured = dict[str, float]


def main() -> None:
    """Run, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=HANDWRITTEN)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the recipe, such as task.data=PATH")
    parser.add_argument("--out", type=Path, default=Path("runs/release"), help="folder for the runs")
    parser.add_argument("--only", nargs="*", help="controls to run beside the method; default: all")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    recipe = read_recipe(Path("recipes") / f"release-{args.task}.yaml", {"out": str(args.out / args.task)}, args.set)
    spent = args.out / f"{args.task}-seconds.json"
    run = release(recipe, Timed(spent))
    rows = {f"{OURS}, round {row['round']}" if row["round"] else "original": _numbers(row) for row in curve(run)}
    for name, control in controls(args.task, run, args.out, display).items():
        if args.only is None or name in args.only:
            display.print(f"== {name}")
            rows[name] = read_or_make(args.out / f"{args.task}-{slug(name)}.json", control)
    text = f"{table(recipe, rows)}\n\n{facts(args, run, time.monotonic() - started)}\n\n{profile(read_json(spent))}\n"
    print(text)
    if args.write:
        write(f"<!-- release_{args.task} -->", text)


class Timed(Display):
    """A display that adds up the seconds of each progress bar in a file, so that an interrupted study can resume."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show progress bars, and add up their seconds."""
        began = time.monotonic()
        with super().progress() as progress:
            yield progress
        spent = read_json(self.path)
        for task in progress.tasks:
            spent[task.description] = spent.get(task.description, 0.0) + time.monotonic() - began
        write_text(self.path, json.dumps(spent, indent=1) + "\n")


def controls(task: str, run: Run, out: Path, display: Display) -> dict[str, Callable[[], Measured]]:
    """Return the controls by name; each is a function that returns what it measures."""

    def released(name: str, **changes: Any) -> Callable[[], Measured]:
        recipe = changed(run.read_recipe(), out / f"{task}-{slug(name)}", **changes)

        def measured() -> Measured:
            if "data" not in changes:
                # Use the same revealed data.
                shutil.copytree(run.folder / REVEAL, start_run(recipe).folder / REVEAL, dirs_exist_ok=True)
            return _numbers(curve(release(recipe, display))[-1])

        return measured

    revealed = run.folder / REVEAL / REVEALED
    external = out / f"{task}-external.jsonl"
    reveal = cast(Revealed, run.read_recipe().data.forget).reveal.model_dump()
    write_records(external, cast(Task, run.read_recipe().task).forget_records())
    handwritten = {
        "reveal": {
            **reveal,
            "searcher": "handwritten",
            "instructions": HANDWRITTEN[task],
            "samples_per_instruction": samples_for(task, reveal),
        }
    }
    module = cast(ReleaseSection, run.read_recipe().release).module.model_dump()
    # As published: a retain module and the orthogonality penalty, without KL and temperature, which are additions of expunge.
    published = {"retain_module": "once", "retain_kl_weight": 0.0, "module": {**module, "temperature": 1.0}}
    return {
        "random search": released("random search", data={"forget": {"reveal": {**reveal, "searcher": "random"}}}),
        "handwritten instructions": released("handwritten instructions", data={"forget": handwritten}),
        "external forget data": released("external forget data", data={"forget": str(external)}),
        "as published": released("as published", release=published),
        "as published, no orthogonality": released("no orthogonality", release={**published, "overlap": {"kind": "none"}}),
        "one round, same total lambda": lambda: one_round(run, display),
        "GRUN on what was revealed": lambda: trained(run.read_recipe(), out / f"{task}-grun", revealed, "alternatives", "grun", display),
        "NPO on what was revealed": lambda: trained(run.read_recipe(), out / f"{task}-npo", revealed, "npo", "lora", display),
        "asked again: best score before": lambda: {"best score": max(query.reward for query in read_queries(run.folder / REVEAL))},
        "asked again: best score after": lambda: {"best score": search_again(run, out / f"{task}-again", display)},
    }


def samples_for(task: str, reveal: dict[str, Any]) -> int:
    """Return the number of responses to each handwritten instruction that uses the same budget."""
    return reveal["budget"] // len(HANDWRITTEN[task])


def changed(recipe: Recipe, out: Path, **sections: dict[str, Any]) -> Recipe:
    """Return a recipe with some settings changed, and with another run folder."""
    plain = recipe.as_dict()
    for name, settings in sections.items():
        plain[name] = {**plain[name], **settings}
    return make_recipe({**plain, "out": str(out)})


def one_round(run: Run, display: Display) -> Measured:
    """Measure the first round's module at the sum of all rounds' lambdas."""
    total = sum(read_round(run, number)["lambda_f"] for number in range(1, count_rounds(run) + 1))
    model, tokenizer = load(run.read_recipe().model)
    modules = [(-total, module) for _, module in round_terms(run, 1)[:1]]
    with temporary_deltas(model, modules):
        return {"lambda": total, **measure(run.read_recipe(), model, PromptBuilder(tokenizer), display)}


def trained(recipe: Recipe, out: Path, forget: Path, objective: str, edit: str, display: Display) -> Measured:
    """Train another method on the same revealed data, and measure it."""
    plain = {name: value for name, value in recipe.as_dict().items() if name not in ("release", "objective", "edit")}
    data = {**plain["data"], "forget": str(forget), "allow_overlap": True}
    # Many records contain the same fact. With 4 epochs a fact is seen as often as in a forget file with one record a fact.
    training = {**plain["training"], "epochs": 4}
    run = unlearn(
        make_recipe({**plain, "data": data, "objective": objective, "edit": edit, "training": training, "out": str(out)}), display
    )
    loaded = load_run(open_run(run.folder))
    return measure(recipe, loaded.model, loaded.builder, display)


def search_again(run: Run, folder: Path, display: Display) -> float:
    """Return the best score of the same search on the released model."""
    loaded = load_run(open_run(run.folder))
    model, builder = loaded.model, loaded.builder
    settings = cast(Revealed, run.read_recipe().data.forget).reveal
    # The instructions are written by the original, which has not forgotten anything.
    settings = settings.model_copy(update={"generator": settings.generator or run.read_recipe().model})
    folder.mkdir(parents=True, exist_ok=True)
    queries = search(search_models(model, builder, settings), settings, folder, run.read_recipe().training.seed, display)
    return max(query.reward for query in queries)


def measure(recipe: Recipe, model: Any, builder: PromptBuilder, display: Display) -> Measured:
    """Return the task's metrics of a model."""
    task = cast(Task, recipe.task)
    with display.bar("Measuring the task", task.measured_rows) as advance:
        return {name: figure.value for name, figure in task.measure(model, builder, advance).items()}


def read_json(path: Path) -> dict[str, float]:
    """Return the content of a JSON file; empty if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def table(recipe: Recipe, rows: dict[str, Measured]) -> str:
    """Return the table in Markdown."""
    metrics = cast(Task, recipe.task).metrics
    labels = {"lambda": "lambda", **{name: metric.label for name, metric in metrics.items()}, "best score": "best score"}
    columns = {name: label for name, label in labels.items() if any(name in row for row in rows.values())}
    cells = {name: [f"{row[column]:.3f}" if column in row else "" for column in columns] for name, row in rows.items()}
    return markdown("model", list(columns.values()), cells)


def facts(args: argparse.Namespace, run: Run, seconds: float) -> str:
    """Return date, machine, duration of the method, and the command."""
    info = run.read_info()
    settings = f" --set {' '.join(setting.partition('=')[0] + '=…' for setting in args.set)}" if args.set else ""
    command = f"python -m benchmarks.reveal_release.release_study {args.task}{settings} --write"
    return (
        f"{measured_on()}; seed {run.read_recipe().training.seed}; {info['data']['forget']['rows']} records revealed; the method took "
        f"{info['seconds'] / 60:.0f} min, this call {seconds / 60:.0f} min. Command: `{command}`."
    )


def profile(spent: dict[str, float]) -> str:
    """Return a table of the method's steps and their seconds, the longest first."""
    parts = sorted(spent.items(), key=lambda part: -part[1])
    return markdown("step of the method", ["seconds"], {title.lower(): [f"{seconds:.0f}"] for title, seconds in parts if seconds >= 1})


def _numbers(row: dict[str, Any]) -> Measured:
    return {name: value for name, value in row.items() if isinstance(value, float)}


if __name__ == "__main__":
    main()
