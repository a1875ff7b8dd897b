"""Compare five methods on TOFU under the same attacks, with a control model; write the table into docs/results/.

    python -m benchmarks.audit.methods --tofu DIR [--out runs/audit_methods] [--suite benchmarks/audit/methods.yaml] [--write]

DIR holds TOFU's JSONL files. The models are those of unlearning/tofu_forget_authors.py.
Each step is saved, so a second call resumes an interrupted one.
"""

import argparse
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from benchmarks.common.results import markdown, measured_on, slug, write
from benchmarks.common.tofu import OTHERS, prepare
from expunge.api import audit
from expunge.auditing.suite import Suite, read_suite
from expunge.auditing.verdict import read_verdict
from expunge.config.recipe import Recipe, make_recipe
from expunge.console import Display
from expunge.data.set_names import FORGET, NEUTRAL, RETAIN, UTILITY
from expunge.documents import read_yaml
from expunge.pipeline.release import release
from expunge.pipeline.unlearn import unlearn
from expunge.reporting.verdict_table import count_verdicts
from expunge.runs.folder import ATTACKED, MEASURED_ROWS, VERDICT, Run

# The smallest learning rate at which forgetting shows, as in published models.
FULL: dict[str, Any] = {"edit": "full", "training": {"epochs": 5, "lr": 1e-5}}
METHODS: dict[str, dict[str, Any] | str] = {
    "grun x npo": "recipes/grun-npo.yaml",
    "lora x npo": "recipes/lora-npo.yaml",
    "full x grad_diff": {**FULL, "objective": "grad_diff"},
    "full x npo": {**FULL, "objective": "npo"},
    "release": {"release": {"rounds": 2, "max_utility_drop": 0.08}},
}
COLUMNS = (
    *("forget ROUGE-L", "forget prob.", "retain ROUGE-L", "utility", "neutral perplexity", "worst prompt attack", "leak@64"),
    *("relearn part", "relearn related", "relearn unrelated"),
    *("4 bits: before → after", "logit lens", "PrivLeak", "switched off", "verdict"),
)
OFF = "edit switched off"
MARK = "<!-- audit_methods -->"


def main() -> None:
    """Teach, unlearn, audit, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, required=True, help="folder with TOFU's JSONL files")
    parser.add_argument("--out", type=Path, default=Path("runs/audit_methods"), help="folder for data, models and runs")
    parser.add_argument("--suite", default="benchmarks/audit/methods.yaml", help="suite of attacks")
    parser.add_argument("--only", nargs="*", choices=METHODS, help="methods to run; default: all")
    parser.add_argument("--train-only", action="store_true", help="unlearn only; a later call audits")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    prepare(args.tofu, args.out, "smollm2-135m", 20, display)
    runs = {}
    for name in args.only or METHODS:
        display.print(f"== {name}")
        recipe = recipe_of(METHODS[name], args.out, args.out / slug(name))
        runs[name] = (release if recipe.release else unlearn)(recipe, display)
    if args.train_only:
        return
    suite = read_suite(args.suite)
    for name, run in runs.items():
        display.print(f"== {name}")
        if not (run.folder / VERDICT).exists():
            audit(run, suite=suite)
    text = table(runs) + f"\n\n{facts(args, suite, next(iter(runs.values())), time.monotonic() - started)}\n"
    print(text)
    if args.write:
        write(MARK, text)


def recipe_of(method: dict[str, Any] | str, data: Path, out: Path) -> Recipe:
    """Return a method's recipe on this data; only objective, edit and training are taken from a recipe file."""
    given = method if isinstance(method, dict) else {key: read_yaml(method)[key] for key in ("objective", "edit", "training")}
    others = {name: str(data / f"{name}.jsonl") for name in OTHERS}
    audited = {
        "control": str(data / "control"),
        "holdout": str(data / "untaught.jsonl"),
        "sets": others,
        "max_records": 40,
        "batch_size": 40,
    }
    sets = {name: str(data / f"{name}.jsonl") for name in ("forget", "retain")}
    return make_recipe({"model": str(data / "original"), "data": sets, "audit": audited, **given, "out": str(out)})


