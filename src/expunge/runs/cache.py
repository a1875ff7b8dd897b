"""Cache measurements of models in the user's cache folder, under a key that covers all that they depend on, the code included."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question
from expunge.data.records import Record
from expunge.files import PRIVATE, write_text
from expunge.models.embedded import cache_dir
from expunge.version import __version__

ROOT = Path(__file__).parents[1]
HASHED_CODE = (
    *("auditing", "data", "edits", "metrics", "models", "objectives"),
    *("gating/paraphrase.py", "runs/cache.py"),
)
"""Files and folders that a measurement may depend on: their hash is part of the cache key."""
INTERPRETING_CODE = (
    *("auditing/suites/", "auditing/suite.py", "auditing/summary.py", "auditing/verdict_rows.py", "auditing/verdict.py"),
    "auditing/gate_eval.py",
)
"""Paths left out of the cache key: they choose or interpret measurements, they do not make them."""
SUFFIXES = (".py", ".txt", ".yaml", ".jsonl")


class Measurement:
    """One measurement of one model, and the place of its result in the cache.

    Args:
        kind: what is measured, such as `membership`; no two kinds share results.
        identity: hash of the model's weights and edit.
        builder: the prompt builder, whose chat template and system message are part of every prompt.
        records: the records and questions that are measured or used, by role. Ids and all content are part of the key, because
            an id that was made from a line number does not identify the content.
        settings: everything else that the result depends on, batch size included, as JSON values.
    """

    def __init__(
        self, kind: str, identity: str, builder: PromptBuilder, records: Mapping[str, Sequence[Record | Question]], **settings: Any
    ):
        self._depends_on = [
            [__version__, _package_sha256()],
            [kind, identity, builder.tokenizer.chat_template, builder.system],
            {role: [_plain(record) for record in of_role] for role, of_role in records.items()},
            settings,
        ]

    def key(self) -> str:
        """Return the SHA-256 (hex) of all that the result depends on."""
        return hashlib.sha256(json.dumps(self._depends_on).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """The cache file of the result."""
        return cache_dir() / "measured" / f"{self.key()}.json"

    @property
    def is_cached(self) -> bool:
        """Whether the result is in the cache."""
        return self.path.exists()

    def store(self, result: Any) -> None:
        """Write a result to the cache; it must consist of JSON values."""
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Only the user may read the file: with --show-text the result contains answers.
        write_text(path, json.dumps(result), PRIVATE)

    def load_or(self, measure: Callable[[], Any]) -> Any:
        """Return the cached result; call `measure` and store what it returns if there is none."""
        if not self.is_cached:
            self.store(measure())
        return json.loads(self.path.read_text(encoding="utf-8"))


def code_sha256(root: Path = ROOT) -> str:
    """Return the hash of the code and texts that measurements depend on, see `HASHED_CODE`.

    Args:
        root: folder of the package.
    """
    digest = hashlib.sha256()
    for path in sorted(inner for part in HASHED_CODE for inner in (root / part, *(root / part).rglob("*"))):
        name = path.relative_to(root).as_posix()
        if path.suffix in SUFFIXES and not name.startswith(INTERPRETING_CODE):
            digest.update(name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _package_sha256() -> str:
    # The running code does not change, so its files are read only once.
    return code_sha256()


def _plain(record: Record | Question) -> dict[str, Any]:
    # No measurement depends on the line of the file that a record was read from.
    return {name: value for name, value in asdict(record).items() if name != "line"}
