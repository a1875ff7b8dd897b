"""The report of a run: what its folder and its audit say, put into the page's data."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from expunge.audit.names import FORGET, PARAPHRASE
from expunge.audit.report.html import ReportData, Sample, write_report
from expunge.audit.report.rows import Interval, Summaries
from expunge.audit.rows import Row
from expunge.data.records import Record
from expunge.recipe import Recipe
from expunge.release.run import curve
from expunge.reveal.harvest import read_results
from expunge.run import REVEAL, Run
from expunge.sections import Revealed

SAMPLES_A_SET = 12
REMOVABLE = ("lora", "reft", "grun")


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
    samples = _samples(by_model, sets)
    exam, exam_logits = _exam(run)
    data = ReportData(
        title=f"Unlearning report: {run.folder.name}",
        created=info["audited"],
        recipe=_shown_recipe(recipe, show_text=bool(samples)),
        versions=info["versions"],
        summary=summary,
        threat_model=_threats("weights" if recipe.changes_weights else recipe.edit.name),
        verdict=verdict(summary),
        gate_logits=gates or None,
        gate_threshold=info.get("gate", {}).get("threshold", 0.0),
        exam=exam,
        exam_logits=exam_logits,
        rounds=curve(run) if recipe.release else (),
        samples=samples,
        show_text=True,
        notes=_notes(run, samples),
    )
    return write_report(run.folder, data)


def _exam(run: Run) -> tuple[dict[str, Any] | None, tuple[list[float], list[float]]]:
    """The gate's exam, and what it said of targets and others."""
    if not (run.folder / "gate.json").exists():
        return None, ([], [])
    rows = pq.read_table(run.folder / "gate.parquet").to_pylist()
    targets, others = ([row["gate"] for row in rows if row["target"] == target] for target in (True, False))
    return json.loads((run.folder / "gate.json").read_text(encoding="utf-8")), (targets, others)


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


def _threats(edit: str) -> list[str]:
    if edit in REMOVABLE:
        return [f"This edit ({edit}) can be switched off by whoever holds the files: it is not evidence where weights are released."]
    return ["This edit changed the weights themselves; what relearning and quantisation bring back was not tested here."]


def _shown_recipe(recipe: Recipe, show_text: bool) -> str:
    """The recipe for the page; what it says of whom or what is to be revealed stays out where texts do."""
    plain = recipe.as_dict()
    if isinstance(recipe.data.forget, Revealed) and not show_text:
        reveal = plain["data"]["forget"]["reveal"]
        for name in ("wanted", "texts", "ask"):
            reveal[name] = "(left out)"
        for name in ("oracle", "judge"):
            reveal[name] = reveal[name] and reveal[name]["name"]
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _notes(run: Run, samples: list[Sample]) -> list[str]:
    notes = ["Not tested here: relearning, quantisation, sampling at temperature 1, the answers to adversarial prompts, other languages."]
    if not samples:
        notes.append(f"Questions and answers are left out: `expunge audit {run.folder} --show-text` shows them.")
    if gate := run.info.get("gate"):
        if (share := gate["open_on_forget"]) < 1:
            notes.append(f"The gate opens for {share:.0%} of the forget prompts as they are given; the others are answered as before.")
        n, rate = gate["calibration_n"], f"{gate['alpha']:.0%}"
        if gate["given_up"]:
            passed = f"{gate['passed']:.0%}"
            notes.append(
                f"The gate could not be held to {rate} false positives: it opens for {passed} of {n} held-out prompts, dressed or not."
            )
        elif gate["guaranteed"]:
            most = f", at most {gate['bound']:.1%} with 95 % confidence" if "bound" in gate else ""
            tried = f"prompts like the {n} it was chosen on, in any dress that those were tried in"
            notes.append(f"The gate's threshold passes on average at most {rate} of {tried}{most}.")
        else:
            notes.append(f"The gate's threshold rests on {n} held-out prompts, too few to promise {rate} false positives.")
    if run.recipe.data.retain is None:
        notes.append(f"No retain set was given: the retain rows are {run.recipe.retain_source}.")
    if isinstance(run.recipe.data.forget, Revealed):
        judged = read_results(run.folder / REVEAL)["judged"]
        second = "no second oracle judged them" if judged is None else f"a second oracle finds {judged:.2f} in them"
        notes.append(f"The forget rows are what the model itself revealed, found by an oracle; {second}.")
    if run.recipe.release is not None:
        notes.append(f"The model is that of round {run.info['round']}; see rounds/ for what each round changed.")
    return notes


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
        asked = [record for record in records if all((name, record.id, model) in answers for model in by_model)]
        for record in asked[:SAMPLES_A_SET]:
            said = {model: answers[name, record.id, model] for model in by_model}
            samples.append({"set": name, "id": record.id, "question": record.prompt, "truth": record.answer, **said})
    return samples
