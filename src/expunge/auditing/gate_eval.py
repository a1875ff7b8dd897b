"""Examine a run's gate: which share of each set's prompts it opens for, in every variant, with intervals, and where it errs most."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from expunge.auditing.audit import audit_sets, write_rows
from expunge.auditing.record_metrics import Row
from expunge.console import Display
from expunge.data.prompt_templates import SHIPPED, read_prompt_templates
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.edits.active import edits_off, gate_config
from expunge.edits.requests import REQUEST
from expunge.files import utc_now, write_text
from expunge.gating.eval_prompts import SEED, eval_groups
from expunge.gating.inspect import check_gated, read_gate
from expunge.gating.paraphrase import paraphrase
from expunge.metrics.statistics import auroc_ci, proportion_ci
from expunge.models.blocks import context_length
from expunge.models.hidden_states import prompt_gate_logits
from expunge.pipeline.prepare import reread_sets
from expunge.reporting import write_report
from expunge.runs.folder import AUDIT, Run, locked
from expunge.runs.load import load_run
from expunge.runs.splits import draw

WORST = 6
"""Prompts of each kind of error that are looked at token by token."""


def examine_gate(
    run: Run, display: Display, attacks: Path = SHIPPED, max_rows: int | None = None, show_text: bool = False
) -> dict[str, Any]:
    """Ask a run's gate about every prompt of the exam; write gate.parquet and gate.json into its folder, of an audited run the report anew.

    Args:
        run: with a trained gated edit.
        display: where progress goes.
        attacks: templates, see `expunge/data/texts/attacks.yaml`.
        max_rows: records a set, drawn by seed; none: the recipe's.
        show_text: keep the worst errors' prompts, and what each of their tokens says, for the report.

    Returns:
        What gate.json holds: `threshold`, `groups` (set, variant, target and the share it opens for), `auroc` and `worst`.

    Raises:
        InputError: the run's edit has no gate, or a file is gone, faulty or has changed.
    """
    check_gated(run)
    templates, settings = read_prompt_templates(attacks), run.recipe.audit
    max_rows, show_text = max_rows or settings.max_rows, show_text or settings.show_text
    with locked(run):
        sets = reread_sets(run)
        measured = audit_sets(run, sets, max_rows).records
        others = {name: measured[name] for name in settings.sets}
        with display.step("Loading the model"):
            model, builder = load_run(run)
        if any(not record.paraphrased_prompt for record in (*sets.forget, *sets.exam)):
            with edits_off(model), display.bar("Putting questions in other words", None) as advance:
                forget, exam = (with_own_paraphrases(model, builder, part, max_rows, advance) for part in (sets.forget, sets.exam))
            sets = replace(sets, forget=forget, exam=exam)
        config = gate_config(model, REQUEST)
        longest = context_length(model)
        groups = eval_groups(builder, sets, others, templates, max_rows)
        asked = [(group, name, ids) for group in groups for name, ids in group.prompts.items() if longest is None or len(ids) <= longest]
        with display.bar("Examining the gate", len(asked)) as advance:
            logits = prompt_gate_logits(
                model, [ids for _, _, ids in asked], REQUEST, config.last_gate, builder.pad, advance=advance
            ).tolist()
        threshold = 0.0 if config.threshold is None else config.threshold
        rows = [
            {"set": group.set_name, "variant": group.variant, "target": group.target, "id": name, "gate": said, "open": said >= threshold}
            for (group, name, _), said in zip(asked, logits, strict=True)
        ]
        write_rows(run.folder / "gate.parquet", {"unlearned": rows})
        prompts = [ids for _, _, ids in asked] if show_text else None
        found = {
            "examined": utc_now(),
            "threshold": threshold,
            **summarise_gate(rows),
            "worst": _worst(rows, prompts, model, builder),
        }
        write_text(run.folder / "gate.json", json.dumps(found, indent=1) + "\n")
        if (run.folder / AUDIT).exists():
            write_report(run, measured)
    return found


def with_own_paraphrases(
    model: nn.Module, builder: PromptBuilder, records: list[Record], max_rows: int | None, advance: Callable[[int], None]
) -> list[Record]:
    """Of the records that an exam draws those without a paraphrase with one that the model makes, where one still elicits the answer."""
    lacking = [record for record in draw(records, max_rows, SEED) if not record.paraphrased_prompt]
    made: dict[str, str] = {}
    for record in paraphrase(model, builder, lacking, SEED, advance):
        made.setdefault(record.id, record.prompt)
    return [replace(r, paraphrased_prompt=made[r.id]) if r.id in made and not r.paraphrased_prompt else r for r in records]


def summarise_gate(rows: list[Row]) -> dict[str, Any]:
    """Shares of open gates by set and variant, and the AUROC between all that is to be forgotten and all the rest.

    Args:
        rows: `set`, `variant`, `target`, `gate` and `open` each.
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
    """The forget prompts furthest below the threshold and the others furthest above it; with their tokens where prompts are given."""
    errors = sorted((i for i, row in enumerate(rows) if row["open"] != row["target"]), key=lambda i: rows[i]["gate"])
    misses = [i for i in errors if rows[i]["target"]][:WORST]
    alarms = [i for i in reversed(errors) if not rows[i]["target"]][:WORST]
    return [{**rows[i], "tokens": read_gate(model, builder, prompts[i]).tokens if prompts else []} for i in (*misses, *alarms)]
