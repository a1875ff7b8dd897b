"""Writes an audit's report: one HTML file without scripts or outside resources, in which generated text is only ever text."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from expunge.audit.report.escape import visible
from expunge.audit.report.figures import COLOURS, gate_figure, roc_figure, rounds_figure, tradeoff_figure
from expunge.audit.report.gate_table import pivots, shades
from expunge.audit.report.rows import GROUPS, ROLES, Row, Summaries, headline, number, rows
from expunge.run import write_atomically

NO_CONTROL = "No control was given, so this report gives no verdict: what a model that never saw the forget set would score is not known."
THREAT_MODELS = (
    ("API only", "the attacker sends prompts and reads answers"),
    ("Fine-tuning API", "the attacker also trains the model on data of their own"),
    ("Weights released", "the attacker holds the weights: fine-tunes, quantises, reads hidden states, deletes adapters"),
)
GROUP_TITLES = {"forget": "To be forgotten", "retain": "To be kept", "others": "Everything else"}


Sample = Mapping[str, str]
"""`set`, `id`, `question`, `truth`, and each model's answer by its role; a model that was not asked has no key."""


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows.

    Attributes:
        title: of the page.
        created: date and time, as it is to be printed.
        recipe: the run's recipe, YAML.
        versions: of tools and packages.
        summary: the numbers, `{role: {set: {metric: number}}}`.
        threat_model: what the run states about itself, one line each.
        verdict: one line each; left out of the page when there is no control.
        gate_logits: of each evaluation set, if the edit has a gate.
        gate_threshold: the logit above which the gate opens.
        exam: of the gate, as gate.json holds it, if there was one.
        exam_logits: what the gate said of all target prompts of its exam, and of all others.
        rounds: of a release, as `expunge.release.run.curve` gives them.
        samples: questions with the models' answers.
        show_text: show the samples' text; else only keyed hashes and lengths.
        notes: what was not tested and what a reader must know, one line each.
    """

    title: str
    created: str
    recipe: str
    versions: Mapping[str, str]
    summary: Summaries
    threat_model: Sequence[str] = ()
    verdict: Sequence[str] = ()
    gate_logits: Mapping[str, Sequence[float]] | None = None
    gate_threshold: float = 0.0
    exam: Mapping[str, Any] | None = None
    exam_logits: tuple[Sequence[float], Sequence[float]] = ((), ())
    rounds: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Sample] = ()
    show_text: bool = False
    notes: Sequence[str] = ()


def write_report(run_dir: Path, data: ReportData) -> Path:
    """Write `report.html` into the run's folder, whole or not at all.

    Returns:
        The file's path.
    """
    path = run_dir / "report.html"
    write_atomically(path, render(data))
    return path


def render(data: ReportData) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    table = rows(data.summary)
    roles = [role for role in ROLES if any(role in row.cells for row in table)]
    tradeoff = tradeoff_figure(data.summary)
    return environment.get_template("template.html").render(
        data=data,
        headline=headline(data.summary),
        groups=[(GROUP_TITLES[group], _by_set(table, group)) for group in GROUPS],
        roles=roles,
        colours=COLOURS,
        number=number,
        on_unit_scale=_on_unit_scale,
        tradeoff=None if tradeoff is None else Markup(tradeoff),
        gate=Markup(gate_figure(data.gate_logits, data.gate_threshold)) if data.gate_logits else None,
        pivots=pivots(data.exam) if data.exam else [],
        roc=Markup(roc_figure(*data.exam_logits, data.gate_threshold)) if data.exam else None,
        shades=shades,
        rounds=Markup(rounds_figure(data.rounds)) if data.rounds else None,
        round_columns=list(dict.fromkeys(name for row in data.rounds for name, value in row.items() if value is not None)),
        samples=data.samples if data.show_text else _hashed(data.samples),
        sample_roles=[role for role in ROLES if any(role in sample for sample in data.samples)],
        no_control=None if "control" in roles else NO_CONTROL,
        threat_models=THREAT_MODELS,
    )


def _finalize(value: object) -> object:
    """Applied to every value that the template prints, so that none can be forgotten."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _by_set(table: list[Row], group: str) -> dict[str, list[Row]]:
    sets: dict[str, list[Row]] = {}
    for row in table:
        if row.group == group:
            sets.setdefault(row.set, []).append(row)
    return sets


def _on_unit_scale(row: Row) -> bool:
    """Whether all of a row's numbers can be drawn on a scale from 0 to 1."""
    return all(0 <= bound <= 1 for cell in row.cells.values() for bound in (cell["value"], *(cell["ci95"] or ())))


def _hashed(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without their text: equal texts have equal marks within this report, and nobody can look them up in another."""
    key = secrets.token_bytes(32)

    def mark(text: str) -> str:
        digest = hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
        return f"{digest[:12]} ({len(text)} characters)"

    return [{name: text if name in ("set", "id") else mark(text) for name, text in sample.items()} for sample in samples]
