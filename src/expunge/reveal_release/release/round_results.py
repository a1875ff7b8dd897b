"""Read the rounds of a release back: what each one chose, its modules, the model after it, and the curve over all rounds."""

import json
from typing import Any

from torch import nn

from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.models.loading import best_device
from expunge.reveal_release.release.lora_delta import LoraModule, add_deltas, read_module
from expunge.reveal_release.reveal.private_files import FORGET_MODULE
from expunge.runs.folder import ROUNDS, Run
from expunge.runs.loaded import OpenedRun, load_base

ROUND, TASK_METRICS = "round.json", "measured.json"
"""Files in the folder of a round: what it chose, and the task's metrics after it."""
METRICS = "metrics"
"""Key of a round's validation metrics in `ROUND`."""
RETAIN_MODULE = "retain_module"
"""Folder of a retain module."""


def read_round(run: Run, number: int) -> dict[str, Any]:
    """Return what a round measured and chose."""
    return json.loads((run.folder / ROUNDS / str(number) / ROUND).read_text(encoding="utf-8"))


def round_terms(run: Run, number: int) -> list[tuple[float, LoraModule]]:
    """Return what a round adds to the weights: coefficients and modules."""
    facts = read_round(run, number)
    coefficients = {FORGET_MODULE: -facts["lambda_f"], RETAIN_MODULE: facts["lambda_r"]}
    return [(value, read_module(run.folder / facts[name])) for name, value in coefficients.items() if value]


def count_rounds(run: Run) -> int:
    """Return how many rounds a release has completed."""
    return max(int(path.parent.name) for path in (run.folder / ROUNDS).glob(f"*/{ROUND}"))


def load_after_round(run: OpenedRun, number: int, display: Display) -> tuple[nn.Module, PromptBuilder]:
    """Load the original and apply the modules of rounds 1 to `number`."""
    with display.step("Loading the model"):
        loaded = load_base(run)
        model = loaded.model.to(best_device())
    for done in range(1, number + 1):
        add_deltas(model, round_terms(run, done))
    return model, loaded.builder


def curve(run: Run) -> list[dict[str, Any]]:
    """Return one row per round, the original first: lambda, validation metrics, principal angles, and the task's metrics.

    The validation metrics of all rounds are on the validation records of the first one.
    """
    rows = []
    for number in range(count_rounds(run) + 1):
        facts = read_round(run, number)
        metrics = {f"validation_{name}": value for name, value in (facts[METRICS] or {}).items()}
        angles = {f"angle_{side}": angle for side, angle in (facts.get("angles") or {}).items() if side.endswith("smallest")}
        path = run.folder / ROUNDS / str(number) / TASK_METRICS
        figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        task = {name: figure["value"] for name, figure in figures.items()}
        rows.append({"round": number, "lambda": facts.get("lambda_f"), **metrics, **angles, **task, "stop": facts.get("stop")})
    return rows
