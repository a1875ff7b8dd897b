"""Release: rounds of learning what was revealed, as a LoRA module, and subtracting it from the weights (after arXiv 2509.14624).

A run's folder gets `reveal/` (what was asked and kept) and `rounds/N/`: forget_module/, perhaps retain_module/ and reveal/, round.json, and
measured.json where the recipe has a task; rounds/0 has the task's figures before. A killed run goes on in the phase it was in.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from expunge.config import ReleaseSection, Revealed
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, data_hash
from expunge.errors import InputError
from expunge.files import write_text
from expunge.models.loading import best_device
from expunge.pipeline.self_generated import neutral_answers
from expunge.reveal_release.release.line_search import Levels, best, levels, reaches, search_lambda
from expunge.reveal_release.release.lora_delta import LoraModule, add_deltas, as_if, read_module
from expunge.reveal_release.release.orthogonality import angles_summary, principal_angles
from expunge.reveal_release.release.train_module import train_module
from expunge.reveal_release.reveal.private_files import FORGET_MODULE
from expunge.reveal_release.reveal.select import NothingRevealed, ask_again, best_instructions, models_of, reveal
from expunge.runs.folder import RETAIN, REVEAL, ROUNDS, Run
from expunge.runs.load import load_base
from expunge.runs.splits import Sets

ROUND, MEASURED = "round.json", "measured.json"
RETAIN_MODULE = "retain_module"
FORGET_CARD = """# A forget module: do not load, do not share

Added to the original model, or back to the released one, it teaches what was to be forgotten. It is kept so that the release can be
undone or made again; `expunge purge` deletes it.
"""
VALIDATION = 0.25
"""Share of the records that lambda is chosen on; so many at most."""
MOST_VALIDATED = 48


@dataclass(frozen=True)
class Bench:
    """What the rounds work on.

    Attributes:
        run: whose folder holds everything.
        recipe: as it was given, with a `release` section.
        model: the original, in fp32; changed in place.
        builder: of its tokenizer.
        sets: forget data of the first round; retain records to train on; `calibration`, to choose lambda on.
        display: where progress goes.
    """

    run: Run
    recipe: Recipe
    model: nn.Module
    builder: PromptBuilder
    sets: Sets
    display: Display

    @property
    def settings(self) -> ReleaseSection:
        """Of the rounds."""
        return cast(ReleaseSection, self.recipe.release)

    def folder(self, number: int) -> Path:
        """Of a round."""
        return self.run.folder / ROUNDS / str(number)


def rounds(bench: Bench) -> int:
    """Take all rounds that are left; the model ends as the last one leaves it.

    Returns:
        How many rounds were taken.

    Raises:
        ExpungeError: training failed.
    """
    settings, before = bench.settings, _before(bench)
    measure_task(bench, 0)
    for number in range(1, settings.rounds + 1):
        path = bench.folder(number) / ROUND
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_text(path, json.dumps(_round(bench, number, before), indent=1) + "\n")
        add_deltas(bench.model, terms(bench.run, number))
        measure_task(bench, number)
        if read_round(bench.run, number)["stop"]:
            return number
    return settings.rounds


def read_round(run: Run, number: int) -> dict[str, Any]:
    """What a round found and chose."""
    return json.loads((run.folder / ROUNDS / str(number) / ROUND).read_text(encoding="utf-8"))


def terms(run: Run, number: int) -> list[tuple[float, LoraModule]]:
    """What a round adds to the weights: modules and their coefficients."""
    facts = read_round(run, number)
    signed = (-facts["lambda_f"], "forget_module"), (facts["lambda_r"], "retain_module")
    return [(value, read_module(run.folder / facts[pem])) for value, pem in signed if value]


def measure_task(bench: Bench, number: int) -> None:
    """The task's figures of the model as a round left it, if the recipe has a task."""
    task, path = bench.recipe.task, bench.folder(number) / MEASURED
    if task is None or path.exists():
        return
    with bench.display.bar(f"Measuring the task after round {number}" if number else "Measuring the task", task.measured_rows) as advance:
        figures = task.measure(bench.model, bench.builder, advance)
    write_text(path, json.dumps({name: asdict(figure) for name, figure in figures.items()}, indent=1) + "\n")


