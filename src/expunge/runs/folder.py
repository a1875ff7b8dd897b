"""The run folder: one execution of a recipe, with all that is needed to resume, repeat or audit it."""

import platform
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from expunge.config import Revealed
from expunge.config.recipe import Recipe, read_recipe
from expunge.data.text_lines import unpacked_name
from expunge.errors import ExpungeError, InputError
from expunge.files import (
    PRIVATE,
    find_leftovers,
    is_leftover,
    lock_file,
    make_folder,
    refuse_links,
    remove_file,
    remove_leftovers,
    storage_errors,
    utc_now,
    write_text,
)
from expunge.runs.facts import Facts, facts_text, read_facts, read_summary

RECIPE, INFO, METRICS = "recipe.yaml", "run.json", "metrics.jsonl"
TEMPLATE = "chat_template.jinja"
"""The copy of the recipe's `data.template`, which every later command reads."""
RETAIN, NEUTRAL, ALTERNATIVES = "retain.jsonl", "neutral.jsonl", "alternatives.jsonl"
QUESTIONS = "document_questions.jsonl"
"""Files of records that the run's model generates, see `expunge.training.self_generated`."""
REVEAL, ROUNDS = "reveal", "rounds"
"""Folders of what the model revealed, and of a release's rounds."""
REVEALED, SEARCH_LOG, FEATURES = "revealed.jsonl", "search_log.jsonl", "features.safetensors"
"""Files of the reveal folder: the forget set, all queries with their responses, and what the bandit knows of the candidates."""
SELECTION_SETTINGS = (
    *("budget", "top_k", "truncate_at", "min_relevance", "min_chars", "max_chars", "dedup_threshold", "min_responses", "judge"),
)
"""Settings of the reveal section that queries made so far do not depend on."""
MEASURED_ROWS, ATTACKED, INFERRED = "audit.parquet", "attacks.parquet", "membership.parquet"
AUDIT_ROWS = (MEASURED_ROWS, ATTACKED, INFERRED)
"""Results of an audit row by row; the last two only of an audit with a suite."""
GATE_ROWS, GATE = "gate.parquet", "gate.json"
"""Results of a gate evaluation, row by row and summarised."""
AUDIT, VERDICT, REPORT = "audit.json", "verdict.json", "report.html"
AUDITED = (*AUDIT_ROWS, AUDIT, VERDICT, GATE_ROWS, GATE, REPORT)
"""Files of an audit, without its attestation."""
LEFT_BEHIND = (".lock", METRICS, "checkpoints")
"""Files that a start which failed before its first step may leave in a run's folder."""

LONGEST_NAME = 64
PACKAGES = ("expunge", "torch", "transformers", "peft", "accelerate", "datasets")


@dataclass(frozen=True)
class Run:
    """A run's folder: recipe.yaml, run.json, metrics.jsonl, edit/, audit.json, audit.parquet, report.html; gate.json, gate.parquet.

    Attributes:
        folder: path of the folder.
    """

    folder: Path

    def read_recipe(self) -> Recipe:
        """Read recipe.yaml: every setting, with the defaults written out."""
        return read_recipe(self.folder / RECIPE)

    def read_info(self) -> Facts:
        """Read run.json: versions, hashes, counts and `status` (training, trained).

        Raises:
            InputError: the file does not have the form that a run writes, or was changed since.
        """
        return read_facts(self.folder / INFO, self.edit)

    def update_info(self, **facts: Any) -> Facts:
        """Add facts to run.json and return its whole content."""
        path = self.folder / INFO
        info = (self.read_info() if path.exists() else Facts(path, {})).with_facts(**facts)
        write_text(path, facts_text(info))
        return info

    @property
    def edit(self) -> Path:
        """Folder of the adapter, or of the changed weights."""
        return self.folder / "edit"

    @property
    def training_started(self) -> bool:
        """Whether training has started: from then on recipe, data and base model may not change."""
        return _has_content(self.folder / METRICS) or self.edit.exists() or (self.folder / ROUNDS).exists()

    @property
    def search_started(self) -> bool:
        """Whether the search of a reveal has started: from then on its queries and their model may not change."""
        return _has_content(self.folder / REVEAL / SEARCH_LOG)

    @property
    def audit_file(self) -> Path:
        """The file that holds `summary`.

        Raises:
            InputError: the run is not audited yet.
        """
        path = self.folder / AUDIT
        if not path.exists():
            raise InputError(f"{self.folder}: not audited yet; try: expunge audit {self.folder}")
        return path

    @property
    def summary(self) -> dict[str, Any]:
        """The audit's numbers, read from the folder: {model: {set: {metric: {"value", "n", "ci95"}}}}.

        Raises:
            InputError: the run is not audited yet.
        """
        return read_summary(self.audit_file)


def find_run(folder: str | Path) -> Run:
    """Return the run in a folder, whatever its status; repair what a killed command left there.

    Raises:
        InputError: there is none, or the folder is or holds a link.
    """
    run = Run(Path(folder))
    refuse_links(run.folder)
    if not (run.folder / INFO).exists():
        raise InputError(f"{folder}: not a run folder (it has no {INFO})")
    if find_leftovers(run.folder):
        # Another process may be at work, or the folder may be read-only; what it holds can be read nevertheless.
        with suppress(ExpungeError), locked(run):
            pass
    return run


def discard_audit(run: Run) -> None:
    """Delete the results of an audit: they belong to another model than the run has now."""
    for name in AUDITED:
        remove_file(run.folder / name)


def run_folder(recipe: Recipe) -> Path:
    """Return the folder of a recipe's run."""
    return Path(recipe.out or default_folder(recipe))


