"""Read the rounds of a release back: what each one chose, its modules, the model after it, and the curve over all rounds."""

from pathlib import Path
from typing import Any

from torch import nn

from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.documents import checked, read_json
from expunge.edits.manifest import check_manifest
from expunge.errors import Damaged, InputError
from expunge.files import file_sha256, make_folder, write_text
from expunge.models.finite import json_text
from expunge.models.placement import Placement, in_fp32
from expunge.reveal_release.release.lora_delta import LoraModule, add_deltas, read_module
from expunge.reveal_release.release.round_schema import Figure, OriginalJson, RoundJson
from expunge.reveal_release.reveal.private_files import FORGET_MODULE
from expunge.runs.folder import INFO, ROUNDS, Run
from expunge.runs.loaded import OpenedRun, load_base

ROUND, TASK_METRICS = "round.json", "measured.json"
"""Files in the folder of a round: what it chose, and the task's metrics after it."""
METRICS = "metrics"
"""Key of a round's validation metrics in `ROUND`."""
MEASURED = "measured"
"""Field of run.json: the hash of each round's `TASK_METRICS`."""
MANIFESTS = "manifests"
"""Key of the hashes of the modules' manifests in `ROUND`."""
RETAIN_MODULE = "retain_module"
"""Folder of a retain module."""


def is_recorded(run: Run, number: int) -> bool:
    """Return whether a round is complete: its file is written, and run.json records the hash."""
    return number in _recorded(run)


def write_round(run: Run, number: int, facts: dict[str, Any]) -> None:
    """Write what a round measured and chose, and record the hash of the file in run.json."""
    _write(run, ROUNDS, _path(run, number), facts)


def is_measured(run: Run, number: int) -> bool:
    """Return whether the task was measured after a round."""
    return number in _recorded(run, MEASURED)


def write_figures(run: Run, number: int, figures: dict[str, Any]) -> None:
    """Write the task's metrics after a round, and record the hash of the file in run.json."""
    _write(run, MEASURED, _path(run, number, TASK_METRICS), figures)


def read_round(run: Run, number: int) -> dict[str, Any]:
    """Return what a round measured and chose.

    Raises:
        Damaged: the file is not the one that the release wrote.
    """
    path = _path(run, number)
    _check_hash(run, path, _recorded(run).get(number))
    return _checked(path)


def check_rounds(run: Run) -> None:
    """Raise `Damaged` if a file of a round is not the one that the release wrote; a run that is no release has none."""
    for number in _recorded(run):
        read_round(run, number)
    for number in _recorded(run, MEASURED):
        _read_figures(run, number)


def recorded_modules(path: Path) -> dict[str, str]:
    """Return the folders of the modules that the file of a round names, relative to the run, with the hashes of their manifests."""
    facts = _checked(path)
    return {facts[name]: recorded for name, recorded in (facts.get(MANIFESTS) or {}).items() if recorded is not None}


def round_terms(run: Run, number: int) -> list[tuple[float, LoraModule]]:
    """Return what a round adds to the weights: coefficients and modules.

    Raises:
        Damaged: the file of the round, or a module, is not the one that the release wrote.
    """
    facts = read_round(run, number)
    coefficients = {FORGET_MODULE: -facts["lambda_f"], RETAIN_MODULE: facts["lambda_r"]}
    return [(value, _read_checked(run.folder / facts[name], facts[MANIFESTS][name])) for name, value in coefficients.items() if value]


def _read_checked(folder: Path, recorded: str) -> LoraModule:
    check_manifest(folder, recorded)
    module = read_module(folder)
    check_manifest(folder, recorded)
    return module


def _checked(path: Path) -> dict[str, Any]:
    facts = read_json(path)
    checked(facts, RoundJson if path.parent.name != "0" else OriginalJson, str(path))
    return facts


def _write(run: Run, field: str, path: Path, content: dict[str, Any]) -> None:
    """Write a file of a round, and record its hash under a field of run.json."""
    make_folder(path.parent)
    write_text(path, json_text(content, str(path), indent=1) + "\n")
    run.update_info(**{field: {**_recorded(run, field), int(path.parent.name): file_sha256(path)}})


def _check_hash(run: Run, path: Path, recorded: str | None) -> None:
    if not path.is_file() or file_sha256(path) != recorded:
        raise Damaged(f"{path}: does not have the hash that {run.folder / INFO} records; restore it from a copy of the run")


def _read_figures(run: Run, number: int) -> dict[str, Figure]:
    """Return the task's metrics after a round; none if the recipe has no task."""
    recorded = _recorded(run, MEASURED).get(number)
    if recorded is None:
        return {}
    path = _path(run, number, TASK_METRICS)
    _check_hash(run, path, recorded)
    return read_json(path, dict[str, Figure])


def _path(run: Run, number: int, name: str = ROUND) -> Path:
    return run.folder / ROUNDS / str(number) / name


def _recorded(run: Run, field: str = ROUNDS) -> dict[int, str]:
    """Return the hashes of files of the rounds, by number: those of `ROUND`, or with `MEASURED` those of `TASK_METRICS`."""
    return checked(run.read_info().get(field, {}), dict[int, str], f"{run.folder / INFO}: {field}")


def count_rounds(run: Run) -> int:
    """Return how many rounds a release has completed."""
    numbers = [int(path.parent.name) for path in (run.folder / ROUNDS).glob(f"*/{ROUND}") if path.parent.name.isdecimal()]
    if not numbers:
        raise InputError(f"{run.folder / ROUNDS}: holds no {ROUND}; restore it from a copy of the run")
    return max(numbers)


def load_after_round(run: OpenedRun, number: int, display: Display, placement: Placement) -> tuple[nn.Module, PromptBuilder]:
    """Load the original and apply the modules of rounds 1 to `number`."""
    with display.step("Loading the model"):
        loaded = load_base(run, in_fp32(placement, "a release"))
        model = loaded.model
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
        task = {name: figure.value for name, figure in _read_figures(run, number).items()}
        rows.append({"round": number, "lambda": facts.get("lambda_f"), **metrics, **angles, **task, "stop": facts.get("stop")})
    return rows
