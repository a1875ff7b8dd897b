"""Crafted files: mutations of every JSON and YAML file that a verb reads, with the hashes that would give them away made right again."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from expunge.errors import ExpungeError
from expunge.runs.facts import Facts, facts_text

TEXTS: dict[str, Callable[[str], str]] = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "null": lambda text: "null",
    "a list": lambda text: "[]",
    "deep": lambda text: '{"a":' * 5000,
    "5,000 digits": lambda text: text.replace("{", '{"zz": ' + "9" * 5000 + ",", 1),
    "NaN": lambda text: text.replace("{", '{"zz": NaN,', 1),
    "an overflow": lambda text: text.replace("{", '{"zz": 1e999,', 1),
    "a name twice": lambda text: text.replace("{", '{"zz": 1, "zz": 2,', 1),
    "an unknown name": lambda text: text.replace("{", '{"zz": 1,', 1),
    "half a surrogate pair": lambda text: text.replace("{", '{"\\ud800": 1,', 1),
    "a null byte": lambda text: text.replace("{", "{\0", 1),
}
"""Mutations of a JSON text that must be refused in any file with a closed schema."""
VALUES: tuple[Any, ...] = (None, [], {"a": {}}, "x", "../../x", "\u202e\x1b[31m", -1, 10**17, 1e308, True, [[]])


def mutations(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of every mutation of a JSON object: of the text, and of each field, which is left out or has another value."""
    for name, change in TEXTS.items():
        yield name, change(text)
    given = json.loads(text)
    for place in places(given):
        for value in (..., *VALUES):
            changed = copy.deepcopy(given)
            holder = changed
            for step in place[:-1]:
                holder = holder[step]
            if value is ...:
                del holder[place[-1]]
            else:
                holder[place[-1]] = value
            yield f"{'.'.join(map(str, place))}: {'left out' if value is ... else repr(value)}", json.dumps(changed)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every field; of a list only its first item."""
    inner = value.items() if isinstance(value, dict) else [(0, value[0])] if isinstance(value, list) and value else ()
    for name, part in inner:
        yield (*above, name)
        yield from places(part, (*above, name))


def rehash(run: Path) -> None:
    """Make all hashes of a run right again, as an attacker would: of the edit's files, its manifest, the rounds and run.json."""
    path = run / "run.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    for folder in (run / "edit", *run.glob("rounds/*/*_module")):
        renew_manifest(folder)
    if (run / "edit" / "manifest.json").exists():
        info["edit"]["manifest"] = sha256(run / "edit" / "manifest.json")
    for record in run.glob("rounds/*/round.json"):
        info["rounds"][record.parent.name] = sha256(record)
    path.write_text(json.dumps(info), encoding="utf-8")
    rehash_facts(path)


def rehash_facts(path: Path) -> None:
    """Make the hash of a run.json right again; one that holds no JSON object has none."""
    with suppress(ValueError, RecursionError, ExpungeError):
        fields = json.loads(path.read_bytes())
        if isinstance(fields, dict):
            fields.pop("sha256", None)
            path.write_text(facts_text(Facts(path, fields)), encoding="utf-8")


def renew_manifest(folder: Path) -> None:
    """Write the hashes of a folder's files into its manifest."""
    path = folder / "manifest.json"
    if path.exists():
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for name, facts in manifest["files"].items():
            digest = sha256(folder / name)
            manifest["files"][name] = {**facts, "sha256": digest} if isinstance(facts, dict) else digest
        path.write_text(json.dumps(manifest), encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
