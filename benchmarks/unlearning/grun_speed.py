"""Compare the speed of GRUN's training steps with and without the cached prompt prefix, on the embedded model.

    python -m benchmarks.unlearning.grun_speed [--tofu DIR] [--json FILE] [--sweep]

`full` is expunge without the prefix cache. `plain` (fp32 only) is the plain PyTorch implementation of the tests: it computes all logits,
and scores the reference model in every step. Each measurement runs in its own process, and the modes take turns. The recipe is the
published NPO preset with batches of 16 + 16 on 64 records of TOFU (DIR holds forget10_perturbed.jsonl) or of the invented people.
Only steps after the first epoch are timed, because the first one fills the cache; its time is shown separately.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

ROWS, BATCH = 32, 16
SWEEP = {"prompt": (32, 64, 128, 256), "answer": (16, 32, 64), "blocks": ([29], [18, 23, 29], [18, 20, 22, 24, 26, 29])}


def main() -> None:
    """Measure, print the results, and write them to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, help="folder with TOFU's forget10_perturbed.jsonl; default: the invented people")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtypes", nargs="*", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--epochs", type=int, default=4, help="epochs of two steps; the first is not timed")
    parser.add_argument("--repeats", type=int, default=2, help="processes for each mode")
    parser.add_argument("--json", type=Path, help="write the ratios to this file")
    parser.add_argument("--sweep", action="store_true", help="also measure by prompt length, answer length and edited blocks (fp32)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args, **json.loads(args.one))))
        return
    ratios = {dtype: compare(args, dtype=dtype) for dtype in args.dtypes}
    for dtype, result in ratios.items():
        print(f"{dtype}: {line(result)}")
    if args.json:
        args.json.write_text(json.dumps(ratios, indent=2) + "\n", encoding="utf-8")
    if args.sweep:
        for what, values in SWEEP.items():
            for value in values:
                print(f"{what} {value}: {line(compare(args, dtype='fp32', **{what: value}))}")


def compare(args: argparse.Namespace, **case: Any) -> dict[str, float]:
    """Measure all modes in turn, `repeats` times, and return their comparison."""
    by_mode: dict[str, list[dict]] = {"off": [], "auto": []}
    if case == {"dtype": "fp32"}:
        by_mode["plain"] = []
    for _ in range(args.repeats):
        for mode, results in by_mode.items():
            arguments = ["--one", json.dumps({**case, "mode": mode}), "--epochs", str(args.epochs), "--model", args.model]
            arguments += ["--tofu", str(args.tofu)] if args.tofu else []
            output = subprocess.run(
                [sys.executable, "-m", "benchmarks.unlearning.grun_speed", *arguments], check=True, capture_output=True, text=True
            ).stdout
            results.append(json.loads(output.splitlines()[-1]))
    full, frozen = by_mode["off"], by_mode["auto"]
    step = {mode: statistics.median([s for result in results for s in result["steps"]]) for mode, results in by_mode.items()}
    gaps = [abs(a - b) / abs(a) for a, b in zip(full[0]["losses"], frozen[0]["losses"], strict=True)]
    ratios = {
        "frozen_over_full": step["off"] / step["auto"],
        "max_loss_difference": max(gaps),
        "full_steps_per_s": 1 / step["off"],
        "frozen_steps_per_s": 1 / step["auto"],
        "full_tokens_per_s": full[0]["tokens"] / step["off"],
        "frozen_tokens_per_s": full[0]["tokens"] / step["auto"],
        "first_epoch_over_full": statistics.median(full[0]["first"]) / statistics.median(frozen[0]["first"]),
        "full_peak_gib": max(result["peak_gib"] for result in full),
        "frozen_peak_gib": max(result["peak_gib"] for result in frozen),
        "tokens_per_step": full[0]["tokens"],
        "timed_steps": sum(len(result["steps"]) for result in full),
    }
    if "plain" in step:
        gaps = [abs(a - b) / abs(a) for a, b in zip(by_mode["plain"][0]["losses"], frozen[0]["losses"], strict=True)]
        peak = max(result["peak_gib"] for result in by_mode["plain"])
        ratios |= {"frozen_over_plain": step["plain"] / step["auto"], "plain_steps_per_s": 1 / step["plain"]}
        ratios |= {"max_loss_difference_to_plain": max(gaps), "plain_peak_gib": peak}
    return ratios


def line(ratios: dict[str, float]) -> str:
    """Return the comparison in words."""
    seconds = [1 / ratios[f"{mode}_steps_per_s"] for mode in ("full", "frozen")]
    return (
        f"{ratios['frozen_over_full']:.2f}x steps/s ({seconds[0]:.2f} s -> {seconds[1]:.2f} s a step of "
        f"{ratios['tokens_per_step']:.0f} tokens, n {ratios['timed_steps']:.0f} each), first epoch {ratios['first_epoch_over_full']:.2f}x, "
        f"largest relative difference of losses {ratios['max_loss_difference']:.1e}, "
        f"peak memory {ratios['full_peak_gib']:.2f} -> {ratios['frozen_peak_gib']:.2f} GiB"
    ) + (
        f"; over plain {ratios['frozen_over_plain']:.2f}x ({1 / ratios['plain_steps_per_s']:.2f} s, {ratios['plain_peak_gib']:.2f} GiB, "
        f"losses {ratios['max_loss_difference_to_plain']:.1e})"
        if "frozen_over_plain" in ratios
        else ""
    )


def measure(
    args: argparse.Namespace, dtype: str, mode: str, prompt: int | None = None, answer: int | None = None, blocks: list[int] | None = None
) -> dict[str, Any]:
    """Train with one mode in this process; return the seconds of each step, losses, tokens per step and peak memory."""
    import torch
    from rich.progress import Progress

    from expunge.config.recipe import make_recipe
    from expunge.data.people import people
    from expunge.data.prompts import Encoded, PromptBuilder
    from expunge.data.records import read_records
    from expunge.edits.apply import apply_edit
    from expunge.models.loading import load
    from expunge.objectives import OBJECTIVES
    from expunge.training.inputs import encode_records

    ends: list[float] = []

    class Clock(Progress):
        def update(self, *_args: Any, **_kwargs: Any) -> None:
            ends.append(time.perf_counter())

    model, tokenizer = load(args.model)
    records = (read_records(args.tofu / "forget10_perturbed.jsonl") if args.tofu else people())[: 2 * ROWS]
    rows = encode_records(PromptBuilder(tokenizer), records[:ROWS], records[ROWS:], OBJECTIVES["npo"]())
    for part in (rows.forget, rows.retain):
        part[:] = [Encoded(_length(row.prompt, prompt), _length(row.answer, answer)) for row in part]
    preset: dict[str, Any] = {
        "data": {"forget": "rows", "retain": "rows"},
        "objective": {"name": "npo", "forget_weight": 100.0},
        "edit": {"name": "grun", "gate_pool": "last", "blocks": blocks},
        "training": {"epochs": args.epochs, "batch_size": BATCH, "dtype": dtype, "save_steps": 0, "prefix_cache": "off"},
    }
    if mode != "plain":
        preset["training"]["prefix_cache"] = mode
    recipe = make_recipe(preset)
    torch.manual_seed(0)
    model = apply_edit(model, recipe.edit, "")
    losses = (
        plain(model, args.model, rows, args.epochs, ends) if mode == "plain" else with_expunge(model, recipe, rows, Clock(disable=True))
    )
    first = -(-ROWS // BATCH)
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    return {
        "first": seconds[: first - 1],
        "steps": seconds[first - 1 :],
        "losses": losses,
        "tokens": sum(len(row.prompt) + len(row.answer) for row in [*rows.forget, *rows.retain]) * BATCH / ROWS,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def with_expunge(model: Any, recipe: Any, rows: Any, clock: Any) -> list[float]:
    """Return the losses of expunge's training steps; the clock records the end of each."""
    from expunge.training.train import train

    with tempfile.TemporaryDirectory() as folder:
        train(model, recipe, rows, Path(folder), 0, clock)
        return [json.loads(text)["loss"] for text in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def plain(edited: Any, base: str, rows: Any, epochs: int, ends: list[float]) -> list[float]:
    """Return the losses of the plain implementation on the same batches; `ends` records the end of each step."""
    from types import SimpleNamespace

    from expunge.data.batches import Plan, epoch_batches
    from expunge.edits.grun import GrunLayer
    from expunge.models.loading import load
    from expunge.training.inputs import PairCollator
    from tests.training import plain_grun

    class Steps(list):
        def __iter__(self) -> Iterator[Any]:
            for i, step in enumerate(super().__iter__()):
                if i:
                    ends.append(time.perf_counter())
                yield step
            ends.append(time.perf_counter())

    lengths = [[(len(row.prompt), len(row.answer)) for row in part] for part in (rows.forget, rows.retain)]
    plan = Plan(*lengths, batch_size=BATCH)
    collate = PairCollator(rows, 0, resample=False, seed=plan.seed)
    steps = Steps(collate(batch) for epoch in range(epochs) for batch in epoch_batches(plan, epoch))
    parts = {}
    for layer in (m for m in edited.modules() if isinstance(m, GrunLayer)):
        source, gate = cast(Any, layer.grun_source["default"]), cast(Any, layer.grun_gate["default"])
        of_block = {"R": layer.grun_rotate["default"], "W": source.weight, "b": source.bias, "v": gate.weight, "c": gate.bias}
        parts[layer.block] = {name: p.detach().clone().requires_grad_() for name, p in of_block.items()}
    model = load(base)[0].requires_grad_(False)
    npo = SimpleNamespace(name="npo", answer="answer", gamma=100, lambda_r=1, lambda_g=10)
    logged = plain_grun.train(plain_grun.PlainGrun(model, parts), npo, steps)
    return [npo.gamma * step["forget"] + step["retain"] + npo.lambda_g * step["gate"] for step in logged]


def _length(ids: tuple[int, ...], length: int | None) -> tuple[int, ...]:
    """Return the ids, repeated and cut to a length."""
    return ids if length is None else (ids * (length // len(ids) + 1))[:length]


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
