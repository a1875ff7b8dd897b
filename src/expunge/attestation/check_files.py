"""Check an attestation against the files of models, release rounds, audit and lm-eval tasks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from expunge.attestation import facts_audit
from expunge.attestation.check_data import run_key
from expunge.attestation.checks import Check, differs, file_check, hmac_check, ok, same, unreachable
from expunge.attestation.paths import base_files, base_folder, edit_files, name_in, path_below
from expunge.attestation.read import read_untrusted
from expunge.attestation.schema import AdapterBase, Attestation, Base, Control, Edit
from expunge.attestation.schema_audit import LmEval
from expunge.attestation.schema_parts import File
from expunge.data.set_names import AUTO
from expunge.documents import read_text
from expunge.edits.manifest import MANIFEST, check_manifest
from expunge.errors import InputError
from expunge.models.checkpoint import weight_files
from expunge.models.file_hashes import tensors_sha256_once
from expunge.models.identity import part_name, recorded_identity, with_edits
from expunge.models.loading import parts_without_weights
from expunge.models.merged_adapter import with_adapter
from expunge.reveal_release.release.round_results import recorded_modules
from expunge.runs.edit_record import edit_record
from expunge.runs.folder import AUDIT, AUDIT_ROWS, INFO, TEMPLATE, VERDICT, Run


def base_checks(base: Base, run: Run) -> Iterator[Check]:
    """Check the base model's identity and files, and the earlier edits on top of it."""
    manifests = [{file.path: file.sha256 for file in earlier.files}.get(MANIFEST, "") for earlier in reversed(base.earlier_edits)]
    yield from _model_checks("base", base, run, base.revision, manifests)
    for earlier in base.earlier_edits:
        folder = Run(Path(earlier.run)).edit
        yield from _folder(f"earlier edit {earlier.run}", earlier.files, folder, edit_files(folder))


def control_checks(control: Control | None, base: Base, run: Run) -> Iterator[Check]:
    """Check the control model's identity and files; the control `auto` must be the base model."""
    if control is None:
        return
    if control.name == AUTO:
        yield same("control", control.parts, base.parts, "it is not the base model")
    else:
        yield from _model_checks("control", control, run)


def _model_checks(
    name: str, model: Base | Control, run: Run, revision: str | None = None, manifests: Sequence[str] = ()
) -> Iterator[Check]:
    yield (identity := same(f"{name} identity", recorded_identity(model.parts), model.identity, "it is not the hash of its parts"))
    folder = base_folder(model.name, revision)
    if folder is None:
        yield unreachable(f"{name} {model.name}", "it is not on this machine")
        return
    checks, below = list(_folder(name, model.files, folder, base_files(model.name, folder), links=True)), None
    if model.adapter_base is not None:
        below = base_folder(model.adapter_base.name, model.adapter_base.revision)
        checks += _adapter_base_checks(name, model.adapter_base, below)
    yield from checks
    # Only files with the recorded hashes are parsed.
    if all(check.status == "ok" for check in (identity, *checks)):
        yield from _weights_check(name, model, folder, below, manifests)
        yield from _part_checks(name, model, (folder, below), run)


def _adapter_base_checks(name: str, base: AdapterBase, folder: Path | None) -> Iterator[Check]:
    """Check the files of the model that an adapter is merged into."""
    what = f"{name} below the adapter"
    if folder is None:
        yield unreachable(f"{what} {base.name}", "it is not on this machine")
    else:
        yield from _folder(what, base.files, folder, base_files(base.name, folder), links=True)


def _weights_check(name: str, model: Base | Control, folder: Path, below: Path | None, manifests: Sequence[str]) -> Iterator[Check]:
    """Compute the hash of the checkpoint again: an adapter merged into the model below it, with the earlier edits on top."""
    if "checkpoint" in model.parts:
        sha256 = _tensors_sha256(model.name, folder)
        if model.adapter_base is not None and below is not None:
            sha256 = with_adapter(_tensors_sha256(model.adapter_base.name, below), folder, sha256)
        sha256 = with_edits(sha256, manifests)
        yield same(f"{name} weights", sha256, model.parts["checkpoint"], "its files are unchanged, but the hash of their tensors differs")


def _tensors_sha256(name: str, folder: Path) -> str:
    path = folder / Path(name).name if name.endswith(".gguf") else folder
    return tensors_sha256_once(path, weight_files(path))


