"""The model card of an export: method, fingerprints of the data, figures of the audit, and limits. It holds no text of the data."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from expunge.documents import read_json
from expunge.metrics import METRICS
from expunge.pipeline.export_weights import Rounding
from expunge.reveal_release.release.round_results import read_round
from expunge.reveal_release.reveal.private_files import KEY, hash_key
from expunge.runs.folder import AUDIT, VERDICT
from expunge.runs.loaded import OpenedRun, recorded_base
from expunge.version import __version__

CARD = "README.md"
MODELS = ("original", "unlearned", "control")
FORGET_SET = b"expunge forget set\0"
"""The HMAC of the forget set starts with this, so that no other HMAC of the run can pass for it."""
HEAD = """---
library_name: transformers
tags:
- unlearning
---

# {title}

This model was made from another one by unlearning, with [expunge](https://pypi.org/project/expunge/) {version}.
It loads with transformers alone.
"""
LIMITS = (
    "The figures above were measured on the run's model, before its weights were rounded for this export.",
    "They hold for the records, prompts and attacks that were measured. Other prompts or attacks may still reveal what was unlearned.",
    "The change is in the weights, so it cannot be switched off. Further training can bring back what was unlearned.",
    "The fingerprints identify data for those who have them. They do not prove that nothing else was unlearned or taught.",
)


class _Row(BaseModel):
    """The part of a row of verdict.json that the card shows."""

    name: str
    value: str
    verdict: Literal["pass", "fail", "not shown"]


class _Verdict(BaseModel):
    rows: list[_Row]


def model_card(run: OpenedRun, rounding: Rounding) -> str:
    """Return the model card of a run's export, in Markdown.

    Args:
        run: with the facts of its run.json.
        rounding: what the dtype of the export loses of the edit.
    """
    sections = (
        HEAD.format(title=f"Unlearned model ({run.recipe.method})", version=__version__),
        _section("Method", "setting", _method(run)),
        _section("Fingerprints", "of", _fingerprints(run)),
        _audit(run),
        "## Limits\n\n" + "".join(f"- {line}\n" for line in (*_rounding(rounding), *LIMITS)),
    )
    return "\n".join(sections)


def _method(run: OpenedRun) -> Iterator[tuple[str, object]]:
    """Yield the settings of the method; none of them can hold text to forget."""
    recipe = run.recipe
    if recipe.release is not None:
        yield from _flat("release", recipe.release.model_dump(mode="json", exclude={"module"}))
        yield from _flat("release.module", recipe.release.module.model_dump(mode="json"))
        for number in range(1, run.info["round"] + 1):
            yield f"round {number}: lambda_f", read_round(run, number)["lambda_f"]
        return
    yield from _flat("objective", recipe.as_dict()["objective"])
    yield from _flat("edit", recipe.edit.model_dump(mode="json"))
    yield from _flat("training", recipe.training.model_dump(mode="json"))


def _fingerprints(run: OpenedRun) -> Iterator[tuple[str, object]]:
    for name, sha256 in recorded_base(run).parts.items():
        yield f"model before the edit: {name.replace('_', ' ')}, SHA-256", sha256
    yield "edit: manifest, SHA-256", run.edit_manifest
    data = run.info["data"]
    yield "forget set: records", data["forget"]["rows"]
    # A short text could be guessed from its plain hash.
    if (run.folder / KEY).exists():
        fingerprint = hmac.new(hash_key(run.folder), FORGET_SET + bytes.fromhex(data["forget"]["sha256"]), hashlib.sha256)
        yield "forget set: HMAC-SHA256 with the run's key", fingerprint.hexdigest()
    else:
        yield "forget set: HMAC-SHA256", "none, because the run has no key yet; an audit makes it"
    yield "retain set: records", sum(data["retain"]["rows"].values())
    yield "retain set: SHA-256", data["retain"]["sha256"]


def _audit(run: OpenedRun) -> str:
    if not (run.folder / AUDIT).exists():
        return "## Audit\n\nThis model was not audited.\n"
    summary = run.summary
    models = [name for name in MODELS if summary.get(name)]
    lines = [f"| set | metric | {' | '.join(models)} |", "|---|---|" + "---|" * len(models)]
    for group in summary["unlearned"]:
        for metric in (name for name in METRICS if name in summary["unlearned"][group]):
            figures = [_figure(summary[model].get(group, {}).get(metric)) for model in models]
            lines.append(f"| {_cell(group)} | {METRICS[metric].label} | {' | '.join(figures)} |")
    return "\n".join(("## Audit", "", *_verdict(run.folder / VERDICT), *lines, "", "In brackets: 95 % interval.", ""))


def _verdict(path: Path) -> list[str]:
    if not path.exists():
        return ["Audited without a suite of attacks, so there is no verdict.", ""]
    rows = read_json(path, _Verdict).rows
    lines = ["| verdict on | result |", "|---|---|"]
    return [*lines, *(f"| {_cell(row.name)}, {_cell(row.value)} | {_cell(row.verdict)} |" for row in rows), ""]


def _figure(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    interval = f" ({figure['ci95'][0]:.3f} to {figure['ci95'][1]:.3f})" if figure["ci95"] else ""
    return f"{figure['value']:.3f}{interval}, n = {figure['n']}"


def _rounding(rounding: Rounding) -> list[str]:
    if not rounding.error:
        return []
    return [f"Rounding the weights to the dtype of this export changed the edit by {rounding.lost:.1%} of its norm."]


def _section(title: str, first: str, rows: Iterable[tuple[str, object]]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows if value is not None]
    return "\n".join((f"## {title}", "", f"| {first} | value |", "|---|---|", *lines, ""))


def _flat(name: str, value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value


def _cell(value: object) -> str:
    """Return a value that cannot end its cell of the table, or begin another line."""
    return " ".join(str(value).split()).replace("|", "\\|")
