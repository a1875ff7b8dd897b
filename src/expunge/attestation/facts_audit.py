"""Facts of an attestation about the audit: metrics, attacks, what was not tested, and the known limitations."""

from pathlib import Path

from expunge.attestation.read import read_audit_file
from expunge.attestation.schema import Metrics
from expunge.attestation.schema_audit import Attacks
from expunge.config import Revealed
from expunge.data.threats import RELEASED, THREATS
from expunge.edits import edit_of
from expunge.models.generation import TAKEN_BACK
from expunge.runs.cutting import recorded_remarks
from expunge.runs.facts import AuditJson
from expunge.runs.loaded import OpenedRun

LIMITATIONS = (
    "This is evidence that a stated procedure ran and of what was measured. It is not a proof: absence cannot be proved from weights.",
    "The hashes show that the files have not changed since the attestation. Whoever can write to the folder can write another attestation; "
    "only a signature, or a later attestation with the hash of this one, reveals that.",
    "The time is that of the clock of the machine that wrote the attestation.",
)


def metrics(path: Path) -> Metrics:
    """Return the metrics of `audit.json`."""
    audited = read_audit_file(path, AuditJson)
    return Metrics(before=audited.original, after=audited.unlearned, control=audited.control)


def attacks(path: Path) -> Attacks | None:
    """Return the content of `verdict.json`, or None if there is no such file. It holds no text of a model or of a record."""
    return read_audit_file(path, Attacks) if path.exists() else None


def not_tested(metrics: Metrics, attacks: Attacks | None) -> list[str]:
    """Return what the audit did not test, as phrases."""
    tested = set() if attacks is None else {row.threat for row in attacks.rows}
    missing = [] if attacks is not None else ["any attack"]
    missing += [f'attacks of the threat model "{threat}"' for threat in THREATS if attacks is not None and threat not in tested]
    if metrics.control is None:
        missing.append("a control model: without one, no number shows whether something was forgotten or was never known")
    return missing


def limitations(run: OpenedRun) -> list[str]:
    """Return what the attestation does not show, as sentences."""
    recipe = run.recipe
    known = list(LIMITATIONS)
    if edit_of(recipe).removable:
        known.append(f'Whoever holds the edit\'s files can switch the edit off: nothing here is evidence for "{RELEASED}".')
    if recipe.edit.answer_gate and recipe.release is None:
        known.append(TAKEN_BACK)
    if recipe.data.retain is None:
        known.append(f"No retain set was given: the retain numbers are of {recipe.retain_source}.")
    if isinstance(recipe.data.forget, Revealed):
        known.append("The model itself revealed the forget records: what it did not reveal is not among them.")
    return [*known, *recorded_remarks(run)]
