"""Compare original, control and unlearned model: ROUGE-L of what they answer, and what the gate opens for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from benchmarks.common.results import markdown, read_or_make
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.edits.active import gate_config
from expunge.edits.requests import REQUEST
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import as_text, generate
from expunge.models.hidden_states import prompt_gate_logits
from expunge.models.loading import load
from expunge.runs.folder import Run
from expunge.runs.loaded import load_run, open_run
from expunge.runs.splits import draw

TOKENS, MOST_MEASURED, SEED = 64, 100, 42
Facts = dict[str, Any]
Measured = Mapping[str, Sequence[Record]]
"""Records to ask, by the name of their set."""


def compared(out: Path, models: Mapping[str, Path], run: Run, measured: Measured) -> Facts:
    """Return what each model answers and what the gate of the run opens for. What was measured is saved in the folder.

    Args:
        out: where each model's results are saved.
        models: models without an edit, by name.
        run: whose model is called "unlearned".
        measured: records to ask, of which at most 100 a set are drawn; a text is continued.
    """
    measured = {name: draw(list(records), MOST_MEASURED, SEED) for name, records in measured.items()}
    facts: Facts = {"records": {name: len(records) for name, records in measured.items()}}
    for name, folder in models.items():
        facts[name] = read_or_make(out / f"{name}.json", lambda folder=folder: _of_folder(folder, measured))
    return facts | read_or_make(out / "unlearned.json", lambda: _of_run(run, measured))


def comparison(facts: Facts, names: Mapping[str, str]) -> str:
    """Return ROUGE-L of the three models and what opens the gate, in Markdown. `names`: of the sets, for the columns."""
    columns = [f"{names[name]} ({n})" for name, n in facts["records"].items()]
    rows = {f"ROUGE-L, {name}": [f"{facts[name][of]:.2f}" for of in facts["records"]] for name in ("original", "control", "unlearned")}
    rows["gate opens"] = [f"{100 * facts['gate'][of]:.0f} %" for of in facts["records"]]
    if whole := facts["gate of texts"]:
        rows["gate opens for the whole text"] = [f"{100 * whole[of]:.0f} %" if of in whole else "" for of in facts["records"]]
    return markdown("", columns, rows)


def _of_folder(folder: Path, measured: Measured) -> Facts:
    model, tokenizer = load(folder)
    return _rouge(model, PromptBuilder(tokenizer), measured)


def _rouge(model: nn.Module, builder: PromptBuilder, measured: Measured) -> Facts:
    """Return the mean ROUGE-L recall of each set: of continuations of texts, and of answers."""
    facts: Facts = {}
    for name, records in measured.items():
        rows = [builder.record(record) for record in records]
        truths = [
            as_text(builder, row.labels[:TOKENS]) if not record.turns else record.answer for record, row in zip(records, rows, strict=True)
        ]
        answers = generate(model, builder, [row.prompt for row in rows], TOKENS)
        facts[name] = fmean(rouge_l_recall(answer, truth) for answer, truth in zip(answers, truths, strict=True))
    return facts


def _of_run(run: Run, measured: Measured) -> Facts:
    loaded = load_run(open_run(run.folder))
    model, builder = loaded.model, loaded.builder
    prompts = {name: [builder.record(record).prompt for record in records] for name, records in measured.items()}
    whole = {
        name: [(*(row := builder.record(record)).prompt, *row.answer) for record in records]
        for name, records in measured.items()
        if not any(record.turns for record in records)
    }
    return {
        "unlearned": _rouge(model, builder, measured),
        "gate": _share_open(model, builder, prompts),
        "gate of texts": _share_open(model, builder, whole),
        "info": dict(run.read_info()),
    }


def _share_open(model: nn.Module, builder: PromptBuilder, prompts: Mapping[str, Sequence[tuple[int, ...]]]) -> dict[str, float]:
    config = gate_config(model, REQUEST)
    logits = {name: prompt_gate_logits(model, of_set, REQUEST, config.last_gate, builder.pad) for name, of_set in prompts.items()}
    return {name: float((of_set >= (config.threshold or 0.0)).float().mean()) for name, of_set in logits.items()}