@contextmanager
def started(recipe: Recipe) -> Iterator[Run]:
    """Lock a recipe's run folder, created if it is missing, and start the run in it; see `start_run`.

    Raises:
        InputError: as `start_run`; nothing is written then.
        ExpungeError: another process is at work in the folder.
    """
    folder = run_folder(recipe)
    _check_name(folder)
    refuse_links(folder)
    if not (folder / RECIPE).exists():
        _make_folder(folder)
    with locked(Run(folder)):
        yield start_run(recipe)


def start_run(recipe: Recipe) -> Run:
    """Return the run of a recipe: in a new folder, or in the one that an earlier start of the same recipe left.

    The caller holds the folder's lock, so that no other process writes another recipe there.

    Raises:
        InputError: the folder's name is not allowed, or it holds something else, a link, or a run of another recipe.
    """
    folder = run_folder(recipe)
    _check_name(folder)
    refuse_links(folder)
    run = Run(folder)
    if (folder / RECIPE).exists() and (earlier := run.read_recipe()) != recipe:
        _replace_recipe(run, earlier, recipe)
    if not (folder / RECIPE).exists():
        _make_folder(folder)
        _write_recipe(run, recipe)
    # run.json is written last, because a folder without it is not a run. A start that was killed before is completed here.
    if not (folder / INFO).exists():
        run.update_info(status="training", created=utc_now(), versions=versions(), seconds=0.0)
    return run


def _check_name(folder: Path) -> None:
    if not _is_run_name(folder.name):
        raise InputError(
            f"out: {folder.name!r} cannot name a run; use at most {LONGEST_NAME} letters, digits, -, _ and single dots, no dot first"
        )
    if ".." in folder.parts:
        raise InputError(f"out: {folder} leads out of a folder by ..; name the run's folder itself")
    if folder.is_symlink():
        raise InputError(f"out: {folder} is a symbolic link; name the folder itself")


def _is_run_name(name: str) -> bool:
    allowed = all(c in "-_." or _is_word_character(c) for c in name)
    return allowed and 0 < len(name) <= LONGEST_NAME and not name.startswith(".") and ".." not in name


def _is_word_character(character: str) -> bool:
    # Combining marks are allowed too: words of Hindi need them, and macOS writes accents as separate characters.
    return unicodedata.category(character)[0] in "LMN"


def _replace_recipe(run: Run, earlier: Recipe, recipe: Recipe) -> None:
    """Replace the recipe of a run, if the work done so far does not depend on the settings that differ."""
    if names := _fixed_settings(run, _different_settings(earlier, recipe)):
        raise InputError(f"{run.folder}: holds a run with other settings ({', '.join(names)}); give --out another folder")
    if run.training_started or run.search_started:
        _write_recipe(run, recipe)
        return
    # If a start failed before its first step, because of a mistyped model for example, a corrected recipe may use the folder.
    # The recipe goes last: after a kill the next start finds it and comes here again.
    for name in (RETAIN, NEUTRAL, ALTERNATIVES, INFO, RECIPE):
        remove_file(run.folder / name)


def _write_recipe(run: Run, recipe: Recipe) -> None:
    # The topics of a search may be what must be forgotten.
    write_text(run.folder / RECIPE, recipe.as_yaml(), PRIVATE if isinstance(recipe.data.forget, Revealed) else 0o666)


def _make_folder(folder: Path) -> None:
    with storage_errors(folder, "made a folder"):
        file = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
        if file is not None:
            raise InputError(f"out: {folder} cannot be made a folder ({file} is a file)")
        if folder.exists() and any(not is_leftover(path.name) and path.name not in LEFT_BEHIND for path in folder.iterdir()):
            raise InputError(f"{folder}: holds something else; give --out another folder")
        make_folder(folder)


def _fixed_settings(run: Run, names: list[str]) -> list[str]:
    """Return those of the named settings that the work done so far depends on."""
    if run.training_started:
        return names
    if not run.search_started:
        return []
    queried = [name for name in names if name in ("model", "training.seed") or name.startswith("data.")]
    # The settings of the selection may change until the responses are selected. From then on they are the forget set.
    free = () if (run.folder / REVEAL / REVEALED).exists() else SELECTION_SETTINGS
    return [name for name in queried if name.removeprefix("data.forget.reveal.") not in free]


def _different_settings(one: Recipe, other: Recipe) -> list[str]:
    """Return the names of the settings that two recipes differ in, without those of the audit."""
    first, second = one.as_dict(), other.as_dict()
    return [name for section in first if section != "audit" for name in _differences(section, first[section], second[section])]


def _differences(name: str, first: Any, second: Any) -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        return [inner for key in {**first, **second} for inner in _differences(f"{name}.{key}", first.get(key), second.get(key))]
    return [] if first == second else [name]


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def default_folder(recipe: Recipe, about: str = "revealed") -> str:
    """Return `runs/<name of the forget file>-<edit>-<objective>`, or `runs/<name of the forget file>-release`; `about` names no file."""
    source = about if isinstance(recipe.data.forget, Revealed) else unpacked_name(Path(recipe.data.forget)).stem
    stem = "".join(c if c in "-_" or _is_word_character(c) else "-" for c in source)[:32]
    return f"runs/{stem}-release" if recipe.release else f"runs/{stem}-{recipe.edit.name}-{recipe.as_dict()['objective']['name']}"


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Lock the run's folder, and repair what a killed command left there; a second process that tries to lock it fails at once.

    Raises:
        ExpungeError: another process holds the lock.
    """
    with lock_file(run.folder / ".lock", f"{run.folder}: another expunge process is at work in this folder"):
        remove_leftovers(run.folder)
        yield


def versions() -> dict[str, str]:
    """Return the versions of Python and of the main packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
