"""Forget four of twenty TOFU authors with GRUN's published presets, our settings and LoRA + NPO; write the table into docs/results/.

    python -m benchmarks.unlearning.tofu_forget_authors --tofu DIR [--out runs/tofu] [--write]

DIR holds TOFU's forget10_perturbed.jsonl, real_authors_perturbed.jsonl and world_facts_perturbed.jsonl. The twenty authors of
forget10 are taught to SmolLM2-135M-Instruct; the control is taught the sixteen that are retained. Each step is saved,
so a second call resumes an interrupted one.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.common.results import markdown, measured_on, write
from benchmarks.common.tofu import AUTHORS, CHOICES, QUESTIONS, prepare
from expunge.api import audit
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.documents import read_yaml
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run

OURS = "recipes/tofu-forget-authors.yaml"
METHODS = {
    "grun x grad_diff (published)": "recipes/grun-gd.yaml",
    "grun x npo (published)": "recipes/grun-npo.yaml",
    "grun x idk (published)": "recipes/grun-idk.yaml",
    "lora x npo": "recipes/lora-npo.yaml",
    "grun x alternatives, pooled gate first (ours)": OURS,
}
COLUMNS = {
    "forget ROUGE-L": ("forget", "rouge"),
    "paraphrased": ("forget_paraphrase", "rouge"),
    "forget prob.": ("forget", "probability"),
    "truth ratio": ("forget", "truth_ratio"),
    "KS p": ("forget", "forget_quality"),
    "degenerate": ("forget", "degeneracy"),
    "refusals": ("forget", "refusal"),
    "retain ROUGE-L": ("retain", "rouge"),
    "real authors": ("real_authors", "rouge"),
    "world facts": ("world_facts", "rouge"),
    "utility": ("utility", "model_utility"),
    "gate AUROC paraphrased": ("forget_paraphrase", "gate_auroc"),
    "gate open: paraphrased": ("forget_paraphrase", "gate_open"),
    "retain": ("retain", "gate_open"),
    "real authors ": ("real_authors", "gate_open"),
}
MARK = "<!-- tofu_forget_authors -->"


def main() -> None:
    """Teach, unlearn, audit, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, required=True, help="folder with TOFU's JSONL files")
    parser.add_argument("--out", type=Path, default=Path("runs/tofu"), help="folder for data, models and runs")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="the first questions of each author, this many of twenty")
    parser.add_argument("--rows", type=int, help="records of a set in the audit; default: the recipe's")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    prepare(args.tofu, args.out, args.model, args.questions, display)
    base: dict[str, Any] = {**read_yaml(OURS), "model": str(args.out / "original")}
    base["data"] = {name: str(args.out / f"{name}.jsonl") for name in ("forget", "retain")}
    others = {name: str(args.out / f"{name}.jsonl") for name in ("real_authors", "world_facts")}
    base["audit"] |= {"control": str(args.out / "control"), "sets": others}
    runs = {}
    for name, path in METHODS.items():
        preset = {section: read_yaml(path)[section] for section in ("objective", "edit", "training")}
        display.print(f"== {name}")
        run = unlearn(make_recipe({**base, **preset, "out": str(args.out / Path(path).stem)}), display)
        if not (run.folder / "audit.json").exists():
            audit(run, max_records=args.rows)
        runs[name] = run
    text = table(runs) + f"\n\n{facts(runs, args, time.monotonic() - started)}\n"
    print(text)
    if args.write:
        write(MARK, text)


def table(runs: dict[str, Run]) -> str:
    """Return the table in Markdown: original and control first, then one row for each method."""
    summaries = {name: run.summary for name, run in runs.items()}
    first = next(iter(summaries.values()))
    rows = {"original": first["original"], "control (never saw the four)": first["control"]}
    rows |= {name: summary["unlearned"] for name, summary in summaries.items()}
    seconds = {name: f"{run.read_info()['seconds']:.0f} s" for name, run in runs.items()}
    cells = {
        name: [*(_cell(row.get(of_set, {}).get(metric)) for of_set, metric in COLUMNS.values()), seconds.get(name, "")]
        for name, row in rows.items()
    }
    return markdown("model", [*COLUMNS, "training"], cells)


def facts(runs: dict[str, Run], args: argparse.Namespace, seconds: float) -> str:
    """Return date, machine, n and package versions."""
    summary = next(iter(runs.values())).summary["unlearned"]
    counts = ", ".join(f"{name} {next(iter(metrics.values()))['n']}" for name, metrics in summary.items() if name != "utility")
    return (
        f"{measured_on()}; model {args.model}; {AUTHORS} authors x {args.questions} questions taught, {len(CHOICES[0])} authors forgotten; "
        f"n: {counts}; this call took {seconds / 60:.0f} min. "
        f"Command: `python -m benchmarks.unlearning.tofu_forget_authors --tofu DIR --questions {args.questions} "
        f"--rows {args.rows} --write`."
    )


def _cell(number: dict | None) -> str:
    if number is None:
        return ""
    value = f"{number['value']:.2f}" if number["value"] >= 0.005 or number["value"] == 0 else f"{number['value']:.0e}"
    return value if number["ci95"] is None else f"{value} ({number['ci95'][0]:.2f}–{number['ci95'][1]:.2f})"


if __name__ == "__main__":
    main()
