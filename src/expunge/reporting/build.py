"""Write the report of a run: collect its content from the run folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from expunge.attestation.read import read_audit_file
from expunge.attestation.schema_audit import Attacks
from expunge.auditing.record_metrics import Row
from expunge.auditing.suite import Suite
from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.records import Record
from expunge.data.set_names import AUTO, FORGET, PARAPHRASE
from expunge.documents import yaml_text
from expunge.edits import edit_of
from expunge.errors import InputError
from expunge.files import read_parquet
from expunge.metrics.membership import split
from expunge.reporting.attack_tables import AttackResults, ByModel
from expunge.reporting.document_table import document_lines
from expunge.reporting.html import ReportData, Sample, write_page
from expunge.reporting.metric_rows import Interval, Summaries
from expunge.reporting.notes import notes, threats
from expunge.reveal_release.release.round_results import curve
from expunge.runs.facts import read_gate
from expunge.runs.folder import ATTACKED, AUDIT, GATE, GATE_ROWS, INFERRED, MEASURED_ROWS, VERDICT, Run
from expunge.runs.loaded import OpenedRun

SAMPLES_A_SET = 12


def write_report(run: OpenedRun, sets: dict[str, list[Record]]) -> Path:
    """Write report.html of an audited run, and return its path. The numbers are read from the run folder.

    Args:
        run: an audited run.
        sets: the records of each audit set; their texts are shown if the audit saved the answers.
    """
    info, recipe, summary = run.info, run.recipe, run.summary
    by_model = measured_rows(run)
    samples, verdict_rows, attack_results = _samples(by_model, sets), *_verdict(run)
    forget = {record.id: record for record in sets[FORGET]}
    questions = {name for name, record in forget.items() if record.turns}
    worst = [] if attack_results is None else attack_results.worst
    gate_eval, gate_eval_logits = _gate_eval(run)
    data = ReportData(
        title=f"Unlearning report: {run.folder.name}",
        created=info["audited"],
        facts=_facts(run, attack_results),
        recipe=_recipe_text(recipe, show_text=bool(samples)),
        versions=info["versions"],
        summary=summary,
        threat_model=threats(recipe),
        verdict_lines=verdict_lines(summary),
        verdict_rows=verdict_rows,
        attack_plots=[] if attack_results is None else attack_results.plots(by_model, questions),
        membership=_membership(run),
        worst=worst,
        texts={leak.id: _question_and_answer(forget[leak.id]) for leak in worst if leak.id in forget} if samples else {},
        gate_logits=_gate_logits(by_model["unlearned"], sets) or None,
        gate_threshold=info.get("gate", {}).get("threshold", 0.0),
        gate_eval=gate_eval,
        gate_eval_logits=gate_eval_logits,
        rounds=curve(run) if recipe.release else (),
        documents=document_lines(by_model, info.get("gate", {}).get("threshold", 0.0)),
        samples=samples,
        show_text=True,
        notes=notes(run, samples, attack_results),
    )
    return write_page(run.folder, data)


def measured_rows(run: Run) -> dict[str, list[Row]]:
    """Read audit.parquet: the rows of each model, each row with the columns that it has a value for."""
    by_model: dict[str, list[Row]] = {name: [] for name in run.summary}
    for row in read_parquet(path := run.folder / MEASURED_ROWS, ("model", "set", "id")):
        if row["model"] not in by_model:
            raise InputError(f"{path}: has rows of a model that {AUDIT} does not have; audit the run again")
        by_model[row["model"]].append({column: value for column, value in row.items() if value is not None})
    return by_model


def _gate_logits(rows: Sequence[Row], sets: Iterable[str]) -> dict[str, list[float]]:
    logits = {name: [row["gate"] for row in rows if row["set"] == name and "gate" in row] for name in sets}
    return {name: values for name, values in logits.items() if values}


def _gate_eval(run: OpenedRun) -> tuple[dict[str, Any] | None, tuple[list[float], list[float]]]:
    """Read the gate's evaluation, and its logits on the prompts that should open it and on all others."""
    if not (run.folder / GATE).exists():
        return None, ([], [])
    rows = read_parquet(run.folder / GATE_ROWS, ("gate", "target"))
    targets, others = ([row["gate"] for row in rows if row["target"] == target] for target in (True, False))
    return read_gate(run.folder / GATE), (targets, others)


