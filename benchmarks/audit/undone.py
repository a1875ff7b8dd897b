"""Measure how much quantisation and relearning restore of what changed weights hide, on TOFU; write the table into docs/results/.

    python -m benchmarks.audit.undone --tofu DIR [--out runs/audit_methods] [--write]

The models are those of methods.py, but the learning rate is higher, so that the changed weights hide nearly all.
Each step is saved, so a second call resumes an interrupted one.
"""

import argparse
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from benchmarks.audit.methods import before, excess, recipe_of, shown
from benchmarks.common.results import markdown, measured_on, slug, write
from benchmarks.common.tofu import prepare
from expunge.api import audit
from expunge.auditing.attacks.relearn import SOURCES
from expunge.auditing.suite import Suite
from expunge.auditing.verdict import read_verdict
from expunge.console import Display
from expunge.data.set_names import FORGET, NEUTRAL, RETAIN
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import ATTACKED, VERDICT, Run

FULL: dict[str, Any] = {"edit": "full", "training": {"epochs": 5, "lr": 2e-5}}
METHODS = {f"full x {objective}": {**FULL, "objective": objective} for objective in ("npo", "grad_diff")}
KINDS = ("nf4", "rtn4", "int8")
STEPS = 20
SUITE = Suite(
    budget_seconds=600,
    max_records=32,
    attacks=[
        *({"name": "quantise", "max_records": 32, "kind": kind} for kind in KINDS),
        {"name": "relearn", "max_records": 64, "source": "part", "max_steps": STEPS, "measure_every": 10},
        {"name": "relearn", "max_records": 32, "source": "related", "max_steps": STEPS, "measure_every": 10},
    ],
)
COLUMNS = (
    *("forget ROUGE-L", "retain ROUGE-L", "neutral perplexity", "before rounding", *KINDS),
    *("relearned from part, step by step", "relearned from the retain set"),
)
MARK = "<!-- audit_undone -->"


def main() -> None:
    """Teach, unlearn, audit, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, required=True, help="folder with TOFU's JSONL files")
    parser.add_argument("--out", type=Path, default=Path("runs/audit_methods"), help="folder for data, models and runs")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    prepare(args.tofu, args.out, "smollm2-135m", 20, display)
    runs = {}
    for name, method in METHODS.items():
        display.print(f"== {name}")
        runs[name] = unlearn(recipe_of(method, args.out, args.out / f"{slug(name)}-undone"), display)
        if not (runs[name].folder / VERDICT).exists():
            audit(runs[name], suite=SUITE)
    first = next(iter(runs.values()))
    rows = {"original": row(first, "original"), "control": row(first, "control")} | {
        name: row(run, "unlearned") for name, run in runs.items()
    }
    attacked = ", ".join(f"{attack.label} {attack.max_records}" for attack in SUITE.attacks)
    facts = (
        f"{measured_on()}; SmolLM2-135M-Instruct, 20 authors x 20 questions taught, 4 authors forgotten, learning rate 2e-5, 5 epochs; "
        f"n: sets {SUITE.max_records}, {attacked} (of `part` half is trained on, half queried); seed 42; "
        f"this call took {(time.monotonic() - started) / 60:.0f} min. Command: `python -m benchmarks.audit.undone --tofu DIR --write`."
    )
    text = f"{markdown('model', COLUMNS, rows)}\n\n{facts}\n"
    print(text)
    if args.write:
        write(MARK, text)


def relearned(source: str) -> str:
    """Return the name of the verdict row of relearning from a source."""
    return f"relearned from {SOURCES[source]}, {STEPS} steps"


def row(run: Run, model: str) -> list[str]:
    """Return the cells of a model; for the unlearned model with the excess over the control."""
    summary, verdict = run.summary[model], {one["name"]: one for one in read_verdict(run)}
    rounded = [verdict[f"quantised: {kind}"] for kind in KINDS]
    return [
        shown(summary[FORGET]["rouge"]),
        shown(summary[RETAIN]["rouge"]),
        f"{summary[NEUTRAL]['perplexity']['value']:.1f}",
        f"{before(run, model):.2f}",
        *(f"{one[model]['value']:.2f}, {excess(one, model)}" for one in rounded),
        *(
            f"{' → '.join(curve(run, model, f'relearn {source}'))}, {excess(verdict[relearned(source)], model)}"
            for source in ("part", "related")
        ),
    ]


def curve(run: Run, model: str, attack: str) -> list[str]:
    """Return the mean leak at each measured step of relearning."""
    rows = [one for one in pq.read_table(run.folder / ATTACKED).to_pylist() if one["model"] == model and one["attack"] == attack]
    steps = sorted({one["step"] for one in rows})
    return [f"{fmean(one['value'] for one in rows if one['step'] == step):.2f}" for step in steps]


if __name__ == "__main__":
    main()