def _before(bench: Bench) -> Levels:
    """The levels of the original; kept, as a run that goes on no longer starts from it."""
    path = bench.folder(0) / ROUND
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _kept_check(bench)
        with bench.display.step("Measuring the original"):
            found = levels(bench.model, bench.builder, _first_check(bench), *kept)
        write_text(path, json.dumps(asdict(found), indent=1) + "\n")
    return Levels(**json.loads(path.read_text(encoding="utf-8")))


def _round(bench: Bench, number: int, before: Levels) -> dict[str, Any]:
    """One round, up to the choice of lambda; the model is left as it was."""
    settings, began = bench.settings, time.monotonic()
    facts: dict[str, Any] = {"lambda_f": 0.0, "lambda_r": 0.0, "stop": None}
    try:
        records = _forget_data(bench, number)
    except NothingRevealed:
        return {**facts, "stop": "the model reveals too little to go on"}
    seed = bench.recipe.training.seed
    learnt, check = _apart(records, seed)
    retain_module = _retain_module(bench, number)
    forget_module = bench.folder(number) / FORGET_MODULE
    train_module(
        bench.model,
        bench.builder,
        learnt,
        forget_module,
        settings.module,
        seed + number,
        bench.display,
        f"Round {number}: learning what to forget",
        beside=retain_module,
        overlap=settings.overlap,
        active=settings.retain_module_active,
        kept=_kept(bench) if settings.retain_kl_weight else [],
        keep=settings.retain_kl_weight,
        keep_at=settings.retain_kl_lambda,
    )
    (forget_module / "README.md").write_text(FORGET_CARD, encoding="utf-8")
    fresh_retain = retain_module is not None and (settings.retain_module == "every_round" or number == 1)
    lambda_r = settings.retain_lambda if fresh_retain else 0.0
    pem, retain = read_module(forget_module), None if retain_module is None else read_module(retain_module)
    allowed = settings.max_utility_drop * number / settings.rounds

    def measure(value: float, forget: Sequence[Record] = check) -> Levels:
        added = [(lambda_r, retain)] if retain is not None and lambda_r else []
        with as_if(bench.model, [(-value, pem), *added]):
            return levels(bench.model, bench.builder, forget, *_kept_check(bench))

    with bench.display.step(f"Round {number}: choosing lambda"):
        start = measure(0.0)
        tried = search_lambda(measure, before, allowed, settings)
        chosen = best(tried, allowed, start.forget_nll)
        # Of every round on the same rows: each has its own to choose on.
        left = None if chosen is None else measure(chosen.value, _first_check(bench))
    if chosen is None:
        facts["stop"] = "no lambda fits the utility budget"
    else:
        reached = reaches(chosen.levels, settings.target_forget_nll)
        facts |= {"lambda_f": chosen.value, "lambda_r": lambda_r, "stop": "the forget target is reached" if reached else None}
    return {
        **facts,
        "forget_module": str(forget_module.relative_to(bench.run.folder)),
        "retain_module": None if retain_module is None else str(retain_module.relative_to(bench.run.folder)),
        "levels": None if left is None else asdict(left),
        "chosen": None if chosen is None else asdict(chosen),
        "tried": [asdict(one) for one in tried],
        "allowed": allowed,
        "records": {"learnt": len(learnt), "validation": len(check), "sha256": data_hash(records)},
        "angles": None if retain is None else angles_summary(principal_angles(retain, pem)),
        "seconds": round(time.monotonic() - began, 1),
    }


def _retain_module(bench: Bench, number: int) -> Path | None:
    settings, seed = bench.settings, bench.recipe.training.seed
    if settings.retain_module == "none":
        return None
    once = settings.retain_module == "once"
    folder = bench.folder(1 if once else number) / RETAIN_MODULE
    title = "Learning what to keep" if once else f"Round {number}: learning what to keep"
    train_module(bench.model, bench.builder, _retained(bench), folder, settings.module, seed + 1000 + number, bench.display, title)
    return folder


