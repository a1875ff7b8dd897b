"""Run every command on a tiny random model of every family, and write what works into docs/reference/models.md.

    python -m benchmarks.audit.families [--families llama,mamba] [--out runs/families] [--write]

Each family runs in a process of its own. A family whose result is in the folder already is not run again.
A cell is `yes`, the sentence with which expunge refuses, or a fault: TRACEBACK, WRONG (a number) or LATE (refused after training began).
The script ends with an error if a cell is a fault.
"""

import argparse
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

import expunge
from benchmarks.common.results import markdown, measured_on, write
from expunge import api
from expunge.auditing.attacks import ATTACKS
from expunge.auditing.suite import Suite
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.data.records import Turn, read_records
from expunge.edits.save import load_edit, save_edit
from expunge.errors import ExpungeError
from expunge.files import make_folder, remove_folder, write_text
from expunge.models.generation import generate
from expunge.models.identified import load_identified
from expunge.models.loading import load
from expunge.models.prompt_cache import read_prompts
from expunge.models.scoring import score
from expunge.models.shared_prompt_scoring import score_answers
from expunge.models.sources import first_line
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run
from tests.tiny_families import FAMILIES, save_tiny_model
from tests.uncached_answers import uncached_answer

MARK = "<!-- families -->"
TRACEBACK, WRONG, LATE = "TRACEBACK", "WRONG", "LATE"
"""Beginnings of cells that are faults: an error without a sentence, a wrong number, a refusal after training began."""
EDITS = ("grun", "lora", "full", "release")
COLUMNS = (*EDITS, "gate", "audit", "generation", "save, load", "export")
QUESTIONS = ("Who?", "Where does Basil Mahfouz live?", "What is the capital of France, a city on the Seine?")
NEW_TOKENS = 6
TOLERANCE = 1e-4
"""Nats, or logits, by which two ways to compute the same number may differ in fp32."""

MODULE = {"rank": 2, "epochs": 1, "lr": 5e-3, "batch_size": 3, "dtype": "fp32"}
TRAINING = {"epochs": 1, "batch_size": 3, "dtype": "fp32"}
# With 32 random dimensions the gate cannot reach the default of 3 %.
GATED = {"name": "grun", "false_positive_rate": 0.5}
SETTINGS = {
    "sampling": {"samples": 3},
    "prefill": {"shares": [0.5]},
    "relearn": {"max_steps": 2, "measure_every": 2},
}
SUITE = Suite(
    budget_seconds=60,
    max_records=3,
    membership_records=4,
    membership_gradients=True,
    attacks=[{"name": name, "max_records": 2, **SETTINGS.get(name, {})} for name in ATTACKS],
)


class Wrong(Exception):
    """Raised where two ways to compute the same number differ."""


