"""Check that the audit catches runs that forgot nothing or broke the model, and that verify catches changed files.

    python -m benchmarks.audit.dishonest_runs [--out runs/dishonest] [--write]

The table goes into docs/results/. The models are those of the demo. Each run is saved, so a second call resumes an interrupted one.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.common.results import measured_on, write
from expunge.api import audit
from expunge.attestation import ATTESTATION, verify
from expunge.auditing.suite import Suite
from expunge.auditing.verdict import read_verdict
from expunge.config.recipe import Recipe, make_recipe
from expunge.console import Display
from expunge.errors import InputError, WrongBase
from expunge.models.placement import choose_placement
from expunge.pipeline.demo import prepare
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run

FULL = {"edit": "full", "training": {"batch_size": 10, "epochs": 5, "lr": 2e-4}}
RUNS: dict[str, dict[str, Any]] = {
    "was not unlearned": {**FULL, "objective": "grad_diff", "training": {"batch_size": 10, "epochs": 1, "lr": 1e-9}},
    "answers gibberish to everything": {**FULL, "objective": "grad_ascent"},
    "refuses everything": {**FULL, "objective": {"name": "idk", "retain_weight": 0.0}},
}
# No attacks: the questions as given already decide for a model that still answers them, or that answers nothing any more.
SUITE = Suite(budget_seconds=120, max_records=20)
MARK = "<!-- dishonest_runs -->"


def main() -> None:
    """Train, audit, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/dishonest"), help="folder for data and runs")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    recipe = prepare(args.out, "smollm2-135m", display, choose_placement())
    lines = ["| what is wrong | row that fails | reason |", "|---|---|---|"]
    for name, changes in RUNS.items():
        display.print(f"== {name}")
        run = audit(unlearn(changed(recipe, args.out / name.replace(" ", "-"), changes), display), suite=SUITE)
        lines += [f"| {name} | {row} | {reason} |" for row, reason in failures(run)]
    lora = {"edit": "lora", "objective": "npo", "training": {"batch_size": 10, "epochs": 1, "lr": 1e-4}}
    run = audit(unlearn(changed(recipe, args.out / "honest", lora), display), suite=SUITE)
    other = unlearn(changed(recipe, args.out / "other", {**lora, "model": str(recipe.audit.control)}), display)
    for file in ("attestation.json", "audit.json", "verdict.json", "edit/adapter_model.safetensors"):
        row, reason = with_changed_byte(run, args.out / "changed", file)
        lines.append(f"| a byte of {file} was changed | `expunge verify`: {row} | {reason} |")
    swapped = with_another_edit(run, other, args.out / "changed", display)
    lines += [f"| its adapter is for another base | {row} | {reason} |" for row, reason in swapped]
    facts = f"{measured_on()}; n at most {SUITE.max_records} a set; this call took {(time.monotonic() - started) / 60:.0f} min."
    text = "\n".join([*lines, "", f"{facts} Command: `python -m benchmarks.audit.dishonest_runs --write`.\n"])
    print(text)
    if args.write:
        write(MARK, text)


def changed(recipe: Recipe, out: Path, changes: dict[str, Any]) -> Recipe:
    """Return the demo's recipe with another method."""
    return make_recipe({**recipe.as_dict(), **changes, "out": str(out)})


def failures(run: Run) -> list[tuple[str, str]]:
    """Return the name and the reason of each row of the verdict that fails."""
    return [(row["name"], row["reason"]) for row in read_verdict(run) if row["verdict"] == "fail"] or [("none", "")]


def with_changed_byte(run: Run, copy: Path, file: str) -> tuple[str, str]:
    """Return the first check of `expunge verify` that fails on a copy with one changed byte, and its detail."""
    copied(run, copy)
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    try:
        first = next(check for check in verify(copy / ATTESTATION) if check.status == "differs")
    except InputError as error:
        return "the file cannot be read", str(error)
    return first.name, first.detail


def with_another_edit(run: Run, other: Run, copy: Path, display: Display) -> list[tuple[str, str]]:
    """Return the rows that fail on a copy whose edit was trained on another model, and whose run.json was changed to fit it."""
    copied(run, copy)
    shutil.rmtree(copy / "edit")
    shutil.copytree(other.edit, copy / "edit")
    Run(copy).update_info(edit=other.read_info()["edit"])
    try:
        audit(Run(copy), suite=SUITE)
    except WrongBase:
        return failures(Run(copy))
    return [("none", "the audit passes")]


def copied(run: Run, copy: Path) -> None:
    """Replace `copy` by a copy of the run folder."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run.folder, copy)


if __name__ == "__main__":
    main()
