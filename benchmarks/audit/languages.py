"""Check that a model that forgot nothing fails its audit in six languages; write the table into docs/results/.

    python -m benchmarks.audit.languages [--out runs/languages] [--write]

One model is taught ten invented people in each of six languages. In each language it is then audited as if it had unlearned them,
with an edit that changes next to nothing: one step with a learning rate of 1e-12. The control is the same model, asked about ten people
that it never saw. The retain set, ten more people, is not taught: it plays no part in the rows of leaks. Each run is saved, so a second
call resumes an interrupted one.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from benchmarks.common.results import markdown, measured_on, write
from expunge.api import audit
from expunge.auditing.suite import Suite
from expunge.auditing.verdict import read_verdict
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, read_records, write_records
from expunge.data.set_names import AUTO
from expunge.pipeline.teach import Stage, teach
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import VERDICT, Run

DATA = Path(__file__).parent / "language_data"
LANGUAGES = ("chinese", "russian", "arabic", "hindi", "german", "english")
LABELS = {name: name.capitalize() for name in LANGUAGES} | {"english": "English, lower case"}
PARTS = ("forget", "retain", "unseen")
EPOCHS = 16
AS_GIVEN, VARIANT = "forget prompts as given", "prompt variant: "
ANSWERED, IN_PART = 0.75, 0.5
"""A prompt variant counts as answered, or as answered in part, if the mean ROUGE-L recall of the answers is above this."""
UNTOUCHED: dict[str, Any] = {"edit": "lora", "objective": "npo", "training": {"epochs": 1, "batch_size": 10, "lr": 1e-12}}
MARK = "<!-- audit_languages -->"


@dataclass(frozen=True)
class Language:
    """The records of one language.

    Attributes:
        name: of the language.
        parts: records to forget, to retain, and never seen, by name.
    """

    name: str
    parts: dict[str, list[Record]]


def main() -> None:
    """Teach, audit language by language, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/languages"), help="folder for data and runs")
    parser.add_argument("--model", default="smollm2-135m", help="the model to teach")
    parser.add_argument("--records", type=int, default=3, help="records that each prompt attack uses")
    parser.add_argument("--only", nargs="*", choices=LANGUAGES, default=LANGUAGES, help="languages to audit; default: all")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    languages = [read_language(name) for name in LANGUAGES]
    everything = [record for language in languages for record in numbered(language)]
    model = teach(args.model, [Stage("languages", everything, EPOCHS)], display)["languages"]
    rows: dict[str, list[str]] = {}
    for language in languages:
        if language.name in args.only:
            display.print(f"== {LABELS[language.name]}")
            rows[LABELS[language.name]] = cells(audited(language, model, args.out / language.name, args.records, display))
    failed = sum(row[1] == "fail" and row[2] == row[3] for row in rows.values())
    facts = (
        f"{measured_on()}; {args.model}, {len(everything)} records taught in six languages, {EPOCHS} epochs; n: 10 forget records "
        f"and 10 never seen as given, {args.records} in each prompt variant; this call took {(time.monotonic() - started) / 60:.0f} min. "
        "Command: `python -m benchmarks.audit.languages --write`."
    )
    text = f"{markdown('language', COLUMNS, rows)}\n\n{failed} of {len(rows)} languages fail on every prompt that they answer. {facts}\n"
    print(text)
    if args.write:
        write(MARK, text)


COLUMNS = ("ROUGE-L as given (control)", "as given", "variants answered", "of them fail", "answered in part", "of all answered pass")


def read_language(name: str) -> Language:
    """Read the records of a language, which name their part in their ids."""
    records = read_records(DATA / f"{name}.jsonl")
    return Language(name, {part: [record for record in records if record.id.startswith(part)] for part in PARTS})


def numbered(language: Language) -> list[Record]:
    """Return the records that the model is taught, under ids that no other language has."""
    return [Record(f"{language.name}-{record.id}", record.turns, record.answer) for record in language.parts["forget"]]


def audited(language: Language, model: Path, out: Path, records: int, display: Display) -> Run:
    """Return the audited run of a language, in which nothing is unlearned."""
    out.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        write_records(out / f"{part}.jsonl", language.parts[part])
    recipe = make_recipe(
        {
            "model": str(model),
            **UNTOUCHED,
            "data": {"forget": str(out / "forget.jsonl"), "retain": str(out / "retain.jsonl")},
            "audit": {"control": AUTO, "holdout": str(out / "unseen.jsonl"), "max_new_tokens": longest_answer(language, model) + 2},
            "out": str(out / "run"),
        }
    )
    run = unlearn(recipe, display)
    if (run.folder / VERDICT).exists():
        return run
    return audit(run, suite=Suite(budget_seconds=600, attacks=[{"name": "prompts", "max_records": records}]))


def longest_answer(language: Language, model: Path) -> int:
    """Return the most tokens of an answer of a language."""
    builder = PromptBuilder(cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(model)))
    return max(len(builder.record(record).answer) for of_part in language.parts.values() for record in of_part)


def cells(run: Run) -> list[str]:
    """Return the cells of a language: the questions as given, and the prompt variants that the model answers, whole or in part."""
    rows = read_verdict(run)
    (given,) = [row for row in rows if row["name"] == AS_GIVEN]
    variants = [row for row in rows if row["name"].startswith(VARIANT) and row["unlearned"]["value"] > IN_PART]
    answered = [row for row in variants if row["unlearned"]["value"] > ANSWERED]
    in_part = Counter(row["verdict"] for row in variants if row not in answered)
    return [
        f"{given['unlearned']['value']:.2f} ({given['control']['value']:.2f})",
        given["verdict"],
        str(len(answered)),
        str(sum(row["verdict"] == "fail" for row in answered)),
        ", ".join(f"{count} {verdict}" for verdict, count in sorted(in_part.items())) or "none",
        str(sum(row["verdict"] == "pass" for row in variants)),
    ]


if __name__ == "__main__":
    main()
