"""Evaluate gates for people, a topic, a kind of task and free text; write the table into docs/results/.

    python -m benchmarks.gate.kinds --data DIR [--rows 24] [--write]

DIR holds humaneval/HumanEval.jsonl.gz, gsm8k/test.jsonl and wikigold/wikigold.conll.txt. The gates read frozen hidden states of a
model that was taught nothing. Each is evaluated on records of the same kind that it was not trained on:

people      forget: four of twenty invented people; retain: the others; evaluated on paraphrases, and on four further people
topic       forget: statements about African capitals; retain: about other capitals; evaluated on questions in other words
task        forget: Python functions to complete (HumanEval); retain: word problems (GSM8K); evaluated on further ones
free text   forget: half of the sentences of some encyclopaedia articles (Wikigold); retain: other articles; evaluated on the other half
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
from expunge.gating.fit import fit_on_states, gate_blocks, mean_gate_logits
from expunge.gating.train import stored_input
from expunge.gating.training_prompts import gate_prompts
from expunge.models.loading import load
from expunge.runs.splits import Splits, draw, split

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
    """Return texts of three sentences of articles, each article split in two halves."""
    lines = (data / "wikigold" / "wikigold.conll.txt").read_text(encoding="utf-8").splitlines()
    articles: list[list[str]] = [[]]
    for blank, words in groupby(lines, key=lambda line: not line.strip()):
        tokens = [] if blank else [line.split()[0] for line in words]
        if tokens == ["-DOCSTART-"]:
            articles.append([])
        elif tokens:
            articles[-1].append(" ".join(tokens))
    long = [article for article in articles if len(article) >= LEAST_SENTENCES][: 4 * ARTICLES]
    halves = [
        [[text for i, text in enumerate(article_texts(n, article)) if i % 2 == half] for n, article in enumerate(long)] for half in (0, 1)
    ]
    parts = [half[place] for half in halves for place in (slice(ARTICLES), slice(ARTICLES, None))]
    forget, retain, eval_forget, eval_retain = ([text for article in part for text in article] for part in parts)
    return forget, retain, eval_forget, eval_retain


def article_texts(article: int, sentences: Sequence[str]) -> list[Record]:
    """Return plain texts of three sentences each."""
    return [Record(f"{article}-{i}", (), " ".join(sentences[i : i + 3])) for i in range(0, len(sentences), 3)]


KINDS: dict[str, Callable[[Path], Split]] = {"people": people_to_forget, "topic": topic, "task": task, "free text": free_text}


def main() -> None:
    """Train and evaluate a gate of each kind, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=24, help="records of a set in the evaluation")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    model, tokenizer = load(args.model)
    builder, edit = PromptBuilder(tokenizer), EditSection()
    rows: dict[str, list[str]] = {}
    for kind, read in KINDS.items():
        forget, retain, eval_forget, eval_retain = read(args.data)
        recipe = Recipe(data=DataSection(forget="", retain=""), edit=edit, training=TrainingSection(seed=SEED))
        sets = split(forget, draw(retain, MOST_RETAIN, SEED), recipe)
        groups = eval_groups(builder, Splits(eval_forget, sets.retain, [], eval_retain), {}, read_prompt_templates(), args.rows)
        reader = Reader(model, gate_blocks(model, edit), builder.pad, display, partial(stored_input, settings=edit))
        gate_set = gate_prompts(builder, sets, edit.gate_augmentations, 8192, SEED)
        fitted = fit_on_states(gate_set, reader.read(gate_set.all), edit, SEED)
        eval_states = reader.read([ids for group in groups for ids in group.prompts.values()])
        opened = mean_gate_logits(fitted.gate, edit.gate_pool, eval_states) >= fitted.threshold.logit
        counts = Counts()
        counts.add(groups, opened.tolist())
        rows[kind] = cells(counts, len(gate_set.forget), len(gate_set.negatives), fitted.threshold.lowered)
        display.print(f"{kind}: {', '.join(rows[kind])}")
    text = f"{markdown('forget set', COLUMNS, rows)}\n\n{facts(args, time.monotonic() - started)}\n"
    print(text)
    if args.write:
        write(MARK, text)


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


def cells(counts: Counts, forget: int, negatives: int, lowered: bool) -> list[str]:
    """Return the cells of one gate."""
    english = counts.english()
    worst = min(english, key=lambda variant: english[variant], default="")
    groups = [(RETAIN, AS_GIVEN), (RETAIN,), (INSTRUCTIONS,), (GENERAL, AS_GIVEN), (OTHER_NAMES, AS_GIVEN)]
    return [
        percent(*counts.share(FORGET, AS_GIVEN)),
        f"{100 * sum(english.values()) / len(english):.1f}" if english else "",
        f"{100 * english[worst]:.0f} ({worst})" if english else "",
        *(percent(*counts.share(*group)) if counts.share(*group)[1] else "" for group in groups),
        f"{forget} + {negatives}" + (", no rate guaranteed" if lowered else ""),
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
    return (
        f"{measured_on()}; model {args.model}; one gate each, seed {SEED}; {args.rows} records a set and variant. Per cent of prompts that "
        f"the gate opens for, with Wilson intervals. Took {seconds / 60:.0f} min. Command: `python -m benchmarks.gate.kinds --data DIR "
        f"--rows {args.rows} --write`."
    )


if __name__ == "__main__":
    main()
