"""What run.json records of a run's edit, so that every command can tell whether the edit is the one that was written."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from expunge.documents import checked
from expunge.edits.manifest import check_manifest
from expunge.runs.folder import INFO, Run

EDIT = "edit"
"""Field of run.json."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class EditRecord(BaseModel):
    """The record of an edit.

    Attributes:
        manifest: SHA-256 of the edit's manifest.
        written: when training, or an undo, wrote the edit; UTC, to the microsecond.
        next: the manifest of the edit that an undo is about to put in place; None at all other times.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    manifest: Sha256
    written: str
    next: Sha256 | None = None


def record_edit(run: Run, manifest: str, **facts: Any) -> None:
    """Record in run.json that the edit was just written, together with other facts."""
    run.update_info(**facts, edit=EditRecord(manifest=manifest, written=datetime.now(UTC).isoformat()).model_dump(exclude_none=True))


def announce_edit(run: Run, record: EditRecord, manifest: str) -> None:
    """Record that an edit with another manifest is about to take the place of the recorded one, in case a kill comes between."""
    run.update_info(edit=record.model_copy(update={"next": manifest}).model_dump())


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
