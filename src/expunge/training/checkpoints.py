"""Checkpoints with a manifest of file hashes: write it, check it, find the newest intact checkpoint."""

import json
import logging
import shutil
from pathlib import Path

from expunge.files import file_sha256, write_text

MANIFEST = "manifest.json"

log = logging.getLogger(__name__)


def write_manifest(folder: Path) -> None:
    """Write the hashes of all files in a folder. Call it last: a folder without a manifest counts as unfinished."""
    hashes = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST}
    write_text(folder / MANIFEST, json.dumps(hashes, indent=1))


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a folder that has a manifest, or None if every file has the hash it was saved with."""
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


def newest_intact_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint without damage, or None; log every newer one that is skipped."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in checkpoints:
        if (damage := find_damage(path)) is None:
            return path
        log.warning("checkpoint %s is not used: %s", path.name, damage)
    return None


def delete_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a run after its edit is saved."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
