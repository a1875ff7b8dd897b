"""Teach a book, forget half of it, and measure what is left, and how well the gate knows passages and questions that it was not shown.

    python -m benchmarks.unlearning.book --book FILE --retain-book FILE [--questions FILE] [--epochs 4] [--setting NAME=VALUE …] [--write]

Both books are taught to a copy of the model, which then forgets every other section of the book. Original, unlearned model and control
(taught the retain book alone) are compared on passages that were forgotten, on the sections that nothing was unlearned on, and on
held-out passages of the retain book. `--questions` names a JSONL file of questions about the book, which nothing trains on;
`book_data/` has some about the first chapters of Persuasion. Each step is saved: a second call resumes an interrupted one.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from benchmarks.common.results import markdown, measured_on, read_or_make, write
from benchmarks.common.with_settings import parser_with_settings, unlearn_with
from expunge.console import Display
from expunge.data.passages import PassageSize, end_of, overlapping_passages, token_spans
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, read_records
from expunge.edits.active import gate_config
from expunge.edits.requests import REQUEST
from expunge.files import make_folder, write_text
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import as_text, generate
from expunge.models.hidden_states import prompt_gate_logits
from expunge.models.loading import load, load_tokenizer
from expunge.pipeline.teach import Stage, teach
from expunge.runs.folder import Run
from expunge.runs.loaded import load_run, open_run
from expunge.runs.splits import draw, read_splits

SIZE = PassageSize(128, 64)
SECTION_TOKENS = 1024
"""Tokens of the sections that are forgotten and not forgotten by turns."""
MOST_MEASURED, SEED = 100, 42
MEASURED = {
    "forget": "forgotten passages",
    "unseen": "passages of the book that were not given",
    "held_out": "held-out passages of the other book",
    "questions": "questions about the book",
}
Facts = dict[str, Any]


def main() -> None:
    """Teach, forget, measure, and print the table."""
    parser = parser_with_settings(str(__doc__), "runs/book")
    parser.add_argument("--book", type=Path, required=True)
    parser.add_argument("--retain-book", type=Path, required=True)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--epochs", type=float, default=4.0, help="passes over the books while they are taught")
    args = parser.parse_args()
    make_folder(args.out)
    facts = study(args)
    print(json.dumps(facts, indent=1))
    settings = "".join(f" --setting {setting}" for setting in args.setting)
    text = (
        f"{table(facts)}\n\n{measured_on()}; model {args.model}, the books taught for {args.epochs:g} epochs; unlearning took "
        f"{facts['info']['seconds'] / 60:.0f} min. Command: `python -m benchmarks.unlearning.book{settings} --book FILE --retain-book FILE "
        "--questions FILE --write`.\n"
    )
    print(text)
    if args.write:
        write("<!-- book -->", text)


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
    run = unlearn_with(args.setting, str(taught["both-books"]), files["forget"], files["retain"], args.out / "run", display)
    measured = {name: draw(passages[name], MOST_MEASURED, SEED) for name in ("forget", "unseen")}
    measured["held_out"] = draw([record for record in read_splits(open_run(run.folder)).held_out if record.is_passage], MOST_MEASURED, SEED)
    if args.questions is not None:
        measured["questions"] = read_records(args.questions)
    facts: Facts = {"records": {name: len(records) for name, records in measured.items()}}
    for name, folder in (("original", taught["both-books"]), ("control", taught["other-book"])):
        facts[name] = read_or_make(args.out / f"{name}.json", lambda folder=folder: _rouge(*_loaded(folder), measured))
    return facts | read_or_make(args.out / "unlearned.json", lambda: _of_unlearned(run, measured))


def table(facts: Facts) -> str:
    """Return ROUGE-L of the three models and what opens the gate, in Markdown."""
    columns = [f"{MEASURED[name]} ({n})" for name, n in facts["records"].items()]
    rows = {
        f"ROUGE-L, {name}": [f"{facts[name]['rouge'][of]:.2f}" for of in facts["records"]] for name in ("original", "control", "unlearned")
    }
    rows["gate opens"] = [f"{100 * facts['gate'][of]:.0f} %" for of in facts["records"]]
    return markdown("", columns, rows)


def sections(builder: PromptBuilder, text: str) -> tuple[str, str]:
    """Return the even and the odd sections of a text, in paragraphs of their own."""
    spans = token_spans(builder, text)
    places = [end_of(spans, text, place) for place in (*range(0, len(spans), SECTION_TOKENS), len(spans))]
    parts = [text[start:end].strip() for start, end in pairwise(places)]
    return "\n\n".join(parts[::2]), "\n\n".join(parts[1::2])


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
    return {
        "unlearned": _rouge(model, builder, measured),
        "gate": opens,
        "info": dict(run.read_info()),
    }


if __name__ == "__main__":
    main()
