"""Measure what prompt attacks still extract about four forgotten TOFU authors, compared with a model that never saw them.

    python -m benchmarks.unlearning.tofu_suppression --tofu DIR [--out runs/tofu] [--methods alternatives npo …] [--choices 3]
        [--seeds 3] [--write]

The original and one control for each choice are taught first. All methods use the same gate.
Each step is saved, so a second call resumes an interrupted one.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from peft import PeftModel
from torch import nn

from benchmarks.common.results import measured_on, read_or_make, write
from benchmarks.common.tofu import CHOICES, CONTROL_EPOCHS, OTHER_LANGUAGES, QUESTIONS, authors, prepare
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.prompt_templates import read_prompt_templates, variants_by_name
from expunge.data.prompts import PromptBuilder, batches_by_length, collate
from expunge.data.records import Record, write_records
from expunge.edits.active import edits_off, pooled_gate_logits
from expunge.edits.grun.config import GrunConfig
from expunge.edits.requests import REQUEST
from expunge.gating.eval_prompts import AS_GIVEN, SEED
from expunge.metrics.text import is_degenerate, is_refusal, rouge_l_recall
from expunge.models.generation import generate, nucleus_sampler
from expunge.models.loading import load
from expunge.models.scoring import score
from expunge.pipeline.teach import Stage, teach
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import Run
from expunge.runs.loaded import load_run, open_run
from expunge.runs.splits import draw, read_splits

METHODS: dict[str, dict[str, Any]] = {
    "alternatives": {"objective": "alternatives"},
    "alternatives, last prompt token": {"objective": "alternatives", "edit": {"positions": "last_prompt"}},
    "alternatives, where the gate fires": {"objective": "alternatives", "edit": {"positions": "fired"}},
    "idk": {"objective": "idk"},
    "npo": {"objective": "npo"},
    "grad_diff": {"objective": "grad_diff"},
}
DEFAULT = "alternatives"
FIRST_SEED = 42
MAX_NEW_TOKENS, BATCH_SIZE = 48, 40
SAMPLED = "sampled"
MARK = "<!-- tofu_suppression -->"
COLUMNS = (
    "ROUGE-L as given",
    "paraphrase",
    "sampled",
    "mean of the English attacks",
    "above the control's",
    "most above it",
    "degenerate, less the control's",
    "refusals",
    "retain ROUGE-L, of the original's",
    "retain logits bit-equal",
    "training",
)

Measured = dict[str, dict[str, float]]


def main() -> None:
    """Teach, unlearn, attack, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, required=True, help="folder with TOFU's JSONL files")
    parser.add_argument("--out", type=Path, default=Path("runs/tofu"), help="folder for data, models and runs")
    parser.add_argument("--model", default="smollm2-135m", help="the model that original and controls are trained from")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), help="methods, for the first choice and the first seed"
    )
    parser.add_argument("--choices", type=int, default=len(CHOICES), help="number of choices of four authors, for the default method")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, for the default method")
    parser.add_argument("--rows", type=int, default=16, help="records of a set")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    display, started, lines = Display(), time.monotonic(), []
    prepare(args.tofu, args.out, args.model, QUESTIONS, display)
    for number, choice in enumerate(CHOICES[: args.choices]):
        folder = args.out / f"choice{number + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        forget, retain = authors(args.tofu, choice)
        write_records(folder / "forget.jsonl", forget)
        write_records(folder / "retain.jsonl", retain)
        control = teach(args.model, [Stage("control", retain, CONTROL_EPOCHS)], display)["control"]
        queried = draw(forget, args.rows, SEED)
        plain: dict[str, Measured] = {}
        for name, path in (("original", args.out / "original"), ("control", control)):
            plain[name] = read_or_make(folder / f"{name}-{args.rows}.json", partial(of_model, path, queried, retain, args.rows, display))
            lines.append(row(f"{name}, choice {number + 1}", plain[name], plain))
        for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
            first = number == 0 and seed == FIRST_SEED
            for method in args.methods if first else [DEFAULT]:
                name = f"{method}, choice {number + 1}, seed {seed}"
                display.print(f"== {name}")
                run_folder = folder / f"{method.replace(', ', '-').replace(' ', '-')}-{seed}"
                data = {part: str(folder / f"{part}.jsonl") for part in ("forget", "retain")}
                settings = {"model": str(args.out / "original"), "data": data, "training": {"seed": seed}, "out": str(run_folder)}
                run = unlearn(make_recipe({**settings, **METHODS[method]}), display)
                results = read_or_make(run_folder / f"attacks-{args.rows}.json", partial(of_run, run, queried, retain, args.rows, display))
                lines.append(row(name, results, plain, run.read_info()["seconds"]))
                print(lines[-1], flush=True)
    text = "\n".join(["| model | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|", *lines])
    text += f"\n\n{facts(args, time.monotonic() - started)}\n"
    print(text)
    if args.write:
        write(MARK, text)


def of_model(path: Path, forget: list[Record], retain: list[Record], rows: int, display: Display) -> Measured:
    """Measure the answers of a model without unlearning."""
    model, tokenizer = load(path)
    return answers(model, PromptBuilder(tokenizer), forget, retain, rows, display)


