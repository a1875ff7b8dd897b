"""Compare what two runs of the same commands left: every file to the last bit, without times and the numbers that follow from them."""

import hashlib
import re
from pathlib import Path

from harness import tree

TIMES = re.compile(rb'("(?:created|created_utc|written|audited|evaluated|seconds|attestation_id)": ?)(?:"[^"]*"|[0-9.]+)')
PREVIOUS = re.compile(rb'("previous":{"path":"[^"]*","sha256":)"[0-9a-f]*"')
"""Fields that differ between two runs: the moments and durations of run.json, round.json, gate.json, audit.json and attestation.json;
the id of an attestation and its hash of the previous one, which follow from moments."""
OWN_HASH = re.compile(rb'^ "sha256": "[0-9a-f]*"', re.MULTILINE)
"""The hash of run.json in itself, which follows from moments."""
REPORT_TIME = re.compile(rb'(<p class="created">)[^<]*')
NOT_COMPARED = re.compile(r"(^|/)(\.lock|matplotlib(/.*)?|cache/expunge/secret)$")
"""Lock files, which are empty, the font cache of matplotlib, and the random secret of the cache."""


HASH = re.compile(rb'"(?:[0-9a-f]{12}|[0-9a-f]{64})"')
"""A hash, whole or cut to twelve digits as in the results of a search."""


def result(folder: Path, keyed: bool = True) -> dict[str, bytes | str]:
    """Return {relative path: content without times} of all that a folder holds.

    Args:
        folder: what a command left.
        keyed: False if the key of a run or of its search was made anew; it and all hashes that were made with it are left out then.
    """
    found = {name: content for name, content in tree(folder).items() if not NOT_COMPARED.search(name)}
    compared = {name: _without_times(name, _right_rounds(name, content, found)) for name, content in found.items()}
    return compared if keyed else {name: _without_key(name, content) for name, content in compared.items()}


def differences(expected: dict[str, bytes | str], folder: Path, keyed: bool = True) -> list[str]:
    """Return a line for each path that is missing, added, or has another content than `result` had."""
    found = result(folder, keyed)
    missing = [f"{name} is missing" for name in expected.keys() - found.keys()]
    added = [f"{name} is left over" for name in found.keys() - expected.keys()]
    return sorted(missing + added + [f"{name} differs" for name in expected.keys() & found.keys() if expected[name] != found[name]])


def _right_rounds(name: str, content: bytes | str, found: dict[str, bytes | str]) -> bytes | str:
    """Return run.json with a mark for each hash of a round.json that is right: the file holds a duration, so that the hash differs."""
    if not name.endswith("/run.json"):
        return content
    for other, of_round in found.items():
        if other.startswith(f"{name.removesuffix('run.json')}rounds/") and other.endswith("/round.json"):
            content = content.replace(hashlib.sha256(of_round).hexdigest().encode(), b"the hash of round.json")
    return OWN_HASH.sub(b'"sha256": null', content)


def _without_times(name: str, content: bytes | str) -> bytes | str:
    if isinstance(content, str):
        return content
    if name.endswith(".json"):
        return PREVIOUS.sub(rb"\1null", TIMES.sub(rb"\1null", content))
    return REPORT_TIME.sub(rb"\1", content) if name.endswith(".html") else content


def _without_key(name: str, content: bytes | str) -> bytes | str:
    if isinstance(content, str) or name.endswith("/key"):
        return ""
    return HASH.sub(b"null", content) if "attestation" in name or name.endswith("/results.json") else content
