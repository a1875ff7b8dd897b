"""Measure what N composed GRUN modules cost: milliseconds per prompt compared with the base model, and bytes on disk.

    python -m benchmarks.gate.sequential_cost [--gate linear|mlp] [--pool last|max] [--json FILE]

The modules are untrained, because training does not change the cost; they use the paper's blocks and rank 4. A prompt is answered
greedily with 32 tokens, one prompt at a time. The models take turns, and the ratios are of medians.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, cast

COUNTS, TOKENS = (1, 10, 100), 32


def main() -> None:
    """Measure and print."""
    import torch

    from expunge.data.people import people
    from expunge.data.prompts import PromptBuilder
    from expunge.edits.active import edits_off
    from expunge.edits.requests import add_request
    from expunge.models.loading import load

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--gate", choices=["linear", "mlp"], default="linear")
    parser.add_argument("--pool", choices=["last", "max"], default="last")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    model, tokenizer = load(args.model)
    builder = PromptBuilder(tokenizer)
    prompts = [torch.tensor([builder.record(record).prompt]) for record in people()[: args.prompts]]
    # All answers have the same length.
    greedy = {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS, "do_sample": False, "pad_token_id": builder.pad}

    def seconds() -> float:
        start = time.perf_counter()
        for prompt in prompts:
            cast(Any, model).generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), **greedy)
        return (time.perf_counter() - start) / len(prompts)

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        edit, size = module(args, Path(folder))
        done = 0
        for count in COUNTS:
            for i in range(done, count):
                model = add_request(model, edit, f"m{i}")
            done = count
            times: dict[str, list[float]] = {"base": [], "composed": []}
            for _ in range(args.repeats):
                times["composed"].append(seconds())
                with edits_off(model):
                    times["base"].append(seconds())
            base, composed = (statistics.median(times[name]) for name in ("base", "composed"))
            results[count] = {"base_ms": 1e3 * base, "composed_ms": 1e3 * composed, "over_base": composed / base, "bytes": count * size}
            print(
                f"N {count}: {1e3 * base:.1f} ms -> {1e3 * composed:.1f} ms a prompt ({composed / base - 1:+.1%}), {count * size:,} bytes"
            )
    setup = f"{args.gate} gate, pool {args.pool}; {len(prompts)} prompts x {args.repeats} repeats, {TOKENS} tokens each"
    print(f"{setup}; torch {torch.__version__}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def module(args: argparse.Namespace, folder: Path) -> tuple[Path, int]:
    """Save a module with the requested gate, and return its folder and its size in bytes."""
    from expunge.config import EditSection
    from expunge.edits.apply import apply_edit
    from expunge.edits.save import save_edit
    from expunge.models.identified import load_identified

    loaded = load_identified(args.model)
    model, base = loaded.model, loaded.identity
    section = EditSection(name="grun", gate=args.gate, gate_pool=args.pool, rank=4, positions="last_prompt")
    save_edit(apply_edit(model, section, base.checkpoint), folder, base)
    return folder, (folder / "adapter_model.safetensors").stat().st_size


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
