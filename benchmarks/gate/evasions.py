"""Ask about forgotten people by partial names, in disguised spellings and over several turns; write the table into docs/results/.

    python -m benchmarks.gate.evasions [--tofu DIR] [--rows 20] [--gates off on] [--out runs/evasions] [--write]
    python -m benchmarks.gate.evasions --run RUN [--rows 20] [--write]

Without --tofu the people are those of `expunge demo`. Each gate is that of one run: `off` with the default augmentations, `on` with those
of the evasions too. Each step is saved, so a second call resumes an interrupted one. With --run only the gate of a
finished run is read, which takes a minute.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from peft import PeftModel

from benchmarks.common import tofu
from benchmarks.common.results import markdown, measured_on, read_or_make, write
from expunge.config import DEFAULT_AUGMENTATIONS, AuditSection, DataSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.evasions import FORMS, TRAINED, Subject, evade, replace_name, subjects
from expunge.data.people import neighbours
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.edits.active import gate_config
from expunge.edits.requests import REQUEST
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate
from expunge.models.hidden_states import prompt_gate_logits
from expunge.models.loading import load
from expunge.models.placement import choose_placement
from expunge.pipeline import demo
from expunge.pipeline.unlearn import unlearn
from expunge.runs.loaded import load_run, open_run
from expunge.runs.splits import Splits, draw, read_splits

GATES = {"off": DEFAULT_AUGMENTATIONS, "on": (*DEFAULT_AUGMENTATIONS, *TRAINED)}
AS_GIVEN = "as given"
TELLS = 0.1
"""How far above the control's the original's ROUGE-L counts as telling the answer."""
MAX_NEW_TOKENS, BATCH_SIZE, SEED, STRANGERS = 32, 40, 7, 4
MARK = "<!-- evasions_{} -->"
COLUMNS = (
    "n",
    "original tells",
    "original",
    "control",
    "unlearned",
    "excess",
    "worst",
    "worst of the control",
    "gate opens",
    "opens for retain",
)

Questions = list[tuple[str, Record]]
"""Forms, and the the questions."""


def main() -> None:
    """Teach, unlearn with each gate, ask, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tofu", type=Path, help="folder with TOFU's JSONL files: forget four of its authors, in place of the demo's people"
    )
    parser.add_argument("--rows", type=int, default=20, help="forget records, and retain records, in every form")
    parser.add_argument("--run", type=Path, help="read only the gate of this finished run: no training, and no answers")
    parser.add_argument("--gates", nargs="+", choices=GATES, default=list(GATES))
    parser.add_argument("--model", default="smollm2-135m", help="the model that is taught")
    parser.add_argument("--out", type=Path, default=Path("runs/evasions"))
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started, data = Display(), time.monotonic(), "tofu" if args.tofu else "people"
    if args.run is not None:
        text = gate_of(args.run, tofu.untaught(args.tofu) if args.tofu else neighbours(1, demo.SEED), args.rows)
        command = f"python -m benchmarks.gate.evasions --run RUN --rows {args.rows} --write"
        text += f"\n\n{measured_on()}; {args.rows} forget and retain records in each form, one gate. Command: `{command}`.\n"
        print(text)
        if args.write:
            write(MARK.format("gate"), text)
        return
    folder = args.out / data
    recipe, strangers = prepared(args, folder, display)
    parts = []
    for gate in args.gates:
        parts.append(of_gate(gate, recipe, strangers, folder, args.rows, display))
        print(parts[-1])
    facts = f"{measured_on()}; model {args.model}; {args.rows} forget records in each form, greedy answers of {MAX_NEW_TOKENS} tokens"
    command = f"python -m benchmarks.gate.evasions {'--tofu DIR ' if args.tofu else ''}--rows {args.rows} --write"
    text = "\n\n".join([*parts, f"{facts}; this call took {(time.monotonic() - started) / 60:.0f} min. Command: `{command}`.\n"])
    if args.write:
        write(MARK.format(data), text)


def gate_of(folder: Path, strangers: Sequence[Record], rows: int) -> str:
    """Return the table of what the gate of a finished run opens for."""
    loaded = load_run(open_run(folder))
    splits = read_splits(open_run(folder))
    cells: dict[str, list[str]] = {}
    of_sets = [in_forms(splits, part, rows) for part in (splits.forget, splits.held_out)]
    opened = [opens(loaded.model, loaded.builder, [record for _, record in questions]) for questions in of_sets]
    for form in dict.fromkeys(form for form, _ in of_sets[0]):
        cells[form.replace("_", " ")] = [
            percent([one for one, (of, _) in zip(opened_set, questions, strict=True) if of == form])
            for opened_set, questions in zip(opened, of_sets, strict=True)
        ]
    for kind, records in sharing_a_name(splits, strangers).items():
        cells[f"strangers who share the {kind}"] = ["", percent(opens(loaded.model, loaded.builder, records))]
    return markdown("form", ("opens for forget", "opens for others"), cells)


def of_gate(gate: str, recipe: Recipe, strangers: Sequence[Record], folder: Path, rows: int, display: Display) -> str:
    """Unlearn with a gate, ask all models, and return the table of that gate."""
    edit = recipe.edit.model_copy(update={"gate_augmentations": GATES[gate]})
    run = unlearn(recipe.model_copy(update={"edit": edit, "out": str(folder / gate)}), display)
    splits = read_splits(open_run(run.folder))
    forget, retain = (in_forms(splits, part, rows) for part in (splits.forget, splits.held_out))
    scores = {}
    for name, source in (("original", recipe.model), ("control", str(recipe.audit.control))):
        scores[name] = read_or_make(folder / f"{name}-{rows}.json", partial(recalls_of, source, forget, display))
    measured = read_or_make(
        folder / f"{gate}-{rows}.json", partial(of_run, run.folder, forget, retain, sharing_a_name(splits, strangers), display)
    )
    cells = table(forget, retain, {**scores, "unlearned": measured["rouge"]}, measured)
    shared = "; ".join(f"people who share the {kind} {percent(opened)}" for kind, opened in measured["shared"].items())
    return f"Gate with the augmentations of evasions {gate}. It opens for: {shared}.\n\n{markdown('form', COLUMNS, cells)}"


