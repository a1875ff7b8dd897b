"""Forget a real person from the name alone, from passages, and from passages with a retain set; probe the models, and print the table.

    python -m benchmarks.unlearning.rwku_name --rwku DIR [--model smollm2-135m] [--rows 30] [--passages 128]

The model is used as it is, nothing is taught. `--rwku` is a copy of RWKU's files for one target (Jin et al., 2024, arXiv 2406.10890).
Probes of levels 1 to 3 are about the person, neighbours are about what is close to it. The retain set consists of RWKU's texts about
other people and of the model's own answers to neutral instructions, so no text is about a neighbour. Each step is saved, so a second
call resumes.
The table stays out of the pages of results, because the person is a real one.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from peft import PeftModel

from benchmarks.common.results import markdown, measured_on, read_or_make
from expunge.config.about import reveal_about
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, question_record, read_records, write_records
from expunge.documents import read_json
from expunge.edits.active import gate_config
from expunge.edits.requests import REQUEST
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate
from expunge.models.hidden_states import prompt_gate_logits
from expunge.models.loading import load
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import RETAIN
from expunge.runs.loaded import load_run, open_run

PROBES = ("forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2")
MAX_NEW_TOKENS, BATCH_SIZE = 48, 40
KNOWN = 1 - 1e-6
"""ROUGE-L recall from which a probe counts as known: the answer, a few words, is there as a whole."""
NAME, PASSAGES, RETAINED = "by name", "by passages", "by passages, with a retain set"
RUNS = (NAME, PASSAGES, RETAINED)
COLUMNS = ("n", "known to the original", "original", *RUNS)
FURTHER_COLUMNS = (*(f"of the known: {name}" for name in RUNS), *(f"gate opens: {name}" for name in RUNS))


def main() -> None:
    """Unlearn by name and by passages, probe, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rwku", type=Path, required=True, help="folder with RWKU's JSON files for one target")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=30, help="the most probes of a kind")
    parser.add_argument("--passages", type=int, default=128, help="passages in the second run")
    parser.add_argument("--out", type=Path, default=Path("runs/rwku"))
    args = parser.parse_args()
    display, started = Display(), time.monotonic()
    probes = {name: probe_records(args.rwku / f"{name}.json", args.rows) for name in PROBES}
    subject = read_json(args.rwku / "forget_level1.json", list[dict[str, Any]])[0]["subject"]
    args.out.mkdir(parents=True, exist_ok=True)
    texts = [row["text"] for row in read_json(args.rwku / "passage.json", list[dict[str, Any]])[: args.passages]]
    write_records(args.out / "passages.jsonl", [Record(f"passage-{i}", (), text) for i, text in enumerate(texts)])
    measured = {"original": read_or_make(args.out / f"original-{args.rows}.json", lambda: answered(*load(args.model)[:2], probes, display))}
    folders = {name: args.out / name.replace(",", "").replace(" ", "-") for name in RUNS}
    seconds = {}
    for name, folder in folders.items():
        if name == NAME:
            data = {"forget": reveal_about(subject)}
        elif name == PASSAGES:
            data = {"forget": str(args.out / "passages.jsonl")}
        else:
            answers = read_records(folders[PASSAGES] / RETAIN)
            write_records(args.out / "retain.jsonl", [*about_others(args.rwku, subject), *answers])
            data = {"forget": str(args.out / "passages.jsonl"), "retain": str(args.out / "retain.jsonl")}
        run = unlearn(make_recipe({"model": args.model, "data": data, "out": str(folder)}), display)
        seconds[name] = run.read_info()["seconds"]
        loaded = load_run(open_run(run.folder))
        measured[name] = read_or_make(
            args.out / f"{folder.name}-{args.rows}.json",
            lambda of=loaded: {**answered(of.model, of.builder.tokenizer, probes, display), **opened(of.model, of.builder, probes)},
        )
    rows = {name: cells(name, measured) for name in PROBES}
    text = markdown("probes", COLUMNS, {name: cells[: len(COLUMNS)] for name, cells in rows.items()})
    text += "\n\n" + markdown("probes", FURTHER_COLUMNS, {name: cells[len(COLUMNS) :] for name, cells in rows.items()})
    times = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    text += (
        f"\n\n{measured_on()}; model {args.model} as it is; the name alone, or {len(texts)} passages; ROUGE-L recall of greedy answers of "
        f"{MAX_NEW_TOKENS} tokens; unlearning took {times}; this call {(time.monotonic() - started) / 60:.0f} min. Command: "
        f"`python -m benchmarks.unlearning.rwku_name --rwku DIR --rows {args.rows} --passages {args.passages}`.\n"
    )
    print(text)


