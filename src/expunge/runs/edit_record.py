"""What run.json records of a run's edit, so that every command can tell whether the edit is the one that was written."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expunge.documents import checked
from expunge.edits.manifest import check_manifest
from expunge.runs.facts import EditRecord, NextEdit
from expunge.runs.folder import INFO, Run

EDIT = "edit"
"""Field of run.json."""


def record_edit(run: Run, manifest: str, **facts: Any) -> None:
    """Record in run.json that the edit was just written, together with other facts."""
    run.update_info(**facts, edit=EditRecord(manifest=manifest, written=_now()).model_dump(exclude_none=True))


def announce_edit(run: Run, record: EditRecord, manifest: str, number: int) -> None:
    """Record that the edit of round `number` is about to take the place of the recorded one.

    From the exchange of the folders on, `Run.read_info` returns that edit and round, also if nothing more can be written.
    """
    announced = NextEdit(manifest=manifest, written=_now(), round=number)
    run.update_info(edit=record.model_copy(update={"next": announced}).model_dump())


def edit_record(folder: Path, info: dict[str, Any]) -> EditRecord:
    """Return what run.json records of the edit.

    Args:
        folder: of a trained run.
        info: the content of its run.json.

    Raises:
        InputError: nothing is recorded, or the record is damaged.
    """
    return checked(info[EDIT], EditRecord, f"{folder / INFO}: {EDIT}")


def check_edit(run: Run, info: dict[str, Any]) -> None:
    """Check that the edit of a trained run is the one that training, or the last undo, recorded.

    Raises:
        InputError: it is not, or nothing is recorded.
    """
    check_manifest(run.edit, edit_record(run.folder, info).manifest)


def _now() -> str:
    return datetime.now(UTC).isoformat()