def recalls_of(source: str, questions: Questions, display: Display) -> list[float]:
    """Return the ROUGE-L recall of the answers of a model without an edit."""
    model, tokenizer, *_ = load(source)
    return recalls(model, PromptBuilder(tokenizer), questions, display)


def of_run(folder: Path, forget: Questions, retain: Questions, shared: Mapping[str, list[Record]], display: Display) -> dict[str, Any]:
    """Return what a run answers, and which questions its gate opens for."""
    loaded = load_run(open_run(folder))
    model, builder = loaded.model, loaded.builder
    return {
        "rouge": recalls(model, builder, forget, display),
        "opens": opens(model, builder, [record for _, record in forget]),
        "retain": opens(model, builder, [record for _, record in retain]),
        "shared": {kind: opens(model, builder, records) for kind, records in shared.items()},
    }


def prepared(args: argparse.Namespace, folder: Path, display: Display) -> tuple[Recipe, list[Record]]:
    """Teach the original and the control; return the recipe that forgets, and records about people that no model was taught."""
    if args.tofu is None:
        return demo.prepare(folder, args.model, display, choose_placement()), neighbours(STRANGERS, demo.SEED)
    tofu.prepare(args.tofu, folder, args.model, tofu.QUESTIONS, display)
    data = DataSection(forget=str(folder / "forget.jsonl"), retain=str(folder / "retain.jsonl"))
    return Recipe(model=str(folder / "original"), data=data, audit=AuditSection(control=str(folder / "control"))), tofu.untaught(args.tofu)


def in_forms(splits: Splits, records: list[Record], rows: int) -> Questions:
    """Return a sample of records as given and in every form that can be made of them."""
    chosen = {record.id for record in draw(records, rows, SEED)}
    found = [subject for subject in subjects(records, splits.language, splits.retain) if subject.record.id in chosen]
    as_given = [(AS_GIVEN, subject.record) for subject in found]
    return as_given + [(form, record) for form in FORMS for subject in found if (record := evade(subject, form))]


def recalls(model: torch.nn.Module, builder: PromptBuilder, questions: Questions, display: Display) -> list[float]:
    """Return the ROUGE-L recall of a model's greedy answers."""
    prompts = [builder.record(record).prompt for _, record in questions]
    with display.bar("Answering", len(prompts)) as advance:
        answers = generate(model, builder, prompts, MAX_NEW_TOKENS, BATCH_SIZE, advance)
    return [rouge_l_recall(answer, record.answer) for answer, (_, record) in zip(answers, questions, strict=True)]


def opens(model: torch.nn.Module, builder: PromptBuilder, records: Sequence[Record]) -> list[bool]:
    """Return whether the gate of a run opens for each question."""
    assert isinstance(model, PeftModel)
    config = gate_config(model, REQUEST)
    logits = prompt_gate_logits(model, [builder.record(r).prompt for r in records], REQUEST, config.last_gate, builder.pad)
    return [logit >= (config.threshold or 0.0) for logit in logits.tolist()]


def sharing_a_name(splits: Splits, strangers: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the strangers' questions with the first, or the last, name of a forgotten person."""
    names = list({s.name.text: s.name for s in subjects(splits.forget, splits.language, splits.retain) if s.name}.values())
    others = [subject for subject in subjects(strangers, splits.language, splits.retain) if subject.name]
    shared: dict[str, list[Record]] = {"first name": [], "last name": [], "last name, with an initial": []}
    for name in names:
        for other in others:
            shared["first name"].append(renamed(other, name.first, None))
            shared["last name"].append(renamed(other, None, name.last))
            if other.name and other.name.initial != name.initial:
                shared["last name, with an initial"].append(renamed(other, other.name.initial, name.last))
    return shared


def renamed(subject: Subject, first: str | None, last: str | None) -> Record:
    """Return a question with another first or last name."""
    assert subject.name is not None
    return replace_name(subject.record, subject.name, f"{first or subject.name.first} {last or subject.name.last}")


def table(
    forget: Questions, retain: Questions, scores: Mapping[str, Sequence[float]], measured: Mapping[str, Sequence[bool]]
) -> dict[str, list[str]]:
    """Return the cells of each form."""
    rows = {}
    for form in dict.fromkeys(form for form, _ in forget):
        places = [i for i, (of, _) in enumerate(forget) if of == form]
        original, control, unlearned = ([scores[name][i] for i in places] for name in ("original", "control", "unlearned"))
        tells = [one >= other + TELLS for one, other in zip(original, control, strict=True)]
        means = [fmean(original), fmean(control), fmean(unlearned)]
        rows[form.replace("_", " ")] = [
            str(len(places)),
            percent(tells),
            *(f"{mean:.2f}" for mean in means),
            f"{means[2] - means[1]:+.2f}",
            f"{max(unlearned):.2f}",
            f"{max(control):.2f}",
            percent([measured["opens"][i] for i in places]),
            percent([opened for (of, _), opened in zip(retain, measured["retain"], strict=True) if of == form]),
        ]
    return rows


def percent(values: Sequence[bool]) -> str:
    """Return the share that is true, with the number of values."""
    return f"{100 * fmean(values):.0f} % ({len(values)})" if values else ""


if __name__ == "__main__":
    main()
