"""Evaluate gates for people, two topics, a kind of task and free text; write the table into docs/results/.

    python -m benchmarks.gate.kinds --data DIR [--rows 24] [--kinds NAME …] [--seeds 1] [--write]

DIR holds humaneval/HumanEval.jsonl.gz, gsm8k/test.jsonl and wikigold/wikigold.conll.txt. The gates read frozen hidden states of a
model that was taught nothing. Each is evaluated on records of the same kind that it was not trained on:

people      forget: four of twenty invented people; retain: the others; evaluated on paraphrases, and on four further people
topic       forget: statements about African capitals; retain: about other capitals; evaluated on questions in other words
cooking     forget: questions about sourdough bread, a topic without names; retain: about other cooking; evaluated on further ones
task        forget: Python functions to complete (HumanEval); retain: word problems (GSM8K); evaluated on further ones
free text   forget: the first half of some encyclopaedia articles (Wikigold); retain: of others; evaluated on the second halves
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import yaml

from benchmarks.common.baking import sourdough
from benchmarks.common.capitals import questions, read_places, statements
from benchmarks.common.results import markdown, measured_on, write
from benchmarks.gate.ablation import Reader
from benchmarks.gate.counts import Counts, percent
from expunge.config import DataSection, EditSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.people import people
from expunge.data.prompt_templates import read_prompt_templates
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.set_names import FORGET, GENERAL, INSTRUCTIONS, OTHER_NAMES, RETAIN
from expunge.gating.eval_prompts import AS_GIVEN, eval_groups
from expunge.gating.fit import FittedGate, fit_on_states, gate_blocks, mean_gate_logits
from expunge.gating.state_store import stored_input
from expunge.gating.training_prompts import GatePrompts, gate_prompts
from expunge.models.blocks import context_length
from expunge.models.loading import load
from expunge.runs.cutting import make_cutter
from expunge.runs.splits import Splits, cut_and_split, draw

SEED = 42
MARK = "<!-- gate_kinds -->"
ARTICLES, LEAST_SENTENCES, MOST_RETAIN = 24, 8, 240
Split = tuple[list[Record], list[Record], list[Record], list[Record]]
"""Forget and retain records for training, then forget and retain records for the evaluation."""


def people_to_forget(data: Path) -> Split:
    """Return four of twenty people to forget; evaluated on paraphrases, and on four further people."""
    everyone = people(24)
    return everyone[:40], everyone[40:200], paraphrased(everyone[:40]), paraphrased(everyone[200:])


def topic(data: Path) -> Split:
    """Return texts about the capitals of Africa and of other continents; evaluated on questions."""
    forget, retain = ([p for p in read_places() if (p["continent"] == "Africa") is african] for african in (True, False))
    eval_sets = [[Record(q.id, (Turn("user", q.question),), q.choices[q.answer]) for q in questions(places)] for places in (forget, retain)]
    return statements(forget), statements(retain), eval_sets[0], eval_sets[1]


def task(data: Path) -> Split:
    """Return functions to write and word problems to solve, each split in two halves."""
    with gzip.open(data / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        code = [Record(row["task_id"], (Turn("user", row["prompt"]),), row["canonical_solution"]) for row in map(json.loads, file)]
    lines = (data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    maths = [Record(f"gsm8k-{i}", (Turn("user", row["question"]),), row["answer"]) for i, row in enumerate(map(json.loads, lines))]
    return code[::2], maths[::2], code[1::2], maths[1::2]


def free_text(data: Path) -> Split:
    """Return the first half of some articles, and of others; evaluated on passages of their second halves."""
    lines = (data / "wikigold" / "wikigold.conll.txt").read_text(encoding="utf-8").splitlines()
    articles: list[list[str]] = [[]]
    for blank, words in groupby(lines, key=lambda line: not line.strip()):
        tokens = [] if blank else [line.split()[0] for line in words]
        if tokens == ["-DOCSTART-"]:
            articles.append([])
        elif tokens:
            articles[-1].append(" ".join(tokens))
    long = [article for article in articles if len(article) >= LEAST_SENTENCES][: 4 * ARTICLES]
    forget, retain = long[:ARTICLES], long[ARTICLES:]
    given = [[Record(str(n), (), " ".join(a[: len(a) // 2])) for n, a in enumerate(part)] for part in (forget, retain)]
    unseen = [[passage for n, a in enumerate(part) for passage in passages(n, a[len(a) // 2 :])] for part in (forget, retain)]
    return given[0], given[1], unseen[0], unseen[1]


def passages(article: int, sentences: Sequence[str]) -> list[Record]:
    """Return passages of three sentences each, of which two are the prompt."""
    parts = [(" ".join(sentences[i : i + 2]), " ".join(sentences[i : i + 3])) for i in range(0, len(sentences) - 2, 3)]
    return [Record(f"{article}-{i}", (), text, prompt_chars=len(given)) for i, (given, text) in enumerate(parts)]


def cooking(data: Path) -> Split:
    """Return questions about sourdough bread and about other cooking; evaluated on other questions."""
    return sourdough()


KINDS: dict[str, Callable[[Path], Split]] = {
    "people": people_to_forget,
    "topic": topic,
    "cooking": cooking,
    "task": task,
    "free text": free_text,
}


def main() -> None:
    """Train and evaluate the gates of each kind, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=1, help="gates of each kind, each with a seed of its own")
    parser.add_argument("--rows", type=int, default=24, help="records of a set in the evaluation")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="of the recipe's section edit")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    model, tokenizer = load(args.model)
    builder = PromptBuilder(tokenizer)
    edit = EditSection.model_validate({name: yaml.safe_load(value) for name, _, value in (given.partition("=") for given in args.setting)})
    rows: dict[str, list[str]] = {}
    for kind in args.kinds:
        blocks = gate_blocks(model, edit, "texts" if kind == "free text" else "topic")
        reader = Reader(model, blocks, builder.pad, display, partial(stored_input, settings=edit))
        counts, sizes, lowered = Counts(), "", False
        for seed in range(SEED, SEED + args.seeds):
            gate_set, fitted = evaluate(counts, KINDS[kind](args.data), reader, builder, edit, seed, args.rows)
            sizes, lowered = f"{len(gate_set.forget)} + {len(gate_set.negatives)}", lowered or fitted.threshold.lowered
        rows[kind] = [*cells(counts), sizes + (", no rate guaranteed" if lowered else "")]
        display.print(f"{kind}: {', '.join(rows[kind])}")
    text = f"{markdown('forget set', COLUMNS, rows)}\n\n{facts(args, time.monotonic() - started)}\n"
    print(text)
    if args.write:
        write(MARK, text)


