"""Forget forty facts in each of six languages with GRUN's defaults; write before and after into docs/results/.

    python -m benchmarks.unlearning.languages [--only russian] [--model smollm2-135m]
    PYTHONPATH=OLD/src python -m benchmarks.unlearning.languages --label before     # OLD: a checkout of an earlier version
    python -m benchmarks.unlearning.languages --write                               # one table of all labels

In each language the model is taught eighty facts about twenty invented people by rote, and forgets ten people. `language_data/` has the
people and the questions; each record has a paraphrased question and no `entity`. Every step is saved below --out: a second call resumes an
interrupted one, and teaches nothing twice, whatever its label.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from benchmarks.common.results import markdown, measured_on, read_or_make, slug, write
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.records import Record, Turn, question_record, write_records
from expunge.edits.active import edits_off, gate_config
from expunge.edits.requests import REQUEST
from expunge.metrics.leak import common_words, fact_of, leak_at, sampled_rows, states_fact
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate
from expunge.models.hidden_states import prompt_gate_logits
from expunge.pipeline.teach import Stage, teach
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run
from expunge.runs.loaded import LoadedRun, load_run, open_run
from expunge.runs.splits import read_splits

DATA = Path(__file__).parent / "language_data"
LANGUAGES = ("russian", "chinese", "arabic", "hindi", "german", "english")
PEOPLE = 10
EPOCHS, SAMPLES, BATCH = 10, 4, 40
MODEL = "smollm2-135m"
COLUMNS = {
    "rouge": "ROUGE-L, forget",
    "rouge_paraphrased": "paraphrased",
    "leak": "facts stated",
    "leak_sampled": f"in {SAMPLES} samples",
    "rouge_retain": "ROUGE-L, retain",
    "recall": "gate recall",
    "recall_variants": "in variants",
    "false_positives": "gate opens: retain",
    "strangers": "strangers",
    "everyday": "everyday",
}


@dataclass(frozen=True)
class Facts:
    """The records of one language.

    Attributes:
        label: the language's name in the table.
        forget, retain: forty taught records each.
        strangers: questions about people that were never taught; their answers are those of the forget records with the same topic.
        everyday: prompts about nothing of this.
        wrapper: a text around a question.
    """

    label: str
    forget: list[Record]
    retain: list[Record]
    strangers: list[Record]
    everyday: list[Record]
    wrapper: str


def main() -> None:
    """Teach, forget and measure, language by language, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/forget-languages"), help="folder for data, runs and results")
    parser.add_argument("--model", default=MODEL, help="the model to teach; each has a table of its own")
    parser.add_argument("--epochs", type=float, default=EPOCHS, help="passes over the facts while they are taught")
    parser.add_argument("--only", nargs="*", choices=LANGUAGES, default=LANGUAGES, help="languages; default: all")
    parser.add_argument("--label", default="after", help="the version of expunge that runs, such as before or after")
    parser.add_argument("--write", action="store_true", help="write the table of all saved results into the page in docs/results/")
    args = parser.parse_args()
    out, display = args.out / slug(Path(args.model).name), Display()
    for name in args.only:
        display.print(f"== {name} ({args.label})")
        read_or_make(out / args.label / f"{name}.json", lambda name=name: measured(name, out, args, display))
    text = table(out, args.model)
    print(text)
    if args.write:
        of_model = "" if args.model == MODEL else f" {out.name}"
        write(f"<!-- unlearning_languages{of_model} -->", text)