def table(runs: dict[str, Run]) -> str:
    """Return the table in Markdown: original and control first, then one row for each method."""
    first = next(iter(runs.values()))
    rows = {"original": cells(first, "original"), "control (never saw the four)": cells(first, "control")}
    rows |= {name: cells(run, "unlearned") for name, run in runs.items()}
    return markdown("model", COLUMNS, rows)


def cells(run: Run, model: str) -> list[str]:
    """Return the cells of a model."""
    summary, rows = run.summary[model], {row["name"]: row for row in read_verdict(run)}
    variants = [row for name, row in rows.items() if name.startswith("prompt variant")]
    worst = max(variants, key=lambda row: row[model]["value"] - row["control"]["value"])
    four_bits = max((rows[f"quantised: {kind}"] for kind in ("nf4", "rtn4")), key=lambda row: row[model]["value"])
    auroc, control = (run.summary[name][FORGET]["mia_min_k"]["value"] for name in (model, "control"))
    leaked = next(number for name, number in summary[FORGET].items() if name.startswith("leak@"))
    return [
        shown(summary[FORGET]["rouge"]),
        shown(summary[FORGET]["probability"]),
        shown(summary[RETAIN]["rouge"]),
        f"{summary[UTILITY]['model_utility']['value']:.2f}",
        f"{summary[NEUTRAL]['perplexity']['value']:.1f}",
        f"{excess(worst, model)} {worst['name'].partition(': ')[2]}",
        shown(leaked),
        *(excess(rows[name], model) for name in rows if name.startswith("relearned from")),
        f"{before(run, model):.2f} → {four_bits[model]['value']:.2f}, {excess(four_bits, model)}",
        excess(rows["logit lens, at the block that reveals most"], model),
        shown(summary[FORGET]["privleak"]) if "privleak" in summary[FORGET] else f"{(auroc - control) / control:.2f}",
        shown(rows[OFF][model]) if OFF in rows else "",
        count_verdicts(list(rows.values())) if model == "unlearned" else "",
    ]


def before(run: Run, model: str) -> float:
    """Return the mean ROUGE-L of the records that the quantised models answered, before quantisation."""
    attacked = pq.read_table(run.folder / ATTACKED).to_pylist()
    ids = {row["id"] for row in attacked if row["attack"].startswith("quantise")}
    rows = pq.read_table(run.folder / MEASURED_ROWS).to_pylist()
    return fmean(row["rouge"] for row in rows if row["model"] == model and row["set"] == FORGET and row["id"] in ids)


def excess(row: dict[str, Any], model: str) -> str:
    """Return a model's excess over the control; for the unlearned model with its interval."""
    if model == "unlearned":
        low, high = row["excess"]["ci95"]
        return f"{row['excess']['value']:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"{row[model]['value'] - row['control']['value']:+.2f}"


def shown(number: dict[str, Any]) -> str:
    """Return a number with its interval."""
    low, high = number["ci95"]
    return f"{number['value']:.2f} ({low:.2f}–{high:.2f})"


def facts(args: argparse.Namespace, suite: Suite, run: Run, seconds: float) -> str:
    """Return date, machine, n and package versions."""
    counts = ", ".join(f"{attack.label} {attack.max_records}" for attack in suite.attacks)
    forget, retain = (run.summary["unlearned"][name]["rouge"]["n"] for name in (FORGET, RETAIN))
    return (
        f"{measured_on()}; SmolLM2-135M-Instruct, 20 authors x 20 questions taught, 4 authors forgotten; "
        f"n: forget {forget}, retain {retain}, attacks at most {counts}; seed 42; this call took {seconds / 60:.0f} min. "
        f"Command: `python -m benchmarks.audit.methods --tofu DIR --suite {args.suite} --write`."
    )


if __name__ == "__main__":
    main()
