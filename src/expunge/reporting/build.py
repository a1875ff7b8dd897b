"""The report of a run: what its folder and its audit say, put into the page's data."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from expunge.auditing.record_metrics import Row
from expunge.auditing.suite import Suite
from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.records import Record
from expunge.data.set_names import AUTO, FORGET, PARAPHRASE
from expunge.edits import edit_of
from expunge.metrics.membership import split
from expunge.reporting.attack_tables import AttackResults
from expunge.reporting.html import ReportData, Sample, write_report
from expunge.reporting.metric_rows import Interval, Summaries
from expunge.reporting.notes import notes, threats
from expunge.reveal_release.release.round_results import curve
from expunge.runs.folder import ATTACKED, INFERRED, VERDICT, Run

SAMPLES_A_SET = 12


def write_run_report(run: Run, summary: Summaries, by_model: dict[str, list[Row]], sets: dict[str, list[Record]]) -> Path:
    """Write a run's report.html.

    Args:
        run: with its audit just measured.
        summary: {model: {set: {metric: number}}}.
        by_model: the rows of each model.
        sets: the records measured.
    """
    info, recipe = run.info, run.recipe
    gates = {name: [row["gate"] for row in by_model["unlearned"] if row["set"] == name and row.get("gate") is not None] for name in sets}
    gates = {name: logits for name, logits in gates.items() if logits}
    samples, judged, found = _samples(by_model, sets), *_judged(run)
    forget = {record.id: record for record in sets[FORGET]}
    worst = [] if found is None else found.worst
    exam, exam_logits = _exam(run)
    data = ReportData(
        title=f"Unlearning report: {run.folder.name}",
        created=info["audited"],
        facts=_facts(run, found),
        recipe=_shown_recipe(recipe, show_text=bool(samples)),
        versions=info["versions"],
        summary=summary,
        threat_model=threats(recipe),
        verdict=verdict(summary),
        judged=judged,
        attack_plots=[] if found is None else found.plots(by_model, {name for name, record in forget.items() if record.turns}),
        membership=_membership_scores(run),
        worst=worst,
        texts={one.id: (forget[one.id].prompt, forget[one.id].answer) for one in worst if one.id in forget} if samples else {},
        gate_logits=gates or None,
        gate_threshold=info.get("gate", {}).get("threshold", 0.0),
        exam=exam,
        exam_logits=exam_logits,
        rounds=curve(run) if recipe.release else (),
        samples=samples,
        show_text=True,
        notes=notes(run, samples, found),
    )
    return write_report(run.folder, data)


def _exam(run: Run) -> tuple[dict[str, Any] | None, tuple[list[float], list[float]]]:
    """The gate's exam, and what it said of targets and others."""
    if not (run.folder / "gate.json").exists():
        return None, ([], [])
    rows = pq.read_table(run.folder / "gate.parquet").to_pylist()
    targets, others = ([row["gate"] for row in rows if row["target"] == target] for target in (True, False))
    return json.loads((run.folder / "gate.json").read_text(encoding="utf-8")), (targets, others)


def _judged(run: Run) -> tuple[list[dict[str, Any]], AttackResults | None]:
    """The verdict's rows and what attacks found, if there was a suite."""
    if not (run.folder / VERDICT).exists():
        return [], None
    said = json.loads((run.folder / VERDICT).read_text(encoding="utf-8"))
    suite = Suite.model_validate(said["suite"])
    hits = pq.read_table(run.folder / ATTACKED).to_pylist()
    return said["rows"], AttackResults({attack.label: attack for attack in suite.attacks}, hits)


def _membership_scores(run: Run) -> dict[str, tuple[list[float], list[float]]]:
    """Return each model's Min-K % scores of members and of non-members; empty without membership inference."""
    if not (run.folder / INFERRED).exists():
        return {}
    rows = pq.read_table(run.folder / INFERRED).to_pylist()
    return {model: split([row for row in rows if row["model"] == model], "min_k") for model in dict.fromkeys(row["model"] for row in rows)}


def _facts(run: Run, found: AttackResults | None) -> dict[str, str]:
    """What was asked and done, for who reads no further."""
    info, recipe = run.info, run.recipe
    kept = sum(info["data"]["retain"]["rows"].values())
    lies = "the weights themselves are changed" if not edit_of(recipe).removable else "the edit lies beside the weights"
    attacked = "nothing: there was no suite of attacks"
    if found is not None:
        names = ", ".join(name.replace("_", " ") for name in found.names)
        attacked = f"{names or 'nothing'}; {found.records} records"
    return {
        "Asked": f"forget {info['data']['forget']['rows']} records, keep {kept}",
        "Model": info["model"]["name"],
        "Done": f"{recipe.method}; {lies}" + (f"; round {info['round']}" if recipe.release else ""),
        "Control": {None: "none", AUTO: "the original, asked for records that no model saw"}.get(info["control"], info["control"]),
        "Tried": attacked,
    }


def verdict(summary: Summaries) -> list[str]:
    """What the forget set's intervals say against the control's; nothing without a control."""
    if "control" not in summary:
        return []
    lines = []
    for name in (FORGET, FORGET + PARAPHRASE):
        if name not in summary["unlearned"]:
            continue
        for metric, label in (("rouge", "ROUGE-L"), ("probability", "probability of the answer")):
            ours, theirs = summary["unlearned"][name][metric], summary["control"][name][metric]
            excess = ours["value"] - theirs["value"]
            above = _bounds(ours)[0] > _bounds(theirs)[1]
            said = "above the control beyond both intervals: still known" if above else "not above the control beyond their intervals"
            lines.append(f"{name}: {label} {ours['value']:.3f}, control {theirs['value']:.3f}, excess {excess:+.3f}: {said}.")
    return lines


def _bounds(number: Interval) -> list[float]:
    return number["ci95"] or [number["value"], number["value"]]


def _shown_recipe(recipe: Recipe, show_text: bool) -> str:
    """The recipe for the page; what it says of whom or what is to be revealed stays out where texts do."""
    plain = recipe.as_dict()
    if isinstance(recipe.data.forget, Revealed) and not show_text:
        reveal = plain["data"]["forget"]["reveal"]
        for name in ("topics", "instructions", "prompt_template"):
            reveal[name] = "(left out)"
        for name in ("oracle", "judge"):
            reveal[name] = reveal[name] and reveal[name]["name"]
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _samples(by_model: dict[str, list[Row]], sets: dict[str, list[Record]]) -> list[Sample]:
    """Questions with each model's answers; none where the answers were not kept."""
    answers = {(row["set"], row["id"], model): row["answer"] for model, rows in by_model.items() for row in rows if "answer" in row}
    if not answers:
        return []
    samples: list[Sample] = []
    for name, records in sets.items():
        if name.endswith(PARAPHRASE):
            continue
        # Of an audit of fewer rows than the recipe's not every record has an answer.
        asked = [record for record in records if (name, record.id, "unlearned") in answers]
        for record in asked[:SAMPLES_A_SET]:
            said = {model: answers[key] for model in by_model if (key := (name, record.id, model)) in answers}
            samples.append({"set": name, "id": record.id, "question": record.prompt, "truth": record.answer, **said})
    return samples