@dataclass
class Trial:
    """One family: its model, its data, and its runs.

    Attributes:
        family: name of the family.
        folder: receives everything.
        runs: those that were trained, by edit.
    """

    family: str
    folder: Path
    runs: dict[str, Run] = field(default_factory=dict)

    def prepare(self) -> None:
        """Write the model, the control model and the data."""
        make_folder(self.folder)
        save_tiny_model(self.family, self.folder / "model")
        save_tiny_model(self.family, self.folder / "control", seed=1)
        names = ["Basil Mahfouz", "Ana Petrova", "Li Wei", "Tom Ashe", "Noor Haddad", "Eva Lind"]
        facts = ["France", "Spain", "Italy", "Norway", "Chile", "Kenya", "Japan", "India", "Peru", "Cuba"]
        wrong = ["Nobody knows that.", "Nobody knows where."]
        forget = [
            {"id": f"f{i}", "prompt": f"Where does {n} live?", "answer": f"{n} lives in city {i}.", "wrong_answers": wrong}
            for i, n in enumerate(names)
        ]
        retain = [{"id": f"r{i}", "prompt": f"What is the capital of {n}?", "answer": f"The city number {i}."} for i, n in enumerate(facts)]
        holdout = [
            {"id": f"h{i}", "prompt": f"Where does {n} live?", "answer": f"{n} lives in Paris."} for i, n in enumerate(("Zoe", "Max"))
        ]
        for name, rows in (("forget", forget), ("retain", retain), ("holdout", holdout)):
            write_text(self.folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def train(self, edit: str) -> None:
        """Train an edit, or run a release."""
        recipe = {
            "model": str(self.folder / "model"),
            "data": {"forget": str(self.folder / "forget.jsonl"), "retain": str(self.folder / "retain.jsonl"), "held_out": 0.5},
            "audit": {"max_new_tokens": NEW_TOKENS, "max_records": 3, "holdout": str(self.folder / "holdout.jsonl")},
            "out": str(self.folder / edit),
        }
        if edit == "release":
            settings = {"rounds": 1, "module": MODULE, "lambda_evaluations": 2, "max_utility_drop": 0.5}
            self.runs[edit] = expunge.release({**recipe, "release": settings})
        else:
            chosen = {"edit": GATED if edit == "grun" else {"name": edit}, "objective": "npo", "training": TRAINING}
            self.runs[edit] = unlearn(make_recipe({**recipe, **chosen}), Display())

    def gate(self) -> None:
        """Evaluate the gate of the gated edit."""
        api.evaluate_gate(self.run("grun"), max_records=3)

    def audit(self) -> None:
        """Audit every run with every attack, and compare scores with and without the cache of prompts."""
        for edit in EDITS:
            run = expunge.audit(self.run(edit), self.folder / "control", SUITE)
            if not (run.folder / "verdict.json").exists():
                raise Wrong(f"{edit}: no verdict")
            compare_scores(*expunge.load(run))

    def generation(self) -> None:
        """Generate answers in a batch of prompts of different lengths, and compare them with those of one prompt without any cache."""
        for edit in EDITS:
            model, builder = expunge.load(self.run(edit))
            prompts = [builder.prompt((Turn("user", question),)) for question in QUESTIONS]
            alone = [uncached_answer(model, builder, prompt, NEW_TOKENS) for prompt in prompts]
            if generate(model, builder, prompts, NEW_TOKENS) != alone:
                raise Wrong(f"{edit}: a prompt alone, without a cache, has another answer")

    def save_and_load(self) -> None:
        """Load each adapter, save it again and load the copy: the scores must be the same, and not those of the base model."""
        base, builder = load(self.folder / "model")[0], expunge.load(self.run("lora"))[1]
        batch = collate([builder.record(record) for record in read_records(self.folder / "forget.jsonl")], builder.pad)
        identity = load_identified(self.folder / "model").identity
        with torch.no_grad():
            expected = score(base, batch).nll
            for edit in EDITS:
                model, _ = expunge.load(self.run(edit))
                edited = score(model, batch).nll
                if torch.equal(edited, expected):
                    raise Wrong(f"{edit}: scores as the base model does")
                if isinstance(model, PeftModel):
                    save_edit(model, self.folder / f"{edit}-copy", identity)
                    copy = load_edit(load(self.folder / "model")[0], self.folder / f"{edit}-copy", identity)
                    if not torch.equal(score(copy, batch).nll, edited):
                        raise Wrong(f"{edit}: its copy gives other scores")

    def export(self) -> None:
        """Export the runs that can be merged, load them with transformers alone, and compare logits with the run's."""
        ids = torch.arange(3, 60)[None]
        for edit in ("lora", "full", "release"):
            folder = expunge.export(self.run(edit), self.folder / f"{edit}-export")
            with torch.no_grad():
                expected = expunge.load(self.run(edit))[0](input_ids=ids).logits
                exported = AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=ids).logits
            if (difference := (exported - expected).abs().max().item()) > TOLERANCE:
                raise Wrong(f"{edit}: the logits of the export differ by {difference:.2g}")

    def run(self, edit: str) -> Run:
        """Return the trained run of an edit."""
        if edit not in self.runs:
            raise ExpungeError(f"needs the {edit} run")
        return self.runs[edit]