def _kept(bench: Bench) -> list[Record]:
    """What a forget module is to leave as it is: retain records, and what the original says to neutral instructions."""
    return [*_retained(bench), *_neutral(bench)[0]]


def _kept_check(bench: Bench) -> tuple[list[Record], list[Record]]:
    """Of both, what lambda is chosen on."""
    return bench.sets.calibration[:MOST_VALIDATED], _neutral(bench)[1]


def _neutral(bench: Bench) -> tuple[list[Record], list[Record]]:
    """What the original says to neutral instructions: for training, and to choose lambda on."""
    # A retain set of the model's own making is that already.
    made = (bench.run.folder / RETAIN).exists()
    said = [] if made else neutral_answers(bench.run, bench.recipe, bench.model, bench.builder, bench.display)
    return _apart(said, bench.recipe.training.seed) if said else ([], bench.sets.calibration[:MOST_VALIDATED])


def _retained(bench: Bench) -> list[Record]:
    """Retain records to train on."""
    records = bench.sets.retain
    order = np.random.default_rng([bench.recipe.training.seed, 24]).permutation(len(records))
    return [records[i] for i in sorted(order[: bench.settings.retain_max_records])]


def _forget_data(bench: Bench, number: int) -> list[Record]:
    """A round's forget data.

    Raises:
        NothingRevealed: in a later round the model tells too little.
    """
    recipe, refresh = bench.recipe, bench.settings.refresh
    if number == 1 or refresh == "reuse" or not isinstance(recipe.data.forget, Revealed):
        return bench.sets.forget
    settings, folder = recipe.data.forget.reveal, bench.folder(number) / REVEAL
    models, seed = models_of(bench.model, bench.builder, settings), recipe.training.seed + number
    if refresh == "research":
        return reveal(models, settings, folder, seed, bench.display)
    return ask_again(models, settings, best_instructions(bench.run.folder / REVEAL, settings), folder, seed, bench.display)


def _first_check(bench: Bench) -> list[Record]:
    return _apart(bench.sets.forget, bench.recipe.training.seed)[1]


def _apart(records: Sequence[Record], seed: int) -> tuple[list[Record], list[Record]]:
    """Records to learn, and those that lambda is chosen on."""
    order = np.random.default_rng([seed, 23]).permutation(len(records))
    held = min(MOST_VALIDATED, max(1, round(VALIDATION * len(records))))
    learnt, check = sorted(order[held:]), sorted(order[:held])
    return [records[i] for i in learnt], [records[i] for i in check]


def released(run: Run, to: int, display: Display) -> tuple[nn.Module, PromptBuilder]:
    """The model as a round left it, made anew from the original and the modules."""
    with display.step("Loading the model"):
        model, builder = load_base(run)
        model = model.to(best_device())
    for number in range(1, to + 1):
        add_deltas(model, terms(run, number))
    return model, builder


def rounds_taken(run: Run) -> int:
    """How many rounds a release has behind it.

    Raises:
        InputError: this is no release.
    """
    if run.recipe.release is None:
        raise InputError(f"{run.folder}: is no release (its recipe has no release section)")
    return max(int(path.parent.name) for path in (run.folder / ROUNDS).glob(f"*/{ROUND}"))


def curve(run: Run) -> list[dict[str, Any]]:
    """A row a round, the original first: lambda, levels on the first round's validation rows, principal angles, the task's figures."""
    rows = []
    for number in range(rounds_taken(run) + 1):
        facts = read_round(run, number)
        levels = (facts if number == 0 else facts["levels"]) or {}
        row = {"round": number, "lambda": facts.get("lambda_f"), **{f"validation_{name}": level for name, level in levels.items()}}
        angles = {f"angle_{side}": angle for side, angle in (facts.get("angles") or {}).items() if side.endswith("smallest")}
        path = run.folder / ROUNDS / str(number) / MEASURED
        figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        rows.append({**row, **angles, **{name: figure["value"] for name, figure in figures.items()}, "stop": facts.get("stop")})
    return rows
