"""A run: one execution of a recipe, and its folder, which holds all that is needed to resume, repeat or audit it."""

import json
import platform
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from expunge.config import Revealed
from expunge.config.recipe import Recipe, read_recipe
from expunge.errors import ExpungeError, InputError
from expunge.files import utc_now, write_text

RETAIN, NEUTRAL, ALTERNATIVES = "retain.jsonl", "neutral.jsonl", "alternatives.jsonl"
"""Files of records that a run has its model make, see `expunge.pipeline.self_generated`."""
REVEAL, ROUNDS = "reveal", "rounds"
"""Folders of what the model revealed, and of a release's rounds."""
REVEALED, SEARCH_LOG = "revealed.jsonl", "search_log.jsonl"
"""Files of the first: what was kept, and all that was asked and answered."""
SELECTION_SETTINGS = (
    *("budget", "top_k", "truncate_at", "min_relevance", "min_chars", "max_chars", "dedup_threshold", "min_responses", "judge"),
)
"""Settings of the reveal section that do not change what was asked so far."""
MEASURED_ROWS, ATTACKED, INFERRED = "audit.parquet", "attacks.parquet", "membership.parquet"
AUDIT_ROWS = (MEASURED_ROWS, ATTACKED, INFERRED)
"""What an audit found row by row; the last two of an audit with a suite."""
AUDIT, VERDICT = "audit.json", "verdict.json"
AUDITED = (*AUDIT_ROWS, AUDIT, VERDICT, "gate.parquet", "gate.json", "report.html")
"""Files of an audit, but for its record."""
LEFT_BEHIND = (".lock", "metrics.jsonl", "checkpoints")
"""What a start that failed before its first step may leave in a run's folder."""

LONGEST_NAME = 64
PACKAGES = ("expunge", "torch", "transformers", "peft", "accelerate", "datasets")


