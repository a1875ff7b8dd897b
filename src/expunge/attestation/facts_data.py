"""Facts of an attestation about the data: forget, retain and audit sets, and what the model revealed or generated itself."""

from pathlib import Path

from expunge.attestation.hashes import hash_files, hmac_files, prompts_hmac, record_hmac
from expunge.attestation.merkle import merkle_root
from expunge.attestation.paths import data_files
from expunge.attestation.schema import AuditSet, Counts, Excluded, Forget, ForgetRecord, Language, Reading, Retain, RevealedSet
from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.overlap import check_overlap
from expunge.data.records import Record
from expunge.data.set_names import FORGET, RETAIN
from expunge.reveal_release.reveal.select import read_results
from expunge.runs.folder import NEUTRAL, REVEAL, REVEALED, ROUNDS
from expunge.runs.folder import RETAIN as RETAIN_FILE
from expunge.runs.generated import read_revealed
from expunge.runs.loaded import OpenedRun
from expunge.runs.splits import Splits

FILTERS = ("top_k", "min_relevance", "min_chars", "max_chars", "dedup_threshold")


def reading(run: OpenedRun) -> Reading:
    """Return the settings that the recipe's files are read with, and the language that was chosen."""
    data, recorded = run.recipe.data, run.info["data"].get("language")
    (forget_map, forget_split), (retain_map, retain_split) = data.forget_reading, data.retain_reading
    return Reading(
        map=data.map,
        split=data.split,
        forget_map=forget_map,
        forget_split=forget_split,
        retain_map=retain_map,
        retain_split=retain_split,
        held_out=data.held_out,
        allow_overlap=data.allow_overlap,
        language=None if recorded is None else Language(**recorded),
    )


def forget(recipe: Recipe, records: list[Record], key: bytes) -> Forget:
    """Return the forget set with the HMAC of each record."""
    revealed = isinstance(recipe.data.forget, Revealed)
    source = f"{REVEAL}/{REVEALED}" if revealed else recipe.forget_source
    hashed = [ForgetRecord(id=record.id, hmac=record_hmac(record, key), file=source, line=record.line) for record in records]
    root = merkle_root([bytes.fromhex(record.hmac) for record in hashed]).hex()
    return Forget(records=hashed, merkle_root=root, files=[] if revealed else hmac_files(data_files(source), key))


def retain(run: OpenedRun, splits: Splits) -> Retain:
    """Return the retain set. Its hash is the one that was compared whenever the run read the set."""
    recipe, source = run.recipe, run.recipe.data.retain
    count = len(splits.given_retain)
    hashed = [] if source is None else hash_files(data_files(source))
    return Retain(source=recipe.retain_source, sha256=run.info["data"]["retain"]["sha256"], count=count, files=hashed)


def counts(recipe: Recipe, splits: Splits) -> Counts:
    """Return the number of records by use."""
    overlap = check_overlap(splits.given_forget, splits.given_retain, recipe.forget_source, recipe.retain_source, allow=True)
    return Counts(
        forget=len(splits.forget),
        trained=len(splits.retain),
        calibration=len(splits.calibration),
        held_out=len(splits.held_out),
        overlap=overlap,
    )


def excluded(run: OpenedRun, splits: Splits) -> list[Excluded]:
    """Return the counts of revealed records that were filtered out, and of records that the audit did not draw."""
    left_out = []
    if isinstance(run.recipe.data.forget, Revealed):
        dropped = read_results(run.folder / REVEAL)["dropped"]
        left_out += [Excluded(set=FORGET, reason=f"revealed, and {reason}", records=count) for reason, count in dropped.items() if count]
    for name, records in ((FORGET, splits.forget), (RETAIN, splits.held_out)):
        drawn = run.summary["unlearned"][name]["rouge"]["n"]
        if drawn < len(records):
            left_out.append(Excluded(set=name, reason="not drawn for the audit (audit.max_records)", records=len(records) - drawn))
    return left_out


def audit_sets(recipe: Recipe, key: bytes) -> list[AuditSet]:
    """Return the recipe's further audit sets. All get HMACs, because some may hold text to forget."""
    sources = {**recipe.audit.sets, **recipe.audit.questions}
    return [AuditSet(name=name, source=source, files=hmac_files(data_files(source), key)) for name, source in sources.items()]


def revealed_sets(run: OpenedRun, key: bytes) -> list[RevealedSet]:
    """Return the forget sets that the model revealed: the first one, and those of later rounds."""
    section = run.recipe.data.forget
    if not isinstance(section, Revealed):
        return []
    filters: dict[str, float | int | bool | str | None] = {name: getattr(section.reveal, name) for name in FILTERS}
    # The pattern itself may contain the topic to forget.
    filters["truncate_at"] = section.reveal.truncate_at is not None
    seed = run.recipe.training.seed
    folders = [(seed, run.folder / REVEAL)]
    folders += [(seed + int(path.parent.name), path) for path in sorted((run.folder / ROUNDS).glob(f"*/{REVEAL}"))]
    return [_revealed_set(run, folder, seed, filters, key) for seed, folder in folders if (folder / REVEALED).exists()]


def _revealed_set(run: OpenedRun, folder: Path, seed: int, filters: dict[str, float | int | bool | str | None], key: bytes) -> RevealedSet:
    records = read_revealed(folder)
    (file,) = hmac_files([folder / REVEALED], key, run.folder)
    prompts = prompts_hmac([record.prompt for record in records], key)
    return RevealedSet(file=file, prompts_hmac=prompts, records=len(records), seed=seed, filters=filters)


def self_generated(run: OpenedRun) -> list[Path]:
    """Return the files of the model's answers to neutral instructions, if the run has any."""
    return [path for path in (run.folder / RETAIN_FILE, run.folder / NEUTRAL) if path.exists()]
