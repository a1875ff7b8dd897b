"""Render an audit's report: one HTML file without scripts or outside resources, in which all text is escaped."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from expunge.files import PRIVATE, write_text
from expunge.reporting.attack_figures import attack_figure, membership_figure
from expunge.reporting.attack_tables import AttackPlot, WorstRecord
from expunge.reporting.document_table import DocumentLine, more_documents, table_cells
from expunge.reporting.figures import gate_figure, roc_figure, rounds_figure, tradeoff_figure
from expunge.reporting.gate_table import pivots, shades
from expunge.reporting.metric_rows import ROLES, Summaries, headline, number, rows
from expunge.reporting.svg import LOOKS
from expunge.reporting.template import fill, metric_groups
from expunge.reporting.verdict_table import SIGNS, Verdict, count_verdicts, groups, scale, short_reason, signed

NO_CONTROL = "No control was given, so this report has no verdict: the score of a model that never saw the forget set is not known."
NO_CONTROL_ROWS = (
    "No control was given, so the answers of a model that never saw the forget set are not known. "
    "Tests that compare with the control therefore have no verdict, and no row shows that anything was forgotten."
)

Sample = Mapping[str, str]
"""`set`, `id`, `question`, `truth`, and each model's answer by its role. A model that was not queried has no key."""


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows.

    Attributes:
        title: title of the page.
        created: date and time, as printed.
        recipe: the run's recipe, YAML.
        versions: versions of tools and packages.
        summary: the metrics, `{role: {set: {metric: number}}}`.
        facts: request, method and tests, a few words each.
        threat_model: what the kind of edit means for attackers, one sentence each.
        verdict_lines: the verdict of an audit without a suite, one sentence each; not shown without a control.
        verdict_rows: the rows of verdict.json, for an audit with a suite.
        attack_plots: the data of the attacks' figures.
        membership: each model's scores of members and of non-members.
        worst: the records with the largest excess in an attack.
        texts: question and answer of these records, by id; empty if texts are not shown.
        gate_logits: {evaluation set: logits of its prompts}, if the edit has a gate.
        gate_threshold: the logit from which the gate opens.
        gate_eval: the content of gate.json, if the gate was evaluated.
        gate_eval_logits: the gate's logits on prompts that should open it, and on all others.
        rounds: the rounds of a release, as `expunge.reveal_release.release.round_results.curve` returns them.
        documents: the lines of the table by document.
        samples: questions with the models' answers.
        show_text: show the samples' texts; False: show only keyed hashes and lengths.
        notes: what was not tested, and other limits, one sentence each.
    """

    title: str
    created: str
    recipe: str
    versions: Mapping[str, str]
    summary: Summaries
    facts: Mapping[str, str] = field(default_factory=dict)
    threat_model: Sequence[str] = ()
    verdict_lines: Sequence[str] = ()
    verdict_rows: Sequence[Verdict] = ()
    attack_plots: Sequence[AttackPlot] = ()
    membership: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    worst: Sequence[WorstRecord] = ()
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    gate_logits: Mapping[str, Sequence[float]] | None = None
    gate_threshold: float = 0.0
    gate_eval: Mapping[str, Any] | None = None
    gate_eval_logits: tuple[Sequence[float], Sequence[float]] = ((), ())
    rounds: Sequence[Mapping[str, Any]] = ()
    documents: Sequence[DocumentLine] = ()
    samples: Sequence[Sample] = ()
    show_text: bool = False
    notes: Sequence[str] = ()


def write_page(folder: Path, data: ReportData) -> Path:
    """Write `report.html` atomically into a folder, and return its path; only the owner may read a report that shows texts."""
    path = folder / "report.html"
    write_text(path, render(data), PRIVATE if _shows_texts(data) else 0o666)
    return path


def _shows_texts(data: ReportData) -> bool:
    scored = (data.gate_eval or {}).get("worst", ())
    return bool((data.show_text and data.samples) or data.texts or any(prompt["tokens"] for prompt in scored))


def render(data: ReportData) -> str:
    """Return the report as HTML."""
    table = rows(data.summary)
    roles = [role for role in ROLES if any(role in row.cells for row in table)]
    tradeoff = tradeoff_figure(data.summary)
    no_control = NO_CONTROL_ROWS if data.verdict_rows else NO_CONTROL
    return fill(
        "report.html",
        title=data.title,
        data=data,
        headline=headline(data.summary),
        groups=metric_groups(table),
        models=roles,
        looks=LOOKS,
        number=number,
        threats=groups(data.verdict_rows),
        verdict_counts=count_verdicts(data.verdict_rows),
        signs=SIGNS,
        short_reason=short_reason,
        signed=signed,
        scale=scale(data.verdict_rows),
        attack_figures=[(plot.name, plot.figure, Markup(attack_figure(plot))) for plot in data.attack_plots],
        membership=Markup(membership_figure(data.membership)) if data.membership else None,
        tradeoff=None if tradeoff is None else Markup(tradeoff),
        gate=Markup(gate_figure(data.gate_logits, data.gate_threshold)) if data.gate_logits else None,
        pivots=pivots(data.gate_eval) if data.gate_eval else [],
        roc=Markup(roc_figure(*data.gate_eval_logits, data.gate_threshold)) if data.gate_eval else None,
        shades=shades,
        rounds=Markup(rounds_figure(data.rounds)) if data.rounds else None,
        round_columns=list(dict.fromkeys(name for row in data.rounds for name, value in row.items() if value is not None)),
        documents=table_cells(data.documents) if data.documents else None,
        more_documents=more_documents(data.documents),
        samples=data.samples if data.show_text else _hashed(data.samples),
        sample_roles=[role for role in ROLES if any(role in sample for sample in data.samples)],
        no_control=None if "control" in roles else no_control,
    )


def _hashed(samples: Sequence[Sample]) -> list[Sample]:
    """Replace texts by keyed hashes, equal for equal texts. The key is random, so hashes of two reports cannot be compared."""
    key = secrets.token_bytes(32)

    def hashed(text: str) -> str:
        digest = hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
        return f"{digest[:12]} ({len(text)} characters)"

    return [{name: text if name in ("set", "id") else hashed(text) for name, text in sample.items()} for sample in samples]
