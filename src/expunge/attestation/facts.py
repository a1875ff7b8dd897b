"""What a run's folder, its recipe and its audit say, put into the fields of a record."""

import hashlib
import os
import platform
from pathlib import Path

import torch

from expunge.attestation.hmac_hashes import file_hmac, row_hmac
from expunge.attestation.merkle import merkle_root
from expunge.attestation.paths import (
    TOKENIZER_FILES,
    base_files,
    base_folder,
    chat_template,
    data_files,
    edit_files,
    hashed,
    name_in,
    revision_of,
)
from expunge.attestation.read import measured
from expunge.attestation.schema import (
    Base,
    Carried,
    Counts,
    Edit,
    Environment,
    Excluded,
    Forget,
    ForgetRow,
    KeyedFile,
    Metrics,
    Reading,
    Retain,
    Source,
    Tool,
)
from expunge.attestation.schema_parts import Attacks, Audited
from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.records import Record, check_overlap
from expunge.data.set_names import FORGET, RETAIN
from expunge.data.threats import THREATS
from expunge.edits import edit_of
from expunge.models.loading import best_dtype
from expunge.reveal_release.reveal.select import read_results
from expunge.runs.folder import REVEAL, REVEALED, Run, versions
from expunge.runs.load import below
from expunge.runs.splits import Sets
from expunge.version import __version__

RELEASED = "weights released"
LIMITATIONS = (
    "This is evidence that a stated procedure ran and of what was measured, not a proof: absence cannot be proved from weights.",
    "The hashes show that files are those that were recorded; whoever can write to the folder can make another record, which only a "
    "signature, or a later record that names this one's hash, gives away.",
    "The time is that of the clock of the machine that wrote the record.",
)


def tool() -> Tool:
    """What writes the record."""
    return Tool(name="expunge", version=__version__)