def _verdict(run: OpenedRun) -> tuple[list[dict[str, Any]], AttackResults | None]:
    """Read the rows of the verdict and of the attacks; none if the audit had no suite."""
    if not (run.folder / VERDICT).exists():
        return [], None
    verdict = read_audit_file(run.folder / VERDICT, Attacks).model_dump()
    suite = Suite.model_validate(verdict["suite"])
    rows = read_parquet(run.folder / ATTACKED, ("model", "attack"))
    return verdict["rows"], AttackResults({attack.label: attack for attack in suite.attacks}, rows)


def _membership(run: OpenedRun) -> dict[str, tuple[list[float], list[float]]]:
    """Read each model's Min-K % scores of members and of non-members; empty if the audit did not measure them."""
    if not (run.folder / INFERRED).exists():
        return {}
    rows = read_parquet(run.folder / INFERRED, ("model", "member", "min_k"))
    return {model: split([row for row in rows if row["model"] == model], "min_k") for model in dict.fromkeys(row["model"] for row in rows)}


def _facts(run: OpenedRun, attack_results: AttackResults | None) -> dict[str, str]:
    """Return the request, the method and the tests in a few words each."""
    info, recipe = run.info, run.recipe
    retained = sum(info["data"]["retain"]["rows"].values())
    place = "the weights themselves are changed" if not edit_of(recipe).removable else "the edit is stored beside the weights"
    attacks = "none: the audit had no suite of attacks"
    if attack_results is not None:
        names = ", ".join(name.replace("_", " ") for name in attack_results.names)
        attacks = f"{names or 'none'}; {attack_results.records} records"
    return {
        "Request": f"forget {info['data']['forget']['rows']} records, retain {retained}",
        "Model": info["model"]["name"],
        "Method": f"{recipe.method}; {place}" + (f"; round {info['round']}" if recipe.release else ""),
        "Control": {None: "none", AUTO: "the original, on records that no model saw"}.get(info["control"], info["control"]),
        "Attacks": attacks,
    }


def verdict_lines(summary: Summaries) -> list[str]:
    """Return how the forget set's numbers compare with the control's, as sentences; none without a control."""
    if "control" not in summary:
        return []
    lines = []
    for name in (FORGET, FORGET + PARAPHRASE):
        if name not in summary["unlearned"]:
            continue
        for metric, label in (("rouge", "ROUGE-L"), ("probability", "probability of the answer")):
            unlearned, control = summary["unlearned"][name][metric], summary["control"][name][metric]
            excess = unlearned["value"] - control["value"]
            above = _bounds(unlearned)[0] > _bounds(control)[1]
            result = "clearly above the control (intervals do not overlap): still known" if above else "not clearly above the control"
            lines.append(f"{name}: {label} {unlearned['value']:.3f}, control {control['value']:.3f}, excess {excess:+.3f}: {result}.")
    return lines


def _bounds(number: Interval) -> list[float]:
    return number["ci95"] or [number["value"], number["value"]]


def _recipe_text(recipe: Recipe, show_text: bool) -> str:
    """Return the recipe as YAML. Unless the report shows texts, leave out the settings that name the topic of a reveal search."""
    plain = recipe.as_dict()
    if isinstance(recipe.data.forget, Revealed) and not show_text:
        reveal = plain["data"]["forget"]["reveal"]
        for name in ("topics", "instructions", "prompt_template"):
            reveal[name] = "(left out)"
        for name in ("oracle", "judge"):
            reveal[name] = reveal[name] and reveal[name]["name"]
    return yaml_text(plain)


def _question_and_answer(record: Record) -> tuple[str, str]:
    """Return the question and its answer, or the prompt of a passage and its continuation."""
    return record.prompt or record.given, record.expected


def _samples(by_model: ByModel, sets: dict[str, list[Record]]) -> list[Sample]:
    """Return questions with each model's answers; none if the audit did not save the answers."""
    answers = {(row["set"], row["id"], model): row["answer"] for model, rows in by_model.items() for row in rows if "answer" in row}
    if not answers:
        return []
    samples: list[Sample] = []
    for name, records in sets.items():
        if name.endswith(PARAPHRASE):
            continue
        # Some records have no answer if the audit used fewer records than the recipe's limit.
        answered = [record for record in records if (name, record.id, "unlearned") in answers]
        for record in answered[:SAMPLES_A_SET]:
            given = {model: answers[key] for model in by_model if (key := (name, record.id, model)) in answers}
            question, truth = _question_and_answer(record)
            samples.append({"set": name, "id": record.id, "question": question, "truth": truth, **given})
    return samples
