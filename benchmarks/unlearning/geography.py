"""Forget the capitals of one continent of five: RMU with GRUN, LoRA and full weights; write the table into docs/results/.

    python -m benchmarks.unlearning.geography [--continent Africa] [--methods NAME …] [--write]

A harmless replacement for WMDP. Statements about 87 capitals (plain texts: the first 80 % of the tokens are the prompt) are taught to
the embedded model first, which knows about half of them; then the texts of one continent are forgotten, those of the others
retained. The evaluation asks for every capital and for every country in other words than the texts, with three wrong answers from
the same continent. It chooses by the likelihood of the option text (lm-evaluation-harness' `acc_norm`): chance is 25 %.
"""

import argparse
import time
from pathlib import Path
from typing import Any, cast

from torch import nn

from benchmarks.common.capitals import STATEMENTS, questions, read_places, statements
from benchmarks.common.results import measured_on, write
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question
from expunge.data.records import write_records
from expunge.documents import read_yaml
from expunge.metrics.choices import by_text, is_right, option_nll
from expunge.metrics.statistics import proportion_ci
from expunge.models.loading import load
from expunge.pipeline.teach import Stage, teach
from expunge.pipeline.unlearn import unlearn
from expunge.runs.loaded import load_run, open_run

EPOCHS = 3
POOLED = {"edit": {"name": "grun", "gate_pool": "top2", "rank": 4, "positions": "last_prompt"}}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "grun x rmu (published)": ("grun-rmu", {}),
    "grun x rmu, pooled gate first (ours)": ("grun-rmu", POOLED),
    "lora x rmu (published RMU settings)": ("lora-rmu", {"training": {"epochs": 4}}),
    "full x rmu (published RMU settings)": ("full-rmu", {"training": {"epochs": 4}}),
    "lora x rmu (c 300, alpha 30, lr 1e-3)": (
        "lora-rmu",
        {"objective": {"coefficient": 300.0, "retain_weight": 30.0}, "training": {"epochs": 4, "lr": 1e-3}},
    ),
    "full x rmu (c 300, alpha 30, lr 5e-4)": (
        "full-rmu",
        {"objective": {"coefficient": 300.0, "retain_weight": 30.0}, "training": {"epochs": 4, "lr": 5e-4}},
    ),
}
MARK = "<!-- geography -->"


def main() -> None:
    """Teach, unlearn, evaluate, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--continent", default="Africa")
    parser.add_argument("--out", type=Path, default=Path("runs/geography"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    forget, others = ([p for p in read_places() if (p["continent"] == args.continent) is chosen] for chosen in (True, False))
    args.out.mkdir(parents=True, exist_ok=True)
    texts = {"forget": statements(forget), "retain": statements(others)}
    for name, records in texts.items():
        write_records(args.out / f"{name}.jsonl", records)
    quiz = {"forget": questions(forget), "retain": questions(others)}
    taught = teach(args.model, [Stage("geography", texts["forget"] + texts["retain"], EPOCHS)], display)["geography"]
    lines = []
    for name, folder in {args.model: args.model, "original (taught)": taught}.items():
        model, tokenizer = load(folder)
        lines.append(row(name, model.eval(), PromptBuilder(tokenizer), quiz, ""))
        display.print(lines[-1])
    for name in args.methods:
        recipe, more = METHODS[name]
        display.print(f"== {name}")
        run = unlearn(make_recipe(settings(recipe, more, taught, args.out / recipe_folder(name))), display)
        loaded = load_run(open_run(run.folder))
        model, builder = loaded.model, loaded.builder
        lines.append(row(name, model, builder, quiz, f"{run.read_info()['seconds']:.0f} s"))
        display.print(lines[-1])
    head = f"| model | {args.continent} (n {len(quiz['forget'])}) | others (n {len(quiz['retain'])}) | training |"
    table = "\n".join([head, "|---" * 4 + "|", *lines])
    text = f"{table}\n\n{facts(args, time.monotonic() - started)}\n"
    print(text)
    if args.write:
        write(MARK, text)


def settings(recipe: str, more: dict[str, Any], model: Path, out: Path) -> dict[str, Any]:
    """Return the settings of a shipped recipe with this study's model, data and changes."""
    given = read_yaml(f"recipes/{recipe}.yaml")
    for section, values in more.items():
        given[section] = {**given.get(section, {}), **values}
    files = {name: str(out.parent / f"{name}.jsonl") for name in ("forget", "retain")}
    return {**given, "model": str(model), "data": files, "out": str(out)}


def recipe_folder(name: str) -> str:
    """Return the folder name of a method's run."""
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")


def row(name: str, model: nn.Module, builder: PromptBuilder, quiz: dict[str, list[Question]], took: str) -> str:
    """Return a row of the table: the accuracy on both sets, with Wilson intervals."""
    cells = []
    for quiz_set in quiz.values():
        nll = option_nll(model, builder.tokenizer, quiz_set, by_text, builder.pad)
        right = sum(is_right(question, by_text, option) for question, option in zip(quiz_set, nll, strict=True))
        low, high = cast(tuple[float, float], proportion_ci(right, len(quiz_set)).ci95)
        cells.append(f"{right / len(quiz_set):.1%} ({low:.1%}–{high:.1%})")
    return f"| {name} | {' | '.join(cells)} | {took} |"


def facts(args: argparse.Namespace, seconds: float) -> str:
    """Return date, machine, package versions and command."""
    return (
        f"{measured_on()}; model {args.model}; {len(STATEMENTS)} statements a capital, taught for {EPOCHS} epochs; this call took "
        f"{seconds / 60:.0f} min. Command: `python -m benchmarks.unlearning.geography --continent {args.continent} --write`."
    )


if __name__ == "__main__":
    main()
