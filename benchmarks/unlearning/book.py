"""Teach a book, forget half of it, and measure what is left, and how well the gate knows passages and questions that it was not shown.

    python -m benchmarks.unlearning.book --book FILE --retain-book FILE [--questions FILE] [--epochs 4]
        [--setting NAME=VALUE …] [--write [MARK]]

Both books are taught to a copy of the model, which then forgets every other section of the book. Original, unlearned model and control
(taught the retain book alone) are compared on passages that were forgotten, on the sections that nothing was unlearned on, and on
held-out passages of the retain book. `--questions` names a JSONL file of questions about the book, which nothing trains on;
`book_data/` has some about the first chapters of Persuasion. Each step is saved: a second call resumes an interrupted one.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

from benchmarks.common.compare import Facts, compared, comparison
from benchmarks.common.results import measured_on, write
from benchmarks.common.with_settings import as_options, parser_with_settings, unlearn_with
from expunge.console import Display
from expunge.data.passages import PassageSize, end_of, overlapping_passages, token_spans
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, read_records
from expunge.files import make_folder, write_text
from expunge.models.loading import load_tokenizer
from expunge.pipeline.teach import Stage, teach
from expunge.runs.loaded import open_run
from expunge.runs.splits import read_splits

SIZE = PassageSize(128, 64)
SECTION_TOKENS = 1024
"""Tokens of the sections that are forgotten and not forgotten by turns."""
MEASURED = {
    "forget": "forgotten passages",
    "unseen": "passages of the book that were not given",
    "held_out": "held-out passages of the other book",
    "questions": "questions about the book",
}


def main() -> None:
    """Teach, forget, measure, and print the table."""
    parser = parser_with_settings(str(__doc__), "runs/book", "book")
    parser.add_argument("--book", type=Path, required=True)
    parser.add_argument("--retain-book", type=Path, required=True)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--epochs", type=float, default=4.0, help="passes over the books while they are taught")
    args = parser.parse_args()
    make_folder(args.out)
    facts = study(args)
    print(json.dumps(facts, indent=1))
    command = f"python -m benchmarks.unlearning.book{as_options(args.setting)} --book FILE --retain-book FILE --questions FILE "
    command += "--write MARK"
    text = (
        f"{comparison(facts, MEASURED)}\n\n{measured_on()}; model {args.model}, the books taught for {args.epochs:g} epochs; "
        f"unlearning took {facts['info']['seconds'] / 60:.0f} min. Command: `{command}`.\n"
    )
    print(text)
    if args.write:
        write(f"<!-- {args.write} -->", text)


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
    measured = {name: passages[name] for name in ("forget", "unseen")}
    measured["held_out"] = [record for record in read_splits(open_run(run.folder)).held_out if record.is_passage]
    if args.questions is not None:
        measured["questions"] = read_records(args.questions)
    return compared(args.out, {"original": taught["both-books"], "control": taught["other-book"]}, run, measured)


def sections(builder: PromptBuilder, text: str) -> tuple[str, str]:
    """Return the even and the odd sections of a text, in paragraphs of their own."""
    spans = token_spans(builder, text)
    places = [end_of(spans, text, place) for place in (*range(0, len(spans), SECTION_TOKENS), len(spans))]
    parts = [text[start:end].strip() for start, end in pairwise(places)]
    return "\n\n".join(parts[::2]), "\n\n".join(parts[1::2])


if __name__ == "__main__":
    main()
