"""Writes an audit's report: one HTML file without scripts or outside resources, in which generated text is only ever text."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from expunge.files import write_text
from expunge.reporting.attack_figures import attack_figure, membership_figure
from expunge.reporting.attack_tables import AttackPlot, WorstRecord
from expunge.reporting.figures import gate_figure, roc_figure, rounds_figure, tradeoff_figure
from expunge.reporting.gate_table import pivots, shades
from expunge.reporting.metric_rows import ROLES, Summaries, headline, number, rows
from expunge.reporting.svg import LOOKS
from expunge.reporting.template import fill, metric_groups
from expunge.reporting.verdict_table import SIGNS, Verdict, counted, groups, scale, signed, why

NO_CONTROL = "No control was given, so this report gives no verdict: what a model that never saw the forget set would score is not known."
NO_CONTROL_ROWS = (
    "No control was given: what a model that never saw the forget set would tell is not known. "
    "So rows that are judged against the control have no verdict, and none of them says that anything was forgotten."
)


Sample = Mapping[str, str]
"""`set`, `id`, `question`, `truth`, and each model's answer by its role; a model that was not asked has no key."""


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows.

    Attributes:
        title: of the page.
        created: date and time, as it is to be printed.
        facts: what was asked and done, a few words each.
        recipe: the run's recipe, YAML.
        versions: of tools and packages.
        summary: the numbers, `{role: {set: {metric: number}}}`.
        threat_model: what the run states about itself, one line each.
        verdict: of an audit without a suite, one line each; left out of the page when there is no control.
        judged: the rows of verdict.json, of an audit with a suite.
        attack_plots: the figures of attacks.
        membership: of each model, its scores of members and of non-members.
        worst: the records that attacks recover most of.
        texts: question and truth of these, by id; none where texts are not to be shown.
        gate_logits: of each evaluation set, if the edit has a gate.
        gate_threshold: the logit above which the gate opens.
        exam: of the gate, as gate.json holds it, if there was one.
        exam_logits: what the gate said of all target prompts of its exam, and of all others.
        rounds: of a release, as `expunge.pipeline.release.curve` gives them.
        samples: questions with the models' answers.
        show_text: show the samples' text; else only keyed hashes and lengths.
        notes: what was not tested and what a reader must know, one line each.
    """

    title: str
    created: str
    recipe: str
    versions: Mapping[str, str]
    summary: Summaries
    facts: Mapping[str, str] = field(default_factory=dict)
    threat_model: Sequence[str] = ()
    verdict: Sequence[str] = ()
    judged: Sequence[Verdict] = ()
    attack_plots: Sequence[AttackPlot] = ()
    membership: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    worst: Sequence[WorstRecord] = ()
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
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
    write_text(path, render(data))
    return path


def render(data: ReportData) -> str:
    """The page as text."""
    table = rows(data.summary)
    roles = [role for role in ROLES if any(role in row.cells for row in table)]
    tradeoff = tradeoff_figure(data.summary)
    no_control = NO_CONTROL_ROWS if data.judged else NO_CONTROL
    return fill(
        "report.html",
        title=data.title,
        data=data,
        headline=headline(data.summary),
        groups=metric_groups(table),
        models=roles,
        looks=LOOKS,
        number=number,
        threats=groups(data.judged),
        counted=counted(data.judged),
        signs=SIGNS,
        why=why,
        signed=signed,
        scale=scale(data.judged),
        attack_figures=[(plot.name, plot.figure, Markup(attack_figure(plot))) for plot in data.attack_plots],
        membership=Markup(membership_figure(data.membership)) if data.membership else None,
        tradeoff=None if tradeoff is None else Markup(tradeoff),
        gate=Markup(gate_figure(data.gate_logits, data.gate_threshold)) if data.gate_logits else None,
        pivots=pivots(data.exam) if data.exam else [],
        roc=Markup(roc_figure(*data.exam_logits, data.gate_threshold)) if data.exam else None,
        shades=shades,
        rounds=Markup(rounds_figure(data.rounds)) if data.rounds else None,
        round_columns=list(dict.fromkeys(name for row in data.rounds for name, value in row.items() if value is not None)),
        samples=data.samples if data.show_text else _hashed(data.samples),
        sample_roles=[role for role in ROLES if any(role in sample for sample in data.samples)],
        no_control=None if "control" in roles else no_control,
    )


def _hashed(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without their text: equal texts have equal marks within this report, and nobody can look them up in another."""
    key = secrets.token_bytes(32)

    def mark(text: str) -> str:
        digest = hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
        return f"{digest[:12]} ({len(text)} characters)"

    return [{name: text if name in ("set", "id") else mark(text) for name, text in sample.items()} for sample in samples]