def evaluate(
    counts: Counts, sets: Split, reader: Reader, builder: PromptBuilder, edit: EditSection, seed: int, rows: int
) -> tuple[GatePrompts, FittedGate]:
    """Train a gate, count how often it opens, and return its prompts and the gate."""
    forget, retain, eval_forget, eval_retain = sets
    recipe = Recipe(data=DataSection(forget="", retain=""), edit=edit, training=TrainingSection(seed=seed))
    cutter = make_cutter(lambda: builder, recipe.data, context_length(reader.model))
    splits = cut_and_split(cutter, forget, draw(retain, MOST_RETAIN, seed), recipe)[0]
    evaluated = Splits(eval_forget, splits.retain, [], eval_retain)
    groups = eval_groups(builder, evaluated, {}, read_prompt_templates(), rows)
    gate_set = gate_prompts(builder, splits, edit.gate_augmentations, 8192, seed)
    fitted = fit_on_states(gate_set, reader.read(gate_set.all), edit, seed)
    eval_states = reader.read([ids for group in groups for ids in group.prompts.values()])
    opened = mean_gate_logits(fitted.gate, fitted.kind.pool, eval_states) >= fitted.threshold.logit
    counts.add(groups, opened.tolist())
    return gate_set, fitted


COLUMNS = (
    "unseen wording",
    "mean of the English variants",
    "worst of them",
    "FP: retain",
    "retain, all variants",
    "instructions, all variants",
    "general",
    "other names",
    "training prompts",
)


def cells(counts: Counts) -> list[str]:
    """Return the cells of one kind but the last."""
    english = counts.english()
    worst = min(english, key=lambda variant: english[variant], default="")
    groups = [(RETAIN, AS_GIVEN), (RETAIN,), (INSTRUCTIONS,), (GENERAL, AS_GIVEN), (OTHER_NAMES, AS_GIVEN)]
    return [
        percent(*counts.share(FORGET, AS_GIVEN)),
        f"{100 * sum(english.values()) / len(english):.1f}" if english else "",
        f"{100 * english[worst]:.0f} ({worst})" if english else "",
        *(percent(*counts.share(*group)) if counts.share(*group)[1] else "" for group in groups),
    ]


def paraphrased(records: Sequence[Record]) -> list[Record]:
    """Return the records that have a paraphrase, with the paraphrase as the question."""
    return [
        replace(record, turns=(Turn("user", record.paraphrased_prompt),), paraphrased_prompt=None)
        for record in records
        if record.paraphrased_prompt
    ]


def facts(args: argparse.Namespace, seconds: float) -> str:
    """Return date, machine, n and package versions."""
    chosen = "" if args.kinds == list(KINDS) else "--kinds " + " ".join(f'"{kind}"' if " " in kind else kind for kind in args.kinds) + " "
    chosen += "".join(f"--setting {setting} " for setting in args.setting)
    command = f"python -m benchmarks.gate.kinds --data DIR {chosen}--seeds {args.seeds} --rows {args.rows} --write"
    return (
        f"{measured_on()}; model {args.model}; gates a kind: {args.seeds}, first seed {SEED}; {args.rows} records a set and variant. "
        f"Per cent of prompts that the gate opens for, with Wilson intervals. Took {seconds / 60:.0f} min. Command: `{command}`."
    )


if __name__ == "__main__":
    main()