def of_run(run: Run, forget: list[Record], retain: list[Record], rows: int, display: Display) -> Measured:
    """Measure the answers of a run's model, and how many held-out retain answers have exactly the base model's logits."""
    loaded = load_run(open_run(run.folder))
    model, builder = loaded.model, loaded.builder
    results = answers(model, builder, forget, retain, rows, display)
    return {**results, "bit_equal": bit_equal(model, builder, read_splits(open_run(run.folder)).held_out)}


@torch.no_grad()
def bit_equal(model: nn.Module, builder: PromptBuilder, records: Sequence[Record]) -> dict[str, float]:
    """Count the records with a closed gate, and those whose logits are then bit-equal to the base model's."""
    encoded = [builder.record(record) for record in records]
    closed = equal = 0
    threshold = cast(GrunConfig, cast(PeftModel, model).peft_config[REQUEST]).threshold or 0.0
    for chosen in batches_by_length([row.prompt for row in encoded], 1):
        batch = collate([encoded[i] for i in chosen], builder.pad)
        on = score(model, batch, logits=True).logits
        (gate_logit,) = pooled_gate_logits(model).values()
        with edits_off(model):
            off = score(model, batch, logits=True).logits
        if gate_logit.item() < threshold:
            closed += 1
            equal += torch.equal(on, off)
    return {"n": len(records), "closed": closed, "equal": equal}


def answers(model: nn.Module, builder: PromptBuilder, forget: list[Record], retain: list[Record], rows: int, display: Display) -> Measured:
    """Measure ROUGE-L recall, degeneracy and refusals of greedy answers to every variant, of sampled answers, and on retain."""
    retained = draw(retain, rows, SEED)
    groups = {AS_GIVEN: {record.id: builder.record(record).prompt for record in forget}}
    groups |= variants_by_name(read_prompt_templates(), builder, forget, retain, SEED)
    groups["retain"] = {record.id: builder.record(record).prompt for record in retained}
    by_id = {record.id: record for record in (*forget, *retained)}
    flat = [(name, record_id, ids) for name, prompts in groups.items() for record_id, ids in prompts.items()]
    with display.bar("Attacking", len(flat)) as advance:
        texts = generate(model, builder, [ids for _, _, ids in flat], MAX_NEW_TOKENS, BATCH_SIZE, advance)
    flat += [(SAMPLED, record_id, ids) for record_id, ids in groups[AS_GIVEN].items()]
    texts += generate(model, builder, list(groups[AS_GIVEN].values()), MAX_NEW_TOKENS, BATCH_SIZE, sampler=nucleus_sampler(0))
    results: Measured = {}
    for name in (*groups, SAMPLED):
        pairs = [(answer, by_id[record_id].answer) for (of, record_id, _), answer in zip(flat, texts, strict=True) if of == name]
        results[name] = {
            "n": len(pairs),
            "rouge": fmean(rouge_l_recall(answer, truth) for answer, truth in pairs),
            "degenerate": fmean(is_degenerate(answer) for answer, _ in pairs),
            "refusal": fmean(is_refusal(answer) for answer, _ in pairs),
        }
    return results


def row(name: str, results: Measured, plain: dict[str, Measured], seconds: float | None = None) -> str:
    """Return a row of the table."""
    attacks = [variant for variant in results if variant not in (AS_GIVEN, OTHER_LANGUAGES, "retain", SAMPLED, "bit_equal")]
    mean = {metric: fmean(results[variant][metric] for variant in attacks) for metric in ("rouge", "degenerate", "refusal")}
    cells = [f"{results[name]['rouge']:.2f}" for name in (AS_GIVEN, "paraphrase", SAMPLED)]
    cells.append(f"{mean['rouge']:.3f}")
    if "control" in plain:
        control = plain["control"]
        above = {variant: results[variant]["rouge"] - control[variant]["rouge"] for variant in attacks}
        worst = max(above, key=lambda variant: above[variant])
        degenerate = mean["degenerate"] - fmean(control[variant]["degenerate"] for variant in attacks)
        cells += [f"{fmean(above.values()):+.3f}", f"{above[worst]:+.2f} ({worst})", f"{100 * degenerate:+.1f} points"]
    else:
        cells += ["", "", f"{100 * mean['degenerate']:.1f} %"]
    retain = results["retain"]["rouge"] / plain["original"]["retain"]["rouge"]
    cells += [f"{100 * mean['refusal']:.0f} %", f"{100 * retain:.1f} %"]
    equal = results.get("bit_equal")
    cells.append(f"{equal['equal']:.0f} of {equal['closed']:.0f} closed ({equal['n']:.0f})" if equal else "")
    cells.append("" if seconds is None else f"{seconds:.0f} s")
    return f"| {name} | " + " | ".join(cells) + " |"


def facts(args: argparse.Namespace, seconds: float) -> str:
    """Return date, machine, n and package versions."""
    return (
        f"{measured_on()}; {args.rows} forget records in each of the attacks of attacks.yaml, greedy answers of at most {MAX_NEW_TOKENS} "
        f"tokens; this call took {seconds / 60:.0f} min. Command: `python -m benchmarks.unlearning.tofu_suppression --tofu DIR "
        f"--choices {args.choices} --seeds {args.seeds} --rows {args.rows} --write`."
    )


if __name__ == "__main__":
    main()
