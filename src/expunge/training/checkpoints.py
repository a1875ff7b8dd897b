"""Checkpoints that can be trusted: a manifest of hashes written last, and resume from the newest one that is whole."""

import json
import logging
from pathlib import Path

from expunge.files import file_sha256, write_text

MANIFEST = "manifest.json"

log = logging.getLogger(__name__)


def write_manifest(folder: Path) -> None:
    """Write the hashes of everything in the folder; a folder without a manifest does not count as saved."""
    hashes = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST}
    write_text(folder / MANIFEST, json.dumps(hashes, indent=1))


def fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or nothing."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return "was not finished"
    try:
        hashes = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return "its manifest cannot be read"
    for name, sha256 in hashes.items():
        if not (folder / name).exists():
            return f"{name} is missing"
        if file_sha256(folder / name) != sha256:
            return f"{name} does not have the hash it was saved with"
    return None


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint whose every file has the hash it was saved with; each one passed over is named in the log."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        if (wrong := fault(path)) is None:
            return path
        log.warning("checkpoint %s is not used: %s", path.name, wrong)
    return None
