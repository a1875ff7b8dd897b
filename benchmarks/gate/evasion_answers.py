"""Ask a run, its original and its control by partial names and in disguised spellings, and about strangers; write the tables.

    python -m benchmarks.gate.evasion_answers --run RUN [--forms FORM ...] [--rows 20] [--strangers 40] [--out FOLDER] [--write MARK]

The run is one about the people of `expunge demo`, or of `benchmarks.unlearning.two_authors`. Each model's answers are saved in the
folder, so a second call resumes an interrupted one and asks nothing twice; use a new folder for another run. Nothing is trained.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from benchmarks.common.results import markdown, measured_on, read_or_make, write
from benchmarks.gate.evasions import AS_GIVEN, BATCH_SIZE, MAX_NEW_TOKENS, SEED, STRANGERS, Questions, in_forms, sharing_a_name
from expunge.console import Display
from expunge.data.evasions import FORMS
from expunge.data.people import neighbours
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.edits.active import gate_config
from expunge.edits.requests import REQUEST
from expunge.errors import InputError
from expunge.files import make_folder
from expunge.metrics.revealed_facts import secret_words, tells_fact
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate
from expunge.models.loading import load
from expunge.pipeline import demo
from expunge.runs.loaded import OpenedRun, load_run, open_run
from expunge.runs.splits import Splits, draw, read_splits

TELLS_MORE = 0.05
"""How far above the control's the original's ROUGE-L counts as telling more."""
FORGET_COLUMNS = ("n", "original tells more", "original", "control", "unlearned", "excess", "worst", "worst of the control")
OTHER_COLUMNS = ("n", "changed where the original tells no forgotten fact", "where it tells one in part", "where it tells one")


def main() -> None:
    """Ask the three models, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a finished run with a control")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="in which the questions are asked")
    parser.add_argument("--rows", type=int, default=20, help="forget records in every form")
    parser.add_argument("--strangers", type=int, default=40, help="questions about people whom no model was taught")
    parser.add_argument("--prompts-only", action="store_true", help="switch off the part of the gate that reads answers")
    parser.add_argument("--out", type=Path, default=Path("runs/evasion-answers"), help="receives the answers")
    parser.add_argument("--write", metavar="MARK", help="write the tables into the page in docs/results/, between two of these marks")
    args = parser.parse_args()
    run = open_run(args.run)
    if run.recipe.audit.control is None:
        raise InputError(f"{args.run}: the recipe of the run names no control; unlearn again with --control")
    splits, display = read_splits(run), Display()
    make_folder(args.out)
    forget = [one for one in in_forms(splits, splits.forget, args.rows) if one[0] in (AS_GIVEN, *args.forms)]
    others = about_others(splits, args.strangers)
    answers = {}
    for name, questions in (("original", [*forget, *others]), ("control", forget), ("unlearned", [*forget, *others])):
        answers[name] = saved_answers(
            args.out / f"{name}.json", questions, partial(answers_of, run, name, questions, args.prompts_only, display)
        )
    secrets = secret_words(splits.forget, splits.retain)
    original, unlearned = (answers[name][len(forget) :] for name in ("original", "unlearned"))
    tells = [tells_fact(text, secrets) for text in original]
    tables = [
        markdown("form", FORGET_COLUMNS, forget_cells(forget, answers)),
        markdown("questions about", OTHER_COLUMNS, other_cells(others, original, unlearned, tells)),
    ]
    command = f"python -m benchmarks.gate.evasion_answers --run RUN --forms {' '.join(args.forms)} --rows {args.rows}"
    command += f" --strangers {args.strangers}{' --prompts-only' if args.prompts_only else ''}"
    facts = f"{measured_on()}; greedy answers of {MAX_NEW_TOKENS} tokens. Command: `{command} --write MARK`.\n"
    text = "\n\n".join([*tables, facts])
    print(text)
    if args.write:
        write(f"<!-- {args.write} -->", text)


