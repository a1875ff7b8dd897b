"""Facts of an attestation about the training: base model, edit, method, settings, and the rounds of a release."""

from pathlib import Path
from typing import Any

from expunge.attestation.hashes import hash_files
from expunge.attestation.paths import TOKENIZER_FILES, base_files, base_folder, edit_files, revision_of
from expunge.attestation.schema import AdapterBase, Base, Control, EarlierEdit, Edit, Round
from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.set_names import AUTO
from expunge.edits import edit_of
from expunge.models.sources import adapter_base_name, is_adapter
from expunge.reveal_release.release.round_results import ROUND, count_rounds, read_round
from expunge.runs.edit_record import edit_record
from expunge.runs.folder import ROUNDS
from expunge.runs.loaded import OpenedRun, base_of, located_model, recorded_base, recorded_control

SEARCH = (
    *("mode", "searcher", "pool_size", "soft_tokens", "intrinsic_dim", "soft_token_scale", "budget"),
    *("samples_per_instruction", "temperature", "max_new_tokens", "random_starts", "candidates_per_step", "batch_size"),
    *("covariance", "exploration", "ridge", "diversity_weight", "min_responses"),
)
"""Settings of the reveal search that do not contain its topic."""


def base(run: OpenedRun) -> Base:
    """Return the model that training started from: the files of the base model, and the earlier edits on top of it."""
    identity = recorded_base(run)
    name, earlier = base_of(located_model(run))
    folder = base_folder(name)
    paths = [] if folder is None else base_files(name, folder)
    return Base(
        name=name,
        revision=None if folder is None else revision_of(folder),
        identity=identity.sha256,
        parts=identity.parts,
        files=hash_files(paths, folder),
        tokenizer=[path.name for path in paths if path.name.startswith(TOKENIZER_FILES)],
        adapter_base=adapter_base(folder),
        earlier_edits=[EarlierEdit(run=str(other.folder), files=hash_files(edit_files(other.edit), other.edit)) for other in earlier],
    )


def control(run: OpenedRun) -> Control | None:
    """Return the control model of the audit; `auto` is the original, whose files the base lists."""
    name, identity = run.info["control"], recorded_control(run)
    if name is None or identity is None:
        return None
    folder = None if name == AUTO else base_folder(name)
    paths = [] if folder is None else base_files(name, folder)
    files = hash_files(paths, folder)
    return Control(name=name, identity=identity.sha256, parts=identity.parts, files=files, adapter_base=adapter_base(folder))


def adapter_base(folder: Path | None) -> AdapterBase | None:
    """Return the base model of the adapter in a model's folder; None if the folder holds no adapter."""
    if folder is None or not is_adapter(folder):
        return None
    name = adapter_base_name(folder)
    found = base_folder(name)
    paths = [] if found is None else base_files(name, found)
    return AdapterBase(name=name, revision=None if found is None else revision_of(found), files=hash_files(paths, found))


def edit(run: OpenedRun) -> Edit:
    """Return the edit's manifest, files and settings."""
    recipe, record = run.recipe, edit_record(run.folder, run.info)
    settings = {"name": "release"} if recipe.release else recipe.edit.model_dump(mode="json")
    return Edit(
        manifest=record.manifest,
        written=record.written,
        files=hash_files(edit_files(run.edit), run.edit),
        settings=settings,
        removable=edit_of(recipe).removable,
    )


def hyperparameters(recipe: Recipe) -> dict[str, Any]:
    """Return all settings of the method that do not contain text to forget. The recipe's HMAC covers the others."""
    section = recipe.data.forget
    settings: dict[str, Any] = {"training": recipe.training.model_dump(mode="json"), "release": None, "reveal": None}
    if recipe.release:
        settings["release"] = recipe.release.model_dump(mode="json")
    else:
        settings["objective"] = recipe.as_dict()["objective"]
    if isinstance(section, Revealed):
        settings["reveal"] = {name: getattr(section.reveal, name) for name in SEARCH}
    return settings


def rounds(run: OpenedRun) -> list[Round]:
    """Return the release rounds that are part of the model; none for other methods."""
    if run.recipe.release is None:
        return []
    taken = []
    for number in range(1, run.info["round"] + 1):
        (file,) = hash_files([run.folder / ROUNDS / str(number) / ROUND], run.folder)
        taken.append(Round(number=number, lambda_f=read_round(run, number)["lambda_f"], file=file))
    return taken


def stop_reason(run: OpenedRun) -> str:
    """Return why the method stopped, as a phrase."""
    if run.recipe.release is None:
        return "trained for all its epochs"
    current, taken = run.info["round"], count_rounds(run)
    if current < taken:
        return f"reverted from round {taken} to round {current}"
    return read_round(run, current)["stop"] or "all rounds were taken"