def probe_records(path: Path, rows: int) -> list[Record]:
    """Return probes as questions; a cloze asks for what stands in the blank."""
    probes = read_json(path, list[dict[str, Any]])[:rows]
    wording = {"cloze": "Fill in the blank, and answer with the missing words alone: {}"}
    return [
        question_record(f"{path.stem}-{i}", wording.get(probe["type"], "{}").format(probe["query"]), probe["answer"])
        for i, probe in enumerate(probes)
    ]


def about_others(rwku: Path, subject: str) -> list[Record]:
    """Return RWKU's texts about other people, and the introductions of its other targets, as plain texts."""
    texts = [row["text"] for row in read_json(rwku / "retain_mia.json", list[dict[str, Any]])]
    introductions = read_json(rwku / "all_intro.json", dict[str, list[str]])
    texts += [first for target, (first, *_) in introductions.items() if target != subject]
    return [Record(f"other-{i}", (), text) for i, text in enumerate(texts) if subject not in text]


def answered(model: torch.nn.Module, tokenizer: Any, probes: dict[str, list[Record]], display: Display) -> dict[str, Any]:
    """Return the ROUGE-L recall of a model's greedy answers, by kind of probe."""
    builder, recalls = PromptBuilder(tokenizer), dict[str, list[float]]()
    for name, records in probes.items():
        prompts = [builder.record(record).prompt for record in records]
        with display.bar(f"Probing {name}", len(prompts)) as advance:
            answers = generate(model, builder, prompts, MAX_NEW_TOKENS, BATCH_SIZE, advance)
        recalls[name] = [rouge_l_recall(answer, record.answer) for answer, record in zip(answers, records, strict=True)]
    return {"rouge": recalls}


def opened(model: torch.nn.Module, builder: PromptBuilder, probes: dict[str, list[Record]]) -> dict[str, Any]:
    """Return whether the gate of a run opens for each probe, by kind of probe."""
    assert isinstance(model, PeftModel)
    config, opens = gate_config(model, REQUEST), dict[str, list[bool]]()
    for name, records in probes.items():
        logits = prompt_gate_logits(model, [builder.record(r).prompt for r in records], REQUEST, config.last_gate, builder.pad)
        opens[name] = [logit >= (config.threshold or 0.0) for logit in logits.tolist()]
    return {"opens": opens}


def cells(name: str, measured: dict[str, Any]) -> list[str]:
    """Return the cells of one kind of probe."""
    original, *runs = (measured[model]["rouge"][name] for model in ("original", *RUNS))
    known = [i for i, recall in enumerate(original) if recall >= KNOWN]
    return [
        str(len(original)),
        f"{100 * len(known) / len(original):.0f} %",
        *(f"{fmean(recalls):.2f}" for recalls in (original, *runs)),
        *(f"{fmean(recalls[i] for i in known):.2f}" if known else "" for recalls in runs),
        *(percent(measured[model]["opens"][name]) for model in RUNS),
    ]


def percent(values: Sequence[bool]) -> str:
    """Return the share that is true."""
    return f"{100 * fmean(values):.0f} %"


if __name__ == "__main__":
    main()