def about_others(splits: Splits, strangers: int) -> Questions:
    """Return questions about held-out retain people, as given and by partial names, and about strangers.

    Half of the strangers share a first or a last name with a forgotten person.
    """
    in_some_form = in_forms(splits, splits.held_out, len(splits.held_out))
    retain = [(f"retain people, {form}", record) for form, record in in_some_form if form in (AS_GIVEN, "first_name", "last_name")]
    unknown = neighbours(STRANGERS, demo.SEED)
    sharing = sharing_a_name(splits, unknown)
    groups: dict[str, tuple[list[Record], int]] = {"strangers": (unknown, strangers - 2 * (strangers // 4))}
    groups |= {f"strangers who share the {kind}": (sharing[kind], strangers // 4) for kind in ("first name", "last name")}
    return retain + [(group, record) for group, (records, count) in groups.items() for record in draw(records, count, SEED)]


def saved_answers(path: Path, questions: Questions, make: Callable[[], list[str]]) -> list[str]:
    """Return the answers to questions from a file; if it does not exist, make and save them first.

    Raises:
        InputError: the file holds answers to other questions.
    """
    asked = [record.prompt for _, record in questions]
    saved = read_or_make(path, lambda: [list(pair) for pair in zip(asked, make(), strict=True)])
    if [question for question, _ in saved] != asked:
        raise InputError(f"{path}: has answers to other questions; give another folder with --out")
    return [answer for _, answer in saved]


def answers_of(run: OpenedRun, name: str, questions: Questions, prompts_only: bool, display: Display) -> list[str]:
    """Return the greedy answers of a run's original, of its control or of its unlearned model."""
    if name == "unlearned":
        loaded = load_run(run)
        model, builder = loaded.model, loaded.builder
        if prompts_only:
            gate_config(model, REQUEST).answer_gate = False
    else:
        model, tokenizer, *_ = load(run.recipe.model if name == "original" else str(run.recipe.audit.control))
        builder = PromptBuilder(tokenizer)
    with display.bar(f"Asking the {name} model", len(questions)) as advance:
        return generate(model, builder, [builder.record(record).prompt for _, record in questions], MAX_NEW_TOKENS, BATCH_SIZE, advance)


def forget_cells(questions: Questions, answers: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the cells of each form. The excess is that of the unlearned model over the control, where the original tells more."""
    rouge = {
        name: [rouge_l_recall(answer, record.answer) for answer, (_, record) in zip(of_model, questions, strict=False)]
        for name, of_model in answers.items()
    }
    rows = {}
    for form in dict.fromkeys(form for form, _ in questions):
        places = [i for i, (of, _) in enumerate(questions) if of == form]
        original, control, unlearned = ([rouge[name][i] for i in places] for name in ("original", "control", "unlearned"))
        more = [after - other for before, other, after in zip(original, control, unlearned, strict=True) if before > other + TELLS_MORE]
        means = [f"{fmean(values):.3f}" for values in (original, control, unlearned)]
        excess = f"{fmean(more):+.3f}" if more else ""
        rows[form.replace("_", " ")] = [str(len(places)), str(len(more)), *means, excess, f"{max(unlearned):.2f}", f"{max(control):.2f}"]
    return rows


def other_cells(
    questions: Questions, original: Sequence[str], unlearned: Sequence[str], tells: Sequence[bool | None]
) -> dict[str, list[str]]:
    """Return the cells of each group: changed answers, apart by whether the original's answer tells a forgotten fact."""
    changed = [before != after for before, after in zip(original, unlearned, strict=True)]
    rows = {}
    for group in dict.fromkeys(group for group, _ in questions):
        places = [i for i, (of, _) in enumerate(questions) if of == group]
        parts = [[changed[i] for i in places if tells[i] is kind] for kind in (False, None, True)]
        rows[group.replace("_", " ")] = [str(len(places)), *(f"{sum(part)} of {len(part)}" for part in parts)]
    return rows


if __name__ == "__main__":
    main()
