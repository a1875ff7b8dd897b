"""What a run had its own model make, and how it was trained: the part of a record that a recipe of files alone has little of."""

from pathlib import Path
from typing import Any

from expunge.attestation.facts import keyed
from expunge.attestation.hmac_hashes import prompts_hmac
from expunge.attestation.paths import hashed
from expunge.attestation.schema import Round, SelfGenerated
from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.reveal_release.release.rounds import ROUND, read_round, rounds_taken
from expunge.reveal_release.reveal.select import read_revealed
from expunge.runs.folder import NEUTRAL, RETAIN, REVEAL, REVEALED, ROUNDS, Run

FILTERS = ("top_k", "min_relevance", "min_chars", "max_chars", "dedup_threshold")
SEARCH = (
    *("mode", "searcher", "pool_size", "soft_tokens", "intrinsic_dim", "soft_token_scale", "budget"),
    *("samples_per_instruction", "temperature", "max_new_tokens", "random_starts", "candidates_per_step", "batch_size"),
    *("covariance", "exploration", "ridge", "diversity_weight", "min_responses"),
)
"""Settings of a search that do not say what is looked for."""


def self_generated(run: Run, key: bytes) -> list[SelfGenerated]:
    """The forget sets that the model revealed: the run's, and those of later rounds."""
    told = run.recipe.data.forget
    if not isinstance(told, Revealed):
        return []
    filters: dict[str, float | int | bool | str | None] = {name: getattr(told.reveal, name) for name in FILTERS}
    # The pattern itself may say what is looked for.
    filters["truncate_at"] = told.reveal.truncate_at is not None
    seed = run.recipe.training.seed
    folders = [(seed, run.folder / REVEAL)]
    folders += [(seed + int(path.parent.name), path) for path in sorted((run.folder / ROUNDS).glob(f"*/{REVEAL}"))]
    return [_generated(run, folder, drawn, filters, key) for drawn, folder in folders if (folder / REVEALED).exists()]


def _generated(run: Run, folder: Path, seed: int, filters: dict[str, float | int | bool | str | None], key: bytes) -> SelfGenerated:
    records = read_revealed(folder)
    (file,) = keyed([folder / REVEALED], key, run.folder)
    prompts = prompts_hmac([record.prompt for record in records], key)
    return SelfGenerated(file=file, prompts_hmac=prompts, rows=len(records), seed=seed, filters=filters)


def self_made(run: Run) -> list[Path]:
    """The model's own answers to neutral instructions, where they were kept or helped to choose."""
    return [path for path in (run.folder / RETAIN, run.folder / NEUTRAL) if path.exists()]


def method(recipe: Recipe) -> str:
    """What was done, in two words."""
    return "release" if recipe.release else f"{recipe.edit.name} x {recipe.as_dict()['objective']['name']}"


def hyperparameters(recipe: Recipe) -> dict[str, Any]:
    """All settings of the method that do not say what is to be forgotten; of those that do the recipe's HMAC is the record."""
    told = recipe.data.forget
    settings: dict[str, Any] = {"training": recipe.training.model_dump(mode="json"), "release": None, "reveal": None}
    if recipe.release:
        settings["release"] = recipe.release.model_dump(mode="json")
    else:
        settings["objective"] = recipe.as_dict()["objective"]
    if isinstance(told, Revealed):
        settings["reveal"] = {name: getattr(told.reveal, name) for name in SEARCH}
    return settings


def rounds(run: Run) -> list[Round]:
    """The rounds that the model has behind it."""
    if run.recipe.release is None:
        return []
    taken = []
    for number in range(1, run.info["round"] + 1):
        (file,) = hashed([run.folder / ROUNDS / str(number) / ROUND], run.folder)
        taken.append(Round(number=number, lambda_f=read_round(run, number)["lambda_f"], file=file))
    return taken


def stop_reason(run: Run) -> str:
    """Why nothing more was done."""
    if run.recipe.release is None:
        return "trained for all its epochs"
    now, taken = run.info["round"], rounds_taken(run)
    if now < taken:
        return f"taken back from round {taken} to round {now}"
    return read_round(run, now)["stop"] or "all rounds were taken"
