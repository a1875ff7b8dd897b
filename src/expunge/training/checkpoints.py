"""Checkpoints of a training: find the newest one that its manifest shows to be intact, and delete all of them."""

import logging
import shutil
from pathlib import Path

from expunge.edits.manifest import find_damage

log = logging.getLogger(__name__)


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
