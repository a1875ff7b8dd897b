"""What was measured of a model is kept in the user's cache, under a hash of all that it depends on, this code included."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expunge.files import PRIVATE, write_text
from expunge.models.embedded import cache_dir
from expunge.version import __version__

ROOT = Path(__file__).parents[1]
MEASURING = (
    *("auditing", "data", "edits", "metrics", "models", "objectives"),
    *("gating/paraphrase.py", "runs/cache.py", "training/reference.py"),
)
"""What a measurement may depend on."""
JUDGING = (
    *("auditing/suites/", "auditing/suite.py", "auditing/summary.py", "auditing/verdict_rows.py", "auditing/verdict.py"),
    "auditing/gate_eval.py",
)
"""What of it makes something of measurements, chooses them, or makes others that are not kept."""
SUFFIXES = (".py", ".txt", ".yaml", ".jsonl")


def kept_at(depends: Any) -> Path:
    """Where something measured is kept.

    Args:
        depends: all that it depends on beside this package, as values that JSON can hold.
    """
    key = hashlib.sha256(json.dumps([__version__, code_sha256(), depends]).encode()).hexdigest()
    return cache_dir() / "measured" / f"{key}.json"


def once(depends: Any, measure: Callable[[], Any]) -> Any:
    """What is kept of something measured, measured first where nothing is.

    Args:
        depends: see `kept_at`.
        measure: gives what JSON can hold.
    """
    path = kept_at(depends)
    if not path.exists():
        keep(path, measure())
    return json.loads(path.read_text(encoding="utf-8"))


def keep(path: Path, rows: Any) -> None:
    """Keep it there, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # With --show-text they hold answers.
    write_text(path, json.dumps(rows), PRIVATE)


def code_sha256(root: Path = ROOT) -> str:
    """Hash of the code and the texts that measurements depend on: what measures, attacks, scores, generates and builds prompts.

    Args:
        root: of the package.
    """
    digest = hashlib.sha256()
    for path in sorted(inner for part in MEASURING for inner in (root / part, *(root / part).rglob("*"))):
        name = path.relative_to(root).as_posix()
        if path.suffix in SUFFIXES and not name.startswith(JUDGING):
            digest.update(name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
