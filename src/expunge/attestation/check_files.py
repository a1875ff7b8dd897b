"""Checks of a record against the files of models and measurements."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from expunge.attestation import facts
from expunge.attestation.check_data import run_key
from expunge.attestation.checks import Check, differs, file_check, keyed_check, same, unreachable
from expunge.attestation.paths import base_files, base_folder, chat_template, edit_files, name_in
from expunge.attestation.read import as_written
from expunge.attestation.schema import Attestation, Base, Edit
from expunge.attestation.schema_parts import File, Tasks
from expunge.runs.folder import AUDIT, AUDIT_ROWS, VERDICT, Run


def base_checks(base: Base) -> Iterator[Check]:
    """The base model's files, its chat template, and the edits that it carries."""
    folder = base_folder(base.name, base.revision)
    if folder is None:
        yield unreachable(f"base {base.name}", "it is not on this machine")
    else:
        checks = list(_folder("base", base.files, folder, base_files(base.name, folder)))
        yield from checks
        if base.chat_template is not None and all(check.status == "ok" for check in checks):
            template = as_written(folder, lambda: chat_template(folder)) or ""
            found = hashlib.sha256(template.encode()).hexdigest()
            yield same("base chat template", found, base.chat_template, "its files are as recorded, its hash is not")
    for carried in base.carries:
        held = Run(Path(carried.run)).edit
        yield from _folder(f"carried edit {carried.run}", carried.files, held, edit_files(held))


def edit_checks(edit: Edit, run: Run) -> Iterator[Check]:
    """The edit's files."""
    yield from _folder("edit", edit.files, run.edit, edit_files(run.edit))


def round_checks(record: Attestation, run: Run) -> Iterator[Check]:
    """What each round of a release found and chose."""
    for one in record.rounds:
        yield file_check(one.file.path, one.file, run.folder / one.file.path)


def measured_checks(record: Attestation, run: Run) -> Iterator[Check]:
    """What was measured: its files, and that the record says the same."""
    path = run.folder / AUDIT
    yield (check := file_check(AUDIT, record.audit, path))
    if check.status == "ok":
        yield same("metrics", facts.metrics(path), record.metrics, f"they are not those of {AUDIT}")
    if record.verdict is not None:
        yield (check := file_check(VERDICT, record.verdict, run.folder / VERDICT))
        if check.status == "ok":
            yield same("attacks", facts.attacks(run.folder / VERDICT), record.attacks, f"they are not those of {VERDICT}")
    elif record.attacks is not None:
        yield differs("attacks", f"no {VERDICT} is recorded that they are of")
    recorded = {file.path: file for file in record.audit_rows}
    for name in AUDIT_ROWS:
        if name in recorded:
            yield keyed_check(name, recorded[name], run.folder / name, run_key(record, run))
        elif (run.folder / name).exists():
            yield differs(name, "it was not there when the record was written")


def task_checks(tasks: Tasks | None) -> Iterator[Check]:
    """The user's own files of tasks, where the audit was given some."""
    for file in [] if tasks is None else tasks.files:
        yield file_check(f"tasks {file.path}", file, Path(file.path))


def _folder(name: str, files: list[File], folder: Path, there: list[Path]) -> Iterator[Check]:
    """A folder's files: of one that is there each must be, and none beside them, which could be loaded in their place."""
    for file in files:
        check = file_check(f"{name} {file.path}", file, folder / file.path)
        yield differs(check.name, "it is gone") if check.status == "not reachable" and folder.is_dir() else check
    for path in sorted({name_in(path, folder) for path in there} - {file.path for file in files}):
        yield differs(f"{name} {path}", "it was not there when the record was written")
