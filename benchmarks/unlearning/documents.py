"""Forget a long document: what it costs, and how well the gate knows passages and questions that it was not trained on.

    python -m benchmarks.unlearning.documents cost [--tokens 60000] [--text FILE]
    python -m benchmarks.unlearning.documents study --book FILE --retain-book FILE [--questions FILE] [--epochs 4]

`cost` forgets a document of invented prose, or the beginning of a file, and reports seconds, tokens a second and the peak of the memory.

`study` teaches both books to a copy of the model, makes it forget every other section of the book, and compares original, unlearned model
and control (taught the retain book alone) on passages that were forgotten, on the sections that nothing was unlearned on, and on held-out
passages of the retain book. `--questions` names a JSONL file of questions about the book, which nothing trains on.

Each step is saved in the folder of results; a second call resumes an interrupted one.
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor, nn

from benchmarks.common.results import measured_on, read_or_make
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.passages import PassageSize, end_of, overlapping_passages, token_spans
from expunge.data.people import people
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, read_records
from expunge.edits.active import gate_config
from expunge.edits.requests import REQUEST
from expunge.files import make_folder, write_text
from expunge.gating import fit
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import as_text, generate
from expunge.models.hidden_states import prompt_gate_logits
from expunge.models.loading import load, load_tokenizer
from expunge.pipeline import unlearn as unlearning
from expunge.pipeline.teach import Stage, teach
from expunge.runs.folder import Run
from expunge.runs.loaded import load_run, open_run
from expunge.runs.splits import draw, read_splits

SIZE = PassageSize(128, 64)
SECTION_TOKENS = 1024
"""Tokens of the sections that are forgotten and not forgotten by turns."""
MOST_MEASURED, FALSE_POSITIVES, SEED = 100, 0.02, 42
GIB = 2**20
"""Kilobytes, in which the system reports memory."""
Facts = dict[str, Any]


def main() -> None:
    """Run one of the two parts and print its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--out", type=Path, default=Path("runs/documents"))
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="a further setting of the recipe; repeatable")
    parts = parser.add_subparsers(dest="part", required=True)
    cost_part = parts.add_parser("cost", help="seconds and memory for a long document")
    cost_part.add_argument("--tokens", type=int, default=60_000)
    cost_part.add_argument("--text", type=Path, help="a file of text; none: invented prose")
    study_part = parts.add_parser("study", help="teach a book, forget half of it, measure")
    study_part.add_argument("--book", type=Path, required=True)
    study_part.add_argument("--retain-book", type=Path, required=True)
    study_part.add_argument("--questions", type=Path)
    study_part.add_argument("--epochs", type=float, default=4.0, help="passes over the books while they are taught")
    args = parser.parse_args()
    make_folder(args.out)
    facts = cost(args) if args.part == "cost" else study(args)
    print(json.dumps({**facts, "measured": measured_on()}, indent=1))


def cost(args: argparse.Namespace) -> Facts:
    """Forget a document and return what that took."""
    builder = PromptBuilder(load_tokenizer(args.model))
    given = invented_prose(builder, 2 * args.tokens) if args.text is None else read_records(args.text)[0].answer
    forget, retain = (args.out / f"{name}.txt" for name in ("document", "retain"))
    spans = token_spans(builder, given)
    write_text(forget, given[: end_of(spans, given, args.tokens)])
    write_text(retain, given[end_of(spans, given, args.tokens) :].strip() or invented_prose(builder, args.tokens))
    return {"tokens": min(len(spans), args.tokens), **read_or_make(args.out / "cost.json", lambda: _measured_run(args, forget, retain))}


