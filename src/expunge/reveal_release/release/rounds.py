"""Run the rounds of a release: train a LoRA module on the forget data, subtract it from the weights, repeat (after arXiv 2509.14624).

The run folder gets `rounds/N/` for each round N: `forget_module/` and `round.json`, `retain_module/` and `reveal/` if the recipe has
them, `measured.json` if it has a task. `rounds/0/` holds the metrics of the original. A killed run resumes in the phase it was in.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expunge.data.records import Record, data_hash
from expunge.edits.manifest import MANIFEST, check_manifest
from expunge.files import file_sha256
from expunge.reveal_release.release.choose_lambda import LambdaChoice, RoundModules, choose_lambda, original_metrics
from expunge.reveal_release.release.context import RoundContext
from expunge.reveal_release.release.line_search import ValidationMetrics, reaches_target
from expunge.reveal_release.release.lora_delta import add_deltas, read_module
from expunge.reveal_release.release.orthogonality import angles_summary, principal_angles
from expunge.reveal_release.release.round_data import forget_records, kl_records, retain_training, split_validation
from expunge.reveal_release.release.round_results import (
    MANIFESTS,
    METRICS,
    RETAIN_MODULE,
    is_measured,
    is_recorded,
    read_round,
    round_terms,
    write_figures,
    write_round,
)
from expunge.reveal_release.release.train_module import ModuleTraining, RetainConstraint, train_module
from expunge.reveal_release.reveal.private_files import FORGET_MODULE
from expunge.reveal_release.reveal.select import NothingRevealed

FORGET_CARD = """# A forget module: do not load it, do not share it

Added to the original model, or back to the released one, it teaches what the release has removed. The run needs it to undo the release or
to repeat it. `expunge purge` deletes it.
"""


def run_rounds(context: RoundContext) -> int:
    """Run the remaining rounds, and leave the model as it is after the last one.

    Returns:
        The number of the last round.

    Raises:
        ExpungeError: training failed.
    """
    settings, original = context.settings, original_metrics(context)
    measure_task(context, 0)
    for number in range(1, settings.rounds + 1):
        # A round that was killed before it was recorded runs again: its modules are trained, and it chooses the same lambda.
        if not is_recorded(context.run, number):
            write_round(context.run, number, _run_round(context, number, original))
        add_deltas(context.model, round_terms(context.run, number))
        measure_task(context, number)
        if read_round(context.run, number)["stop"]:
            return number
    return settings.rounds


def measure_task(context: RoundContext, number: int) -> None:
    """Measure the recipe's task, if it has one, on the model after a round."""
    task = context.recipe.task
    if task is None or is_measured(context.run, number):
        return
    title = f"Measuring the task after round {number}" if number else "Measuring the task"
    with context.display.bar(title, task.measured_rows) as advance:
        figures = task.measure(context.model, context.builder, advance)
    write_figures(context.run, number, {name: asdict(figure) for name, figure in figures.items()})


def _run_round(context: RoundContext, number: int, original: ValidationMetrics) -> dict[str, Any]:
    """Run a round up to the choice of lambda, and return its facts; the model does not change."""
    started = time.monotonic()
    try:
        records = forget_records(context, number)
    except NothingRevealed:
        return {"lambda_f": 0.0, "lambda_r": 0.0, "stop": "the model reveals too little for another round", METRICS: None}
    training, validation = split_validation(records, context.seed)
    retain_folder = _train_retain_module(context, number)
    forget_folder = _train_forget_module(context, number, training, retain_folder)
    retain = None if retain_folder is None else read_module(retain_folder)
    modules = RoundModules(read_module(forget_folder), retain, _lambda_r(context, number))
    choice = choose_lambda(context, number, modules, validation, original)
    return {
        **_decision(context, modules, choice),
        FORGET_MODULE: str(forget_folder.relative_to(context.run.folder)),
        RETAIN_MODULE: None if retain_folder is None else str(retain_folder.relative_to(context.run.folder)),
        MANIFESTS: {
            FORGET_MODULE: file_sha256(forget_folder / MANIFEST),
            RETAIN_MODULE: None if retain_folder is None else file_sha256(retain_folder / MANIFEST),
        },
        METRICS: None if choice.metrics is None else asdict(choice.metrics),
        "chosen": None if choice.chosen is None else asdict(choice.chosen),
        "evaluations": [one.as_dict() for one in choice.evaluations],
        "max_utility_drop": choice.max_drop,
        "records": {"training": len(training), "validation": len(validation), "sha256": data_hash(records)},
        "angles": None if retain is None else angles_summary(principal_angles(retain, modules.forget)),
        "seconds": round(time.monotonic() - started, 1),
    }


def _decision(context: RoundContext, modules: RoundModules, choice: LambdaChoice) -> dict[str, Any]:
    if choice.chosen is None:
        return {"lambda_f": 0.0, "lambda_r": 0.0, "stop": "no lambda fits the utility budget"}
    reached = reaches_target(choice.chosen.metrics, context.settings.target_forget_nll)
    stop = "the forget data has reached its target NLL" if reached else None
    return {"lambda_f": choice.chosen.lambda_f, "lambda_r": modules.lambda_r, "stop": stop}


def _lambda_r(context: RoundContext, number: int) -> float:
    settings = context.settings
    trained_now = settings.retain_module == "every_round" or (settings.retain_module == "once" and number == 1)
    return settings.retain_lambda if trained_now else 0.0


def _train_retain_module(context: RoundContext, number: int) -> Path | None:
    settings = context.settings
    if settings.retain_module == "none":
        return None
    once = settings.retain_module == "once"
    folder = context.folder(1 if once else number) / RETAIN_MODULE
    title = "Training the retain module" if once else f"Round {number}: training the retain module"
    training = ModuleTraining(retain_training(context), folder, settings.module, context.seed + 1000 + number, title)
    train_module(context.model, context.builder, training, context.display)
    if once and number > 1:
        check_manifest(folder, read_round(context.run, 1)[MANIFESTS][RETAIN_MODULE])
    return folder


def _train_forget_module(context: RoundContext, number: int, records: Sequence[Record], retain_folder: Path | None) -> Path:
    settings, folder = context.settings, context.folder(number) / FORGET_MODULE
    title = f"Round {number}: training the forget module"
    training = ModuleTraining(records, folder, settings.module, context.seed + number, title, FORGET_CARD)
    constraint = RetainConstraint(
        module=retain_folder,
        overlap=settings.overlap,
        active=settings.retain_module_active,
        records=kl_records(context) if settings.retain_kl_weight else [],
        kl_weight=settings.retain_kl_weight,
        kl_lambda=settings.retain_kl_lambda,
    )
    train_module(context.model, context.builder, training, context.display, constraint)
    return folder