def environment(run: Run) -> Environment:
    """The machine and the packages of the audit, and the packages that the run was begun with."""
    packages, dtype = versions(), run.recipe.training.dtype
    return Environment(
        python=packages.pop("python"),
        packages=packages,
        trained_with=run.info["versions"],
        cpu=_cpu(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        threads=torch.get_num_threads(),
        dtype=f"auto: {str(best_dtype()).removeprefix('torch.')}" if dtype == "auto" else dtype,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )


def reading(recipe: Recipe) -> Reading:
    """How the recipe's files are read."""
    data = recipe.data
    return Reading(map=data.map, split=data.split, held_out=data.held_out, allow_overlap=data.allow_overlap)


def forget(recipe: Recipe, records: list[Record], key: bytes) -> Forget:
    """The forget rows by their HMACs."""
    revealed = isinstance(recipe.data.forget, Revealed)
    source = f"{REVEAL}/{REVEALED}" if revealed else recipe.forget_source
    rows = [ForgetRow(id=record.id, hmac=row_hmac(record, key), file=source, line=record.line) for record in records]
    root = merkle_root([bytes.fromhex(row.hmac) for row in rows]).hex()
    return Forget(rows=rows, merkle_root=root, files=[] if revealed else keyed(data_files(source), key))


def retain(run: Run, sets: Sets) -> Retain:
    """The retain set, whose hash the run has compared whenever it read it."""
    recipe, given = run.recipe, run.recipe.data.retain
    count = len(sets.retain) + len(sets.calibration) + len(sets.exam)
    files = [] if given is None else hashed(data_files(given))
    return Retain(source=recipe.retain_source, sha256=run.info["data"]["retain"]["sha256"], count=count, files=files)


def counts(recipe: Recipe, sets: Sets) -> Counts:
    """Records by use."""
    kept = [*sets.retain, *sets.calibration, *sets.exam]
    overlap = check_overlap(sets.forget, kept, recipe.forget_source, recipe.retain_source, allow=True)
    return Counts(
        forget=len(sets.forget), trained=len(sets.retain), calibration=len(sets.calibration), held_out=len(sets.exam), overlap=overlap
    )


def excluded(run: Run, sets: Sets) -> list[Excluded]:
    """Rows that were not trained on or not measured: what a file holds is used whole or refused."""
    left_out = []
    if isinstance(run.recipe.data.forget, Revealed):
        dropped = read_results(run.folder / REVEAL)["dropped"]
        left_out += [Excluded(set=FORGET, reason=f"revealed, and {reason}", rows=rows) for reason, rows in dropped.items() if rows]
    for name, records in ((FORGET, sets.forget), (RETAIN, sets.exam)):
        drawn = run.summary["unlearned"][name]["rouge"]["n"]
        if drawn < len(records):
            left_out.append(Excluded(set=name, reason="not drawn for the audit (audit.max_rows)", rows=len(records) - drawn))
    return left_out


def audit_sets(recipe: Recipe, key: bytes) -> list[Source]:
    """The recipe's further sets: some are of what is to be forgotten, so all are keyed."""
    given = {**recipe.audit.sets, **recipe.audit.questions}
    return [Source(name=name, source=source, files=keyed(data_files(source), key)) for name, source in given.items()]


def base(run: Run) -> Base:
    """The model that the run began with, down to the files below every request that it carries."""
    info = run.info["model"]
    name, earlier = below(info["name"])
    folder = base_folder(name)
    paths = [] if folder is None else base_files(name, folder)
    template = None if folder is None or name.endswith(".gguf") else chat_template(folder)
    return Base(
        name=name,
        revision=None if folder is None else revision_of(folder),
        weights_sha256=info["sha256"],
        files=hashed(paths, folder),
        tokenizer=[path.name for path in paths if path.name.startswith(TOKENIZER_FILES)],
        chat_template=None if template is None else hashlib.sha256(template.encode()).hexdigest(),
        carries=[Carried(run=str(one.folder), files=hashed(edit_files(one.edit), one.edit)) for one in earlier],
    )


def edit(run: Run) -> Edit:
    """The edit's files and settings."""
    recipe = run.recipe
    settings = {"name": "release"} if recipe.release else recipe.edit.model_dump(mode="json")
    return Edit(files=hashed(edit_files(run.edit), run.edit), settings=settings, removable=edit_of(recipe).removable)


def metrics(path: Path) -> Metrics:
    """The numbers of `audit.json`."""
    said = measured(path, Audited)
    return Metrics(before=said.original, after=said.unlearned, control=said.control)


def attacks(path: Path) -> Attacks | None:
    """What `verdict.json` says, if there is one: none of its fields holds text of a model or of a record."""
    return measured(path, Attacks) if path.exists() else None


def not_tested(found: Metrics, attacked: Attacks | None) -> list[str]:
    """What the audit left out."""
    tried = set() if attacked is None else {row.threat for row in attacked.rows}
    left_out = [] if attacked is not None else ["any attack"]
    left_out += [f'attacks of the threat model "{threat}"' for threat in THREATS if attacked is not None and threat not in tried]
    if found.control is None:
        left_out.append("a control model: no number here says whether something was forgotten or was never known")
    return left_out


def limitations(run: Run) -> list[str]:
    """What the record does not show."""
    recipe = run.recipe
    known = list(LIMITATIONS)
    if edit_of(recipe).removable:
        known.append(f'The edit can be switched off by whoever holds its files: nothing here is evidence for "{RELEASED}".')
    if recipe.data.retain is None:
        known.append(f"No retain set was given: the retain numbers are of {recipe.retain_source}.")
    if isinstance(recipe.data.forget, Revealed):
        known.append("The forget rows are what the model itself revealed: what it did not tell is not among them.")
    return known


def keyed(paths: list[Path], key: bytes, root: Path | None = None) -> list[KeyedFile]:
    """Files with their HMACs; `root` as for `hashed`."""
    return [KeyedFile(path=name_in(path, root), hmac=file_hmac(path, key)) for path in paths]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