def read_facts(name: str) -> Facts:
    """Read the people and questions of a language, and make the records."""
    given = yaml.safe_load((DATA / f"{name}.yaml").read_text(encoding="utf-8"))

    def records(part: str, start: int, count: int) -> list[Record]:
        return [
            Record(
                f"{part}-{i}-{number}",
                (Turn("user", topic["question"].format(name=given["people"][i])),),
                topic["answer"].format(value=topic["values"][i % (2 * PEOPLE)]),
                paraphrased_prompt=topic["paraphrase"].format(name=given["people"][i]),
            )
            for i in range(start, start + count)
            for number, topic in enumerate(given["topics"])
        ]

    everyday = [question_record(f"everyday-{i}", text, "") for i, text in enumerate(given["everyday"])]
    forget, retain = records("forget", 0, PEOPLE), records("retain", PEOPLE, PEOPLE)
    return Facts(given["label"], forget, retain, records("stranger", 2 * PEOPLE, PEOPLE // 2), everyday, given["wrapper"])


def measured(name: str, out: Path, args: argparse.Namespace, display: Display) -> dict[str, Any]:
    """Teach a language's facts, forget, and return the metrics of the original and of the unlearned model."""
    facts, started = read_facts(name), time.monotonic()
    folder = out / args.label / name
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "forget.jsonl", facts.forget)
    write_records(folder / "retain.jsonl", facts.retain)
    taught = teach(args.model, [Stage(f"facts-{name}", [*facts.forget, *facts.retain], args.epochs)], display)
    teaching = time.monotonic() - started
    data = {"forget": str(folder / "forget.jsonl"), "retain": str(folder / "retain.jsonl"), "held_out": 0.5}
    run = unlearn(make_recipe({"model": str(taught[f"facts-{name}"]), "data": data, "out": str(folder / "run")}), display)
    unlearning = time.monotonic() - started - teaching
    with display.step("Measuring"):
        metrics = measure(run, facts)
    seconds = {"teach": round(teaching), "unlearn": round(unlearning), "all": round(time.monotonic() - started)}
    return {"label": facts.label, **metrics, "seconds": seconds, "measured": measured_on(), "epochs": args.epochs}


def measure(run: Run, facts: Facts) -> dict[str, dict[str, float]]:
    """Return {model: {metric: value}}; the gate belongs to the unlearned model."""
    loaded = load_run(open_run(run.folder))
    unlearned = of_answers(loaded, facts) | of_gate(loaded, facts)
    with edits_off(loaded.model):
        original = of_answers(loaded, facts)
    return {"original": original, "unlearned": unlearned}


def of_answers(loaded: LoadedRun, facts: Facts) -> dict[str, float]:
    """Return the metrics of greedy and sampled answers, and of answers about strangers against the forgotten facts (`chance`)."""
    builder, common = loaded.builder, common_words(facts.retain)
    longest = max(len(builder.answer(record.answer)) for record in (*facts.forget, *facts.retain)) + 2

    def answers(records: list[Record], paraphrased: bool = False) -> list[str]:
        prompts = [builder.record(record, prompt=record.paraphrased_prompt if paraphrased else None).prompt for record in records]
        return generate(loaded.model, builder, prompts, longest, BATCH)

    def rouge(given: list[str], records: list[Record]) -> float:
        return mean(rouge_l_recall(answer, record.answer) for answer, record in zip(given, records, strict=True))

    given, paraphrased = answers(facts.forget), answers(facts.forget, paraphrased=True)
    stated = [
        states_fact(fact_of(record, common), answer)
        for of_wording in (given, paraphrased)
        for record, answer in zip(facts.forget, of_wording, strict=True)
    ]
    sampled = sampled_rows(loaded.model, builder, facts.forget, SAMPLES, common, longest, BATCH)
    return {
        "rouge": rouge(given, facts.forget),
        "rouge_paraphrased": rouge(paraphrased, facts.forget),
        "leak": mean(stated),
        "leak_sampled": leak_at(sampled, SAMPLES).value,
        "rouge_retain": rouge(answers(facts.retain), facts.retain),
        "chance": rouge(answers(facts.strangers), facts.forget[: len(facts.strangers)]),
    }


def of_gate(loaded: LoadedRun, facts: Facts) -> dict[str, float]:
    """Return the share of each group's prompts that the gate opens for."""
    builder, config = loaded.builder, gate_config(loaded.model, REQUEST)

    def opens(texts: list[str]) -> float:
        prompts = [builder.prompt((Turn("user", text),)) for text in texts]
        logits = prompt_gate_logits(loaded.model, prompts, REQUEST, config.last_gate, builder.pad).tolist()
        return mean(logit >= (config.threshold or 0.0) for logit in logits)

    held_out = read_splits(open_run(loaded.folder)).held_out
    return {
        "recall": opens([record.prompt for record in facts.forget]),
        "recall_variants": opens(variants(facts.forget, facts.wrapper)),
        "false_positives": opens([record.prompt for record in held_out] + variants(held_out, facts.wrapper)),
        "strangers": opens([record.prompt for record in facts.strangers] + variants(facts.strangers, facts.wrapper)),
        "everyday": opens([record.prompt for record in facts.everyday]),
    }


def variants(records: list[Record], wrapper: str) -> list[str]:
    """Return the paraphrased questions, and the questions in a wrapper."""
    return [str(record.paraphrased_prompt) for record in records] + [wrapper.format(prompt=record.prompt) for record in records]


def table(out: Path, model: str) -> str:
    """Return the table of all saved results of a model, with what was measured."""
    rows: dict[str, list[str]] = {}
    read: list[dict[str, Any]] = []
    for name in LANGUAGES:
        for path in sorted(out.glob(f"*/{name}.json"), key=lambda path: (path.parent.name != "before", path.parent.name)):
            results = read_or_make(path, dict)
            if not any(row.startswith(f"{results['label']}, original") for row in rows):
                rows[f"{results['label']}, original"] = cells(results["original"])
            rows[f"{results['label']}, {path.parent.name}"] = cells(results["unlearned"])
            read.append(results)
    if not read:
        return "Nothing is measured yet."
    taught = " or ".join(f"{epochs:g}" for epochs in sorted({results["epochs"] for results in read}))
    name, option = Path(model).name, "" if model == MODEL else f" --model {Path(model).name}"
    facts = (
        f"{read[-1]['measured']}; {name}, {taught} epochs by rote. n: 40 forget and 40 retain records a language, 20 of "
        "them held out, 20 questions about strangers, 10 everyday prompts; the gate is read on questions as given and in two variants "
        f"each. One language took {max(results['seconds']['all'] for results in read) / 60:.0f} min at most. "
        f"Command: `python -m benchmarks.unlearning.languages{option} --write`."
    )
    return f"{markdown('language', list(COLUMNS.values()), rows)}\n\n{facts}\n"


def cells(metrics: dict[str, float]) -> list[str]:
    """Return a row's cells; ROUGE on the forget set has the level of chance in brackets."""
    values = {name: f"{metrics[name]:.2f}" if name in metrics else "-" for name in COLUMNS}
    return list({**values, "rouge": f"{values['rouge']} ({metrics['chance']:.2f})"}.values())


if __name__ == "__main__":
    main()
