"""Take any model through teaching, `unlearn` with its audit, the gate's evaluation and `export`, with no option beyond the files.

    python -m benchmarks.unlearning.two_authors --tofu DIR --model gemma-3-270m-q4_k_m.gguf [--setting NAME=VALUE …]

Eight TOFU authors are taught, the control is taught six of them, and the other two are forgotten. The LoRA run that is exported has
one epoch: it shows that the merged checkpoint gives the run's own logits. The script prints what the audit and the gate's evaluation
found. Each step is saved, so a second call resumes an interrupted one.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.common.results import measured_on
from benchmarks.common.tofu import CONTROL_EPOCHS, ORIGINAL_EPOCHS, QUESTIONS
from expunge.api import evaluate_gate, export
from expunge.console import Display
from expunge.data.records import Record, read_records, write_records
from expunge.models.loading import load
from expunge.pipeline.teach import Stage, teach
from expunge.runs.folder import Run
from expunge.runs.loaded import load_run, open_run

AUTHORS, FORGOTTEN = 8, 2
MEASURED = ("forget", "forget_paraphrase", "retain", "retain_paraphrase")
LORA = ("--edit", "lora", "--objective", "npo", "--no-audit", "training.epochs=1")


def main() -> None:
    """Run all steps and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, required=True, help="folder with TOFU's JSONL files")
    parser.add_argument("--model", required=True, help="a hub id, a local folder or a .gguf file")
    parser.add_argument("--out", type=Path, default=Path("runs/two-authors"))
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="a setting of the GRUN run; repeatable")
    args = parser.parse_args()
    display = Display()
    args.out.mkdir(parents=True, exist_ok=True)
    every = read_records(args.tofu / "forget10_perturbed.jsonl")[: AUTHORS * QUESTIONS]
    records = {"forget": every[: FORGOTTEN * QUESTIONS], "retain": every[FORGOTTEN * QUESTIONS :]}
    for name, of_set in records.items():
        write_records(args.out / f"{name}.jsonl", of_set)
    stages = [Stage("control-authors", records["retain"], CONTROL_EPOCHS), Stage("original-authors", every, ORIGINAL_EPOCHS)]
    taught = teach(args.model, stages, display)
    started = time.monotonic()
    run = trained(args.out, "grun", "--model", taught["original-authors"], "--control", taught["control-authors"], *args.setting)
    minutes = (time.monotonic() - started) / 60
    facts = {
        "audit": {model: of_model(sets) for model, sets in Run(run).summary.items()},
        "gate": {f"{group['set']}, {group['variant']}": group["value"] for group in evaluate_gate(run)["groups"]},
        "largest_difference": exported(args.model, trained(args.out, "lora", *LORA, "--model", args.model), records["forget"]),
        "minutes": round(minutes),
        "measured": measured_on(),
    }
    print(json.dumps(facts, indent=1))


def of_model(sets: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return what the audit measured of one model: ROUGE-L and the true answer's probability."""
    return {name: {metric: sets[name][metric]["value"] for metric in ("rouge", "probability")} for name in MEASURED}


def trained(out: Path, name: str, *options: object) -> Path:
    """Run `expunge unlearn` as a user does, and return the run's folder; the same call resumes it. A failed verdict is a result too."""
    files = ("--forget", out / "forget.jsonl", "--retain", out / "retain.jsonl", "--out", out / name)
    subprocess.run([sys.executable, "-m", "expunge", "unlearn", *map(str, (*options, *files))], check=False)
    return out / name


def exported(source: str, run: Path, records: list[Record]) -> dict[str, float]:
    """Export a run with LoRA, and compare the first record's logits with those of the run and of the source."""
    loaded, folder = load_run(open_run(run)), run / "model"
    if not folder.exists():
        export(run, folder)
    prompt = torch.tensor([loaded.builder.record(records[0]).prompt])
    with torch.inference_mode():
        of_run, of_source = loaded.model(prompt).logits, load(source)[0](prompt).logits
        of_export = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(prompt).logits
    return {"run and export": float((of_run - of_export).abs().max()), "run and source": float((of_run - of_source).abs().max())}


if __name__ == "__main__":
    main()
