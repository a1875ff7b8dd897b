"""Evaluate a run's gate: the share of each set's prompts that it opens for, in every prompt variant, and its worst errors."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from expunge.auditing.audit import write_rows
from expunge.auditing.plan import audit_sets
from expunge.auditing.record_metrics import Row
from expunge.console import Display
from expunge.data.languages import ENGLISH, Language
from expunge.data.prompt_templates import SHIPPED, read_prompt_templates
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.edits.active import edits_off, gate_config
from expunge.edits.requests import REQUEST
from expunge.files import PRIVATE, utc_now, write_text
from expunge.gating.eval_prompts import SEED, EvalGroup, eval_groups
from expunge.gating.inspect import check_gated, read_gate
from expunge.gating.paraphrase import paraphrase
from expunge.metrics.statistics import auroc_ci, proportion_ci
from expunge.models.blocks import context_length
from expunge.models.finite import json_text
from expunge.models.hidden_states import prompt_gate_logits
from expunge.models.placement import Placement
from expunge.runs.folder import GATE, GATE_ROWS
from expunge.runs.loaded import LoadedRun, OpenedRun, load_run
from expunge.runs.splits import Splits, draw, read_splits

WORST = 6
"""The most prompts of each kind of error that are scored token by token."""


@dataclass(frozen=True)
class GateEvaluation:
    """The result of a gate evaluation.

    Attributes:
        results: what gate.json holds: `threshold`, `groups` (set, variant, target and the share that the gate opens for), `auroc`, `worst`.
        records: the records of the audit's sets.
    """

    results: dict[str, Any]
    records: dict[str, list[Record]]


def evaluate_gate(
    run: OpenedRun,
    display: Display,
    templates: Path = SHIPPED,
    max_records: int | None = None,
    show_text: bool = False,
    placement: Placement | None = None,
) -> GateEvaluation:
    """Read the gate's logit on every prompt of the held-out evaluation; write gate.parquet and gate.json into the run's folder.

    Args:
        run: with a trained gated edit; the caller holds its lock.
        display: shows progress.
        templates: YAML with prompt variants, see `expunge/data/texts/attacks.yaml`.
        max_records: the most records of a set, drawn by seed; None: the recipe's.
        show_text: store the prompts of the worst errors, with a score for each token, for the report.
        placement: of the model; None: chosen for this machine and this model.

    Raises:
        InputError: the run's edit has no gate, or a file is gone, faulty or has changed.
    """
    check_gated(run)
    variants, settings = read_prompt_templates(templates), run.recipe.audit
    max_records, show_text = max_records or settings.max_records, show_text or settings.show_text
    splits = read_splits(run)
    sets = audit_sets(run.recipe, splits, max_records).records
    with display.step("Loading the model"):
        loaded = load_run(run, placement)
    splits = _with_paraphrases(loaded, splits, max_records, display)
    groups = eval_groups(loaded.builder, splits, {name: sets[name] for name in settings.sets}, variants, max_records)
    rows, prompts = _gate_rows(loaded, groups, display)
    write_rows(run, GATE_ROWS, {"unlearned": rows}, show_text)
    results = {
        "evaluated": utc_now(),
        "threshold": _threshold(loaded),
        **summarise_gate(rows),
        "worst": _worst(rows, prompts if show_text else None, loaded.model, loaded.builder),
    }
    write_text(run.folder / GATE, json_text(results, str(run.folder / GATE), indent=1) + "\n", PRIVATE if show_text else 0o666)
    return GateEvaluation(results, sets)


def _with_paraphrases(loaded: LoadedRun, splits: Splits, max_records: int | None, display: Display) -> Splits:
    if all(record.paraphrased_prompt for record in (*splits.forget, *splits.held_out)):
        return splits
    with edits_off(loaded.model), display.bar("Paraphrasing questions", None) as advance:
        forget, held_out = (
            fill_in_paraphrases(loaded.model, loaded.builder, records, max_records, advance, splits.language)
            for records in (splits.forget, splits.held_out)
        )
    return replace(splits, forget=forget, held_out=held_out)


def _gate_rows(loaded: LoadedRun, groups: list[EvalGroup], display: Display) -> tuple[list[Row], list[tuple[int, ...]]]:
    """Return a row for each prompt that the model has room for, and the prompts."""
    longest, threshold = context_length(loaded.model), _threshold(loaded)
    prompts = [(group, id_, ids) for group in groups for id_, ids in group.prompts.items() if longest is None or len(ids) <= longest]
    token_ids = [ids for _, _, ids in prompts]
    if too_long := sum(len(group.prompts) for group in groups) - len(prompts):
        display.print(
            f"{too_long} prompts are left out of the evaluation, because they are longer than the model's context, {longest} tokens."
        )
    with display.bar("Evaluating the gate", len(prompts)) as advance:
        logits = prompt_gate_logits(
            loaded.model, token_ids, REQUEST, gate_config(loaded.model, REQUEST).last_gate, loaded.builder.pad, advance=advance
        ).tolist()
    rows = [
        {"set": group.set_name, "variant": group.variant, "target": group.target, "id": id_, "gate": logit, "open": logit >= threshold}
        for (group, id_, _), logit in zip(prompts, logits, strict=True)
    ]
    return rows, token_ids


def _threshold(loaded: LoadedRun) -> float:
    threshold = gate_config(loaded.model, REQUEST).threshold
    return 0.0 if threshold is None else threshold


def fill_in_paraphrases(
    model: nn.Module,
    builder: PromptBuilder,
    records: list[Record],
    max_records: int | None,
    advance: Callable[[int], None],
    language: Language = ENGLISH,
) -> list[Record]:
    """Fill in missing paraphrases of the drawn records with model-written ones that still elicit the answer."""
    missing = [record for record in draw(records, max_records, SEED) if not record.paraphrased_prompt]
    paraphrases: dict[str, str] = {}
    for record in paraphrase(model, builder, missing, SEED, advance, language):
        paraphrases.setdefault(record.id, record.prompt)
    return [
        replace(record, paraphrased_prompt=paraphrases[record.id]) if record.id in paraphrases and not record.paraphrased_prompt else record
        for record in records
    ]


def summarise_gate(rows: list[Row]) -> dict[str, Any]:
    """Return the share of open gates by set and variant, and the AUROC between forget prompts and all others.

    Args:
        rows: with `set`, `variant`, `target`, `gate` and `open`.
    """
    by_group: dict[tuple[str, str, bool], list[bool]] = defaultdict(list)
    logits: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        by_group[row["set"], row["variant"], row["target"]].append(row["open"])
        logits[row["target"]].append(row["gate"])
    groups = [
        {"set": name, "variant": variant, "target": target, **proportion_ci(sum(opened), len(opened)).as_dict()}
        for (name, variant, target), opened in by_group.items()
    ]
    return {"groups": groups, "auroc": auroc_ci(logits[True], logits[False]).as_dict()}


def _worst(rows: list[Row], prompts: list[tuple[int, ...]] | None, model: nn.Module, builder: PromptBuilder) -> list[Row]:
    """Return the forget prompts furthest below the threshold and the others furthest above it; with token scores if prompts are given."""
    errors = sorted((i for i, row in enumerate(rows) if row["open"] != row["target"]), key=lambda i: rows[i]["gate"])
    misses = [i for i in errors if rows[i]["target"]][:WORST]
    alarms = [i for i in reversed(errors) if not rows[i]["target"]][:WORST]
    return [{**rows[i], "tokens": read_gate(model, builder, prompts[i]).tokens if prompts else []} for i in (*misses, *alarms)]
