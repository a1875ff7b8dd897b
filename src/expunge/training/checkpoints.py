"""Checkpoints of a training: find the newest one that its manifest shows to be intact, and delete all of them."""

import logging
import re
from pathlib import Path

from expunge.edits.manifest import find_damage
from expunge.files import remove_folder
from expunge.training.checkpoint_files import WEIGHTS

log = logging.getLogger(__name__)


def newest_intact_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint without damage, or None; log every newer one that is skipped."""
    for path in sorted_checkpoints(folder):
        if (damage := find_damage(path)) is None and not (path / WEIGHTS).exists():
            damage = "an earlier version of expunge wrote it"
        if damage is None:
            return path
        log.warning("checkpoint %s is not used: %s", path.name, damage)
    return None


def sorted_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest first."""
    found = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := re.fullmatch(r"checkpoint-([0-9]+)", path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def delete_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a run after its edit is saved."""
    remove_folder(folder / "checkpoints")