@dataclass(frozen=True)
class Run:
    """A run's folder: recipe.yaml, run.json, metrics.jsonl, edit/, audit.json, audit.parquet, report.html; gate.json, gate.parquet.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @property
    def recipe(self) -> Recipe:
        """As it was resolved: every setting, also those left to their defaults."""
        return read_recipe(self.folder / "recipe.yaml")

    @property
    def info(self) -> dict[str, Any]:
        """Versions, hashes, counts and how far the run has come (`status`: training, trained)."""
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))

    @property
    def edit(self) -> Path:
        """The adapter, or the changed weights."""
        return self.folder / "edit"

    @property
    def begun(self) -> bool:
        """Whether its training has begun: from then on recipe, data and base model are what they are."""
        return _filled(self.folder / "metrics.jsonl") or self.edit.exists() or (self.folder / ROUNDS).exists()

    @property
    def asking(self) -> bool:
        """Whether it has begun to have the model reveal: from then on what is asked, and of which model, is what it is."""
        return _filled(self.folder / REVEAL / SEARCH_LOG)

    @property
    def numbers(self) -> Path:
        """The file that holds `summary`.

        Raises:
            InputError: the run was not audited yet.
        """
        path = self.folder / AUDIT
        if not path.exists():
            raise InputError(f"{self.folder}: not audited yet; try: expunge audit {self.folder}")
        return path

    @property
    def summary(self) -> dict[str, Any]:
        """What the audit found: {model: {set: {metric: {"value", "n", "ci95"}}}}.

        Raises:
            InputError: the run was not audited yet.
        """
        return json.loads(self.numbers.read_text(encoding="utf-8"))

    def note(self, **facts: Any) -> None:
        """Add facts to run.json."""
        info = self.info if (self.folder / "run.json").exists() else {}
        write_text(self.folder / "run.json", json.dumps({**info, **facts}, indent=1) + "\n")


def find_run(folder: str | Path) -> Run:
    """An existing run, however far it has come.

    Raises:
        InputError: there is none.
    """
    run = Run(Path(folder))
    if not (run.folder / "run.json").exists():
        raise InputError(f"{folder}: not a run folder (it has no run.json)")
    return run


def open_run(folder: str | Path) -> Run:
    """An existing run that is trained.

    Raises:
        InputError: there is none, or it has no trained edit yet.
    """
    run = find_run(folder)
    if run.info["status"] == "training":
        raise InputError(f"{folder}: its training was not finished; the command that began it goes on where it was")
    return run


def discard_audit(run: Run) -> None:
    """Delete what an audit found: it is of another model than the one that the run has now."""
    for name in AUDITED:
        (run.folder / name).unlink(missing_ok=True)


def start_run(recipe: Recipe) -> Run:
    """The run of a recipe: a fresh folder, or the one that an earlier start of the same recipe left.

    Raises:
        InputError: the folder's name is not allowed, or it holds something else or a run of another recipe.
        ExpungeError: another process is at work there with another recipe.
    """
    folder = Path(recipe.out or default_folder(recipe))
    if not _is_run_name(folder.name):
        raise InputError(
            f"out: {folder.name!r} cannot name a run; use at most {LONGEST_NAME} letters, digits, -, _ and single dots, no dot first"
        )
    if ".." in folder.parts:
        raise InputError(f"out: {folder} leads out of a folder by ..; name the run's folder itself")
    if folder.is_symlink():
        raise InputError(f"out: {folder} is a symbolic link; name the folder itself")
    run = Run(folder)
    written = recipe.as_yaml()
    if (folder / "recipe.yaml").exists() and run.recipe != recipe:
        if other := _fixed(run, _other_settings(run.recipe, recipe)):
            raise InputError(f"{folder}: holds a run with other settings ({', '.join(other)}); give --out another folder")
        with locked(run):
            if run.begun or run.asking:
                # What has been done so far stands.
                write_text(folder / "recipe.yaml", written)
            else:
                # A start that failed before its first step (a mistyped model, say) does not keep the folder from a corrected one.
                for name in ("recipe.yaml", "run.json", RETAIN, NEUTRAL, ALTERNATIVES):
                    (folder / name).unlink(missing_ok=True)
    if not (folder / "recipe.yaml").exists():
        try:
            if folder.exists() and any(path.suffix != ".part" and path.name not in LEFT_BEHIND for path in folder.iterdir()):
                raise InputError(f"{folder}: holds something else; give --out another folder")
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"out: {folder} cannot be made a folder ({error.strerror})") from error
        write_text(folder / "recipe.yaml", written)
    # Last, and again after a kill between the two files: without it nothing here counts as a run.
    if not (folder / "run.json").exists():
        run.note(status="training", created=utc_now(), versions=versions())
    return run


def _fixed(run: Run, names: list[str]) -> list[str]:
    """Of settings that differ those that what was done so far depends on."""
    if run.begun:
        return names
    if not run.asking:
        return []
    asked = [name for name in names if name in ("model", "training.seed") or name.startswith("data.")]
    # A search that brought too little may be sifted otherwise, or go on; one that was sifted is done.
    free = () if (run.folder / REVEAL / REVEALED).exists() else SELECTION_SETTINGS
    return [name for name in asked if name.removeprefix("data.forget.reveal.") not in free]


def _other_settings(one: Recipe, other: Recipe) -> list[str]:
    """Names of the settings that two recipes differ in, but for those of the audit."""
    mine, theirs = one.as_dict(), other.as_dict()
    return [name for section in mine if section != "audit" for name in _differing(section, mine[section], theirs[section])]


def _differing(name: str, mine: Any, theirs: Any) -> list[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [found for inner in {**mine, **theirs} for found in _differing(f"{name}.{inner}", mine.get(inner), theirs.get(inner))]
    return [] if mine == theirs else [name]


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def default_folder(recipe: Recipe) -> str:
    """Return `runs/<name of the forget file>-<edit>-<objective>`, or `runs/<name of the forget file>-release`."""
    source = "revealed" if isinstance(recipe.data.forget, Revealed) else Path(recipe.data.forget).stem
    stem = "".join(c if c in "-_" or _is_word_character(c) else "-" for c in source)[:32]
    return f"runs/{stem}-release" if recipe.release else f"runs/{stem}-{recipe.edit.name}-{recipe.as_dict()['objective']['name']}"


def _is_run_name(name: str) -> bool:
    allowed = all(c in "-_." or _is_word_character(c) for c in name)
    return allowed and 0 < len(name) <= LONGEST_NAME and not name.startswith(".") and ".." not in name


def _is_word_character(character: str) -> bool:
    # Marks too: without them a word of Hindi, or an accent that macOS writes as a character, would lose letters.
    return unicodedata.category(character)[0] in "LMN"


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Hold the run's folder: a second process that wants it fails at once.

    Raises:
        ExpungeError: another process holds it.
    """
    lock = FileLock(run.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ExpungeError(f"{run.folder}: another expunge process is at work in this folder") from error
    try:
        yield
    finally:
        lock.release()


def versions() -> dict[str, str]:
    """Python's and the main packages' versions."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