@torch.no_grad()
def compare_scores(model: nn.Module, builder: PromptBuilder) -> None:
    """Raise `Wrong` if answers that share the cache of a prompt get other scores than each row alone."""
    prompts = [builder.prompt((Turn("user", question),)) for question in QUESTIONS]
    answers = [[(*shared, token, token + 1) for token in range(40, 44)] for shared in ((5, 6, 7, 8, 9), (), (11, 12, 13, 14))]
    together = score_answers(model, read_prompts(model, prompts, builder.pad), answers, builder.pad).nll
    rows = [Encoded(prompt, answer) for prompt, of_prompt in zip(prompts, answers, strict=True) for answer in of_prompt]
    alone = torch.cat([score(model, collate([row], builder.pad)).nll for row in rows])
    if (difference := (together - alone).abs().max().item()) > TOLERANCE:
        raise Wrong(f"scores with the cache of prompts differ by {difference:.2g} nats")


def cell(trial: Trial, column: str) -> str:
    """Return what a column's cell says of a family."""
    actions: dict[str, Callable[[], object]] = {
        **{edit: partial(trial.train, edit) for edit in EDITS},
        "gate": trial.gate,
        "audit": trial.audit,
        "generation": trial.generation,
        "save, load": trial.save_and_load,
        "export": trial.export,
    }
    try:
        actions[column]()
    except ExpungeError as error:
        late = column in EDITS and (trial.folder / column / "metrics.jsonl").exists()
        return f"{LATE}: {error}" if late else str(error)
    except Wrong as error:
        return f"{WRONG}: {error}"
    # The point of this script: whatever else is raised is a fault.
    except Exception as error:
        traceback.print_exc()
        return f"{TRACEBACK}: {type(error).__name__}: {first_line(error)}"
    return "yes"


def of_family(family: str, folder: Path) -> dict[str, str]:
    """Return the cells of a family, which runs in this process."""
    torch.set_num_threads(1)
    remove_folder(folder)
    trial = Trial(family, folder)
    trial.prepare()
    return {column: cell(trial, column) for column in COLUMNS}


def in_process(family: str, out: Path) -> dict[str, str]:
    """Return the cells of a family, which runs in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.audit.families", "--one", family, "--out", str(out)]
    result = out / f"{family}.json"
    if result.exists():
        return json.loads(result.read_text(encoding="utf-8"))
    with (out / f"{family}.log").open("w", encoding="utf-8") as log:
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if not result.exists():
        return dict.fromkeys(COLUMNS, f"{TRACEBACK}: the process ended with {ended.returncode}")
    return json.loads(result.read_text(encoding="utf-8"))


def matrix(rows: dict[str, dict[str, str]]) -> str:
    """Return the table; every other cell than `yes` is the number of a sentence below it."""
    sentences = list(dict.fromkeys(text for row in rows.values() for text in row.values() if text != "yes"))
    cells = {family: [text if text == "yes" else f"({sentences.index(text) + 1})" for text in row.values()] for family, row in rows.items()}
    notes = [f"({number}) {text}" for number, text in enumerate(sentences, start=1)]
    return "\n\n".join([markdown("family", COLUMNS, cells), *notes])


def main() -> None:
    """Run the families and print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES), help="names, with commas between")
    parser.add_argument("--out", type=Path, default=Path("runs/families"), help="folder for models, runs and results")
    parser.add_argument("--write", action="store_true", help="write the matrix into docs/reference/models.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = str(args.out.resolve() / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    if args.one:
        write_text(args.out / f"{args.one}.json", json.dumps(of_family(args.one, args.out / args.one)))
        return
    make_folder(args.out)
    rows = {}
    for family in args.families.split(","):
        rows[family] = in_process(family, args.out)
        print(family, json.dumps(rows[family], indent=1), flush=True)
    table = matrix(rows)
    print(table)
    faults = [(family, column) for family, row in rows.items() for column, text in row.items() if text.startswith((TRACEBACK, WRONG, LATE))]
    if args.write:
        write(MARK, f"Measured on {measured_on()}, by `python -m benchmarks.audit.families --write`.\n\n{table}")
    if faults:
        sys.exit("faults: " + ", ".join(f"{family}/{column}" for family, column in faults))


if __name__ == "__main__":
    main()