def _measured_run(args: argparse.Namespace, forget: Path, retain: Path) -> Facts:
    facts: Facts = {"features_seconds": 0.0, "features_tokens": 0, "training_seconds": 0.0}
    read_states, train = fit.prompt_states, unlearning.train

    def timed_states(model: nn.Module, prompts: Sequence[tuple[int, ...]], *rest: Any, **options: Any) -> dict[int, list[Tensor]]:
        started = time.monotonic()
        states = read_states(model, prompts, *rest, **options)
        facts["features_seconds"] += time.monotonic() - started
        facts["features_tokens"] += sum(map(len, prompts))
        facts["features_gib"] = sum(state.nbytes for of_block in states.values() for state in of_block) / 2**30
        return states

    def timed_train(*given: Any, **options: Any) -> None:
        started = time.monotonic()
        train(*given, **options)
        facts["training_seconds"] += time.monotonic() - started

    fit.prompt_states, unlearning.train = timed_states, timed_train
    try:
        run = _unlearn(args, args.model, forget, retain, args.out / "cost", Display())
    finally:
        fit.prompt_states, unlearning.train = read_states, train
    info = run.read_info()
    facts["features_tokens_a_second"] = facts["features_tokens"] / max(facts["features_seconds"], 1e-9)
    facts["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    return {**facts, "seconds": info["seconds"], "data": info["data"], "gate": info.get("gate")}


def study(args: argparse.Namespace) -> Facts:
    """Teach, forget every other section of the book, and return what original, unlearned model and control give."""
    display, builder = Display(), PromptBuilder(load_tokenizer(args.model))
    book, other = read_records(args.book)[0], read_records(args.retain_book)[0]
    forget, unseen = sections(builder, book.answer)
    files = {name: args.out / f"{name}.txt" for name in ("forget", "unseen", "retain")}
    for name, text in zip(files, (forget, unseen, other.answer), strict=True):
        write_text(files[name], text)
    passages = {
        name: overlapping_passages(builder, Record(name, (), path.read_text(encoding="utf-8")), SIZE) for name, path in files.items()
    }
    everything = [record for records in passages.values() for record in records]
    taught = teach(
        args.model, [Stage("other-book", passages["retain"], args.epochs), Stage("both-books", everything, args.epochs)], display
    )
    run = _unlearn(args, str(taught["both-books"]), files["forget"], files["retain"], args.out / "study", display)
    measured = {name: draw(passages[name], MOST_MEASURED, SEED) for name in ("forget", "unseen")}
    measured["held_out"] = draw([record for record in read_splits(open_run(run.folder)).held_out if record.is_passage], MOST_MEASURED, SEED)
    if args.questions is not None:
        measured["questions"] = read_records(args.questions)
    facts: Facts = {"records": {name: len(records) for name, records in measured.items()}}
    for name, folder in (("original", taught["both-books"]), ("control", taught["other-book"])):
        facts[name] = read_or_make(args.out / f"{name}.json", lambda folder=folder: _rouge(*_loaded(folder), measured))
    return facts | read_or_make(args.out / "unlearned.json", lambda: _of_unlearned(run, measured))


def sections(builder: PromptBuilder, text: str) -> tuple[str, str]:
    """Return the even and the odd sections of a text, in paragraphs of their own."""
    spans = token_spans(builder, text)
    places = [end_of(spans, text, place) for place in (*range(0, len(spans), SECTION_TOKENS), len(spans))]
    parts = [text[start:end].strip() for start, end in pairwise(places)]
    return "\n\n".join(parts[::2]), "\n\n".join(parts[1::2])


def invented_prose(builder: PromptBuilder, tokens: int) -> str:
    """Return seeded prose of at least so many tokens: paragraphs about invented people."""
    paragraphs, length, seed = list[str](), 0, 0
    while length < tokens:
        seed += 1
        answers = [record.answer for record in people(20, seed)]
        paragraphs += [" ".join(answers[start : start + 5]) for start in range(0, len(answers), 5)]
        length = len(token_spans(builder, "\n\n".join(paragraphs)))
    return "\n\n".join(paragraphs)


def _unlearn(args: argparse.Namespace, model: str, forget: Path, retain: Path, out: Path, display: Display) -> Run:
    given: Facts = {"model": model, "data": {"forget": str(forget), "retain": str(retain)}, "out": str(out)}
    for setting in args.setting:
        path, _, value = setting.partition("=")
        section, _, name = path.partition(".")
        given.setdefault(section, {})[name] = json.loads(value) if value[:1] in "0123456789[{-" else value
    return unlearning.unlearn(make_recipe(given), display)


def _loaded(folder: Path) -> tuple[nn.Module, PromptBuilder]:
    model, tokenizer = load(folder)
    return model, PromptBuilder(tokenizer)


def _rouge(model: nn.Module, builder: PromptBuilder, measured: dict[str, list[Record]]) -> Facts:
    """Return the mean ROUGE-L recall of each set: of 64-token continuations, and of answers."""
    facts: Facts = {}
    for name, records in measured.items():
        rows = [builder.record(record) for record in records]
        truths = [
            as_text(builder, row.labels[:64]) if record.is_passage else record.answer for record, row in zip(records, rows, strict=True)
        ]
        answers = generate(model, builder, [row.prompt for row in rows], 64)
        facts[name] = fmean(rouge_l_recall(answer, truth) for answer, truth in zip(answers, truths, strict=True))
    return {"rouge": facts}


def _of_unlearned(run: Run, measured: dict[str, list[Record]]) -> Facts:
    loaded = load_run(open_run(run.folder))
    model, builder = loaded.model, loaded.builder
    config = gate_config(model, REQUEST)
    logits = {
        name: prompt_gate_logits(
            model, [builder.record(record).prompt for record in records], REQUEST, config.last_gate, builder.pad
        ).numpy()
        for name, records in measured.items()
    }
    opens = {name: float((of_set >= (config.threshold or 0.0)).mean()) for name, of_set in logits.items()}
    # The threshold that opens the gate for 2 % of the held-out retain passages.
    strict = np.quantile(logits["held_out"], 1 - FALSE_POSITIVES)
    at_two_percent = {name: float((of_set > strict).mean()) for name, of_set in logits.items()}
    return {
        "unlearned": _rouge(model, builder, measured),
        "gate": {"open": opens, "open_at_2_percent": at_two_percent},
        "info": dict(run.read_info()),
    }


if __name__ == "__main__":
    main()
