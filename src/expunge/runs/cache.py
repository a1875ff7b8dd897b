"""Cache measurements of models in the user's cache folder, under a key that covers all that they depend on, the code included."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question
from expunge.data.records import Record, Turn
from expunge.files import PRIVATE_FOLDER, cache_dir, make_folder, read_cached, remove_leftovers, write_cached
from expunge.models.finite import json_text
from expunge.models.ranks import agreed, is_first
from expunge.version import __version__

ROOT = Path(__file__).parents[1]
HASHED_CODE = (
    *("auditing", "data", "edits", "metrics", "models", "objectives"),
    *("gating/paraphrase.py", "runs/cache.py", "sandbox/search.py"),
)
"""Files and folders that a measurement may depend on: their hash is part of the cache key."""
INTERPRETING_CODE = (
    *("auditing/suites/", "auditing/suite.py", "auditing/summary.py", "auditing/verdict_rows.py", "auditing/verdict.py"),
    "auditing/gate_eval.py",
)
"""Paths left out of the cache key: they choose or interpret measurements, they do not make them."""
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "regex", "rouge_score", "sacrebleu")
"""Their versions are part of the cache key: another version may compute other last digits, have other defaults, or know other letters."""
SUFFIXES = (".py", ".txt", ".yaml", ".jsonl")


class Measurement:
    """One measurement of one model, and the place of its result in the cache.

    Args:
        kind: what is measured, such as `membership`; no two kinds share results.
        identity: hash of everything that the model's answers depend on, its edit included.
        model: the model, whose device and type of numbers change the last digits.
        builder: the prompt builder, whose system message and template arguments are part of every prompt.
        records: the records and questions that are measured or used, by role. Ids and all content are part of the key, because
            an id that was made from a line number does not identify the content.
        settings: everything else that the result depends on, batch size included, as JSON values.
    """

    def __init__(
        self,
        kind: str,
        identity: str,
        model: nn.Module,
        builder: PromptBuilder,
        records: Mapping[str, Sequence[Record | Question]],
        **settings: Any,
    ):
        # The rendered prompt is here because some chat templates print the date.
        self._depends_on = [
            [__version__, _package_sha256(), _library_versions()],
            [kind, identity, builder.system, builder.template_args, builder.max_thinking_tokens, builder.prompt((Turn("user", "Who?"),))],
            sorted({f"{parameter.device.type} {parameter.dtype}" for parameter in model.parameters()}),
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
        """Whether the result is in the cache, undamaged."""
        return agreed(self._read) is not None

    def store(self, result: Any) -> None:
        """Write a result to the cache, unless another process does; it must consist of JSON values."""
        if not is_first():
            return
        path, content = self.path, json_text({"key": self.key(), "result": result}, "a measurement")
        make_folder(path.parent, PRIVATE_FOLDER)
        _clean(path.parent)
        # Only the user may read the file: with --show-text the result contains answers.
        write_cached(path, content)

    def load_or(self, measure: Callable[[], Any]) -> Any:
        """Return the cached result; call `measure` and store what it returns if there is none, or a damaged one."""
        cached = agreed(self._read)
        if cached is None:
            self.store(result := measure())
            # As a later call reads it.
            return json.loads(json.dumps(result))
        return cached["result"]

    def _read(self) -> dict[str, Any] | None:
        """Return the file's content, or None if it is not exactly what `store` has written here for this key."""
        content = read_cached(self.path)
        if content is None:
            return None
        read = json.loads(content)
        return read if read["key"] == self.key() else None


@cache
def _clean(folder: Path) -> None:
    """Delete what killed processes left in the cache, once in a process: it may have many files."""
    remove_leftovers(folder, deep=False)


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
def _library_versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@cache
def _package_sha256() -> str:
    # The running code does not change, so its files are read only once.
    return code_sha256()


def _plain(record: Record | Question) -> dict[str, Any]:
    # No measurement depends on the line of the file that a record was read from.
    return {name: value for name, value in asdict(record).items() if name != "line"}
