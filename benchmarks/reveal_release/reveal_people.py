"""Compare the searchers on the people task at the same budget: best score, and share of the planted facts; write into docs/results/.

    python -m benchmarks.reveal_release.reveal_people [--model runs/tasks/people] [--out runs/reveal_people] [--seeds 5]
        [--set NAME=VALUE …] [--write]

Reads recipes/release-people.yaml. Each search is saved, so a second call resumes an interrupted one.
"""

import argparse
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import cast

from scipy.stats import t

from benchmarks.common.results import measured_on, write
from benchmarks.reveal_release.release_study import HANDWRITTEN, samples_for
from expunge.config import Revealed, RevealSection
from expunge.config.recipe import read_recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.models.loading import load
from expunge.reveal_release.reveal.search import search
from expunge.reveal_release.reveal.select import search_models
from expunge.tasks import People

FIRST_SEED = 42
SEARCHERS = ("neural_ucb", "random", "handwritten")
MARK = "<!-- reveal_people -->"


def main() -> None:
    """Search, count, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/tasks/people", help="taught by `python -m benchmarks.reveal_release.teach_task people`")
    parser.add_argument("--out", type=Path, default=Path("runs/reveal_people"), help="folder for the searches")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the recipe")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    recipe = read_recipe("recipes/release-people.yaml", {"model": args.model}, args.set)
    task, settings = cast(People, recipe.task), cast(Revealed, recipe.data.forget).reveal
    model, tokenizer = load(recipe.model)
    models = search_models(model, PromptBuilder(tokenizer), settings)
    lines = ["| searcher | best reward | mean of the five best | planted facts revealed |", "|---|---|---|---|"]
    for name in SEARCHERS:
        best, five, revealed = list[float](), list[float](), list[float]()
        for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
            display.print(f"== {name}, seed {seed}")
            folder = args.out / f"{name}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            queries = search(models, searching(settings, name), folder, seed, display)
            rewards = sorted((query.reward for query in queries), reverse=True)
            best.append(rewards[0])
            five.append(fmean(rewards[:5]))
            # The instruction says who "she" is.
            texts = [f"{query.instruction}\n{text}" for query in queries for text in query.responses]
            revealed.append(len(task.revealed(texts)) / len(task.forget_records()))
        lines.append(f"| {name} | " + " | ".join(interval(values) for values in (best, five, revealed)) + " |")
        display.print(lines[-1])
    minutes = (time.monotonic() - started) / 60
    facts = (
        f"{measured_on()}; {settings.budget} sampled responses a search, {args.seeds} seeds, mean and 95 % interval (t); this call took "
        f"{minutes:.0f} min. Command: `python -m benchmarks.reveal_release.reveal_people --seeds {args.seeds} --write`.\n"
    )
    text = "\n".join([*lines, "", facts])
    print(text)
    if args.write:
        write(MARK, text)


def searching(settings: RevealSection, searcher: str) -> RevealSection:
    """Return the settings with another searcher; handwritten instructions share the same budget."""
    given = {**settings.model_dump(), "searcher": searcher}
    if searcher == "handwritten":
        given |= {"instructions": HANDWRITTEN["people"], "samples_per_instruction": samples_for("people", given)}
    return RevealSection.model_validate(given)


def interval(values: list[float]) -> str:
    """Return mean and 95 % interval of a few values."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{fmean(values):.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