def _part_checks(name: str, model: Base | Control, folders: tuple[Path, Path | None], run: Run) -> Iterator[Check]:
    """Compute every part of the identity again but the weights; the folders are those of the model and, for an adapter, of its base.

    A run whose recipe names a chat template has a copy of it, which takes the place of the model's.
    """
    if (model.adapter_base or model).name.endswith(".gguf"):
        yield unreachable(f"{name} configuration and tokenizer", "they are inside the .gguf file, which was checked as a whole")
        return
    copy, (folder, below) = run.folder / TEMPLATE, folders
    template = read_untrusted(copy, lambda: read_text(copy)) if copy.exists() else None
    for part, sha256 in parts_without_weights(folder, template, below).items():
        yield same(f"{name} {part_name(part)}", sha256, model.parts[part], "its files are unchanged, but its hash differs")


def edit_checks(edit: Edit, run: Run) -> Iterator[Check]:
    """Check the edit's files, that its manifest is the one that training recorded, and that run.json still records that one."""
    yield from _folder("edit", edit.files, run.edit, edit_files(run.edit))
    listed = {file.path: file.sha256 for file in edit.files}.get(MANIFEST)
    yield same("edit manifest", listed, edit.manifest, "the attestation lists another manifest than training recorded")
    path = run.folder / INFO
    if not path.is_file():
        yield unreachable("recorded edit", f"{INFO} is not there")
        return
    if not run.edit.is_dir():
        yield differs(f"edit {MANIFEST}", f"the folder is gone, but {INFO} is there")
    try:
        recorded = read_untrusted(path, lambda: edit_record(run.folder, run.read_info())).manifest
    except InputError as error:
        yield differs("recorded edit", str(error))
        return
    yield same("recorded edit", recorded, edit.manifest, f"{INFO} records the manifest of another edit")


def round_checks(attestation: Attestation, run: Run) -> Iterator[Check]:
    """Check the file of each release round, and the modules that it names."""
    for release_round in attestation.rounds:
        file = release_round.file
        path = path_below(run.folder, file.path)
        yield (check := file_check(file.path, file, path))
        if path is not None and check.status == "ok":
            for module, recorded in read_untrusted(path, lambda path=path: recorded_modules(path)).items():
                yield _module(module, path_below(run.folder, module), recorded)


def _module(name: str, folder: Path | None, recorded: str) -> Check:
    if folder is None:
        return differs(name, "its name leads out of the folder")
    if not folder.exists():
        return unreachable(name, "it was purged, or is not there")
    try:
        check_manifest(folder, recorded)
    except InputError as error:
        return differs(name, str(error))
    return ok(name)


def audit_checks(attestation: Attestation, run: Run) -> Iterator[Check]:
    """Check the audit's files, and that the attestation repeats their numbers."""
    path = run.folder / AUDIT
    yield (check := file_check(AUDIT, attestation.audit, path_below(run.folder, AUDIT)))
    if check.status == "ok":
        yield same("metrics", facts_audit.metrics(path), attestation.metrics, f"they are not those of {AUDIT}")
    if attestation.verdict is not None:
        path = run.folder / VERDICT
        yield (check := file_check(VERDICT, attestation.verdict, path_below(run.folder, VERDICT)))
        if check.status == "ok":
            yield same("attacks", facts_audit.attacks(path), attestation.attacks, f"they are not those of {VERDICT}")
    elif attestation.attacks is not None:
        yield differs("attacks", f"the attestation names no {VERDICT} for them")
    recorded = {file.path: file for file in attestation.audit_rows}
    for name in AUDIT_ROWS:
        if name in recorded:
            yield hmac_check(name, recorded[name], path_below(run.folder, name), run_key(attestation, run))
        elif (run.folder / name).exists():
            yield differs(name, "it did not exist when the attestation was written")


def task_file_checks(lm_eval: LmEval | None) -> Iterator[Check]:
    """Check the user's own files of lm-eval tasks."""
    for file in [] if lm_eval is None else lm_eval.files:
        yield file_check(f"tasks {file.path}", file, Path(file.path))


def _folder(name: str, recorded: list[File], folder: Path, existing: list[Path], links: bool = False) -> Iterator[Check]:
    """Check that a folder has all recorded files and no others, which could be loaded in their place; see `path_below` for `links`."""
    for file in recorded:
        check = file_check(f"{name} {file.path}", file, path_below(folder, file.path, links))
        yield differs(check.name, "it is gone") if check.status == "not reachable" and folder.is_dir() else check
    for path in sorted({name_in(path, folder) for path in existing} - {file.path for file in recorded}):
        yield differs(f"{name} {path}", "it did not exist when the attestation was written")
