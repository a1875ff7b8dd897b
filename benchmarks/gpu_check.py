"""Check the verbs on this machine's GPU: place and dtype of tensors, peak memory, seconds, bf16 against fp32, NF4, two processes.

    python -m benchmarks.gpu_check [--sizes 1b 8b] [--device cuda] [--parts unlearn audit …] [--out runs/gpu_check]

Needs no network: the models are random Llamas in bf16, made here. Made for one GPU with 80 GB: less than ten minutes, 40 GB of disk. With
`--sizes tiny --device cpu` it runs anywhere. It prints tables and writes results.json into the folder; it ends with an error if a part
fails. A part that failed does not stop the others.
"""

import argparse
import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.common.machine_check import SIZES, Check, Facts
from benchmarks.common.results import markdown, measured_on
from expunge.files import remove_folder, write_text
from expunge.models.sources import first_line


def run_part(work: Callable[[], Facts]) -> Facts:
    """Run one part; return its facts, its seconds and its peak memory, or why it failed."""
    gc.collect()
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    facts: Facts
    try:
        facts = work()
    # Whatever a part raises, the other parts are run.
    except Exception as error:
        traceback.print_exc()
        facts = {"failed": f"{type(error).__name__}: {first_line(error)}"}
    facts["seconds"] = round(time.monotonic() - started, 2)
    facts["peak_gpu_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2) if on_gpu else None
    # Of the process since its start, so that only a larger part raises it.
    facts["peak_main_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    return facts


def parts_of(check: Check, small: Check, first: bool) -> dict[str, Callable[[], Facts]]:
    """Return the parts for a size; those that only the smallest size needs come with `first`. `small` is a tiny model."""
    verbs: dict[str, Callable[[], Facts]] = {
        "unlearn": lambda: check.train("grun"),
        "gate": lambda: check.evaluate_gate("grun"),
        "audit": lambda: check.audit("grun"),
        "chat": lambda: check.answer("grun"),
        "nf4": check.nf4,
    }
    if not first:
        return verbs
    return verbs | {
        "lora": lambda: check.train("lora", "lora"),
        "export": lambda: check.export("lora"),
        "full": lambda: check.train("full", "full"),
        "tensors": check.tensors,
        "dtypes": check.dtypes,
        "processes": small.processes,
    }


def report(results: Mapping[str, Mapping[str, Facts]]) -> str:
    """Return the tables of all results."""
    rows, seen = {}, {}
    for size, parts in results.items():
        for part, facts in parts.items():
            said = facts.get("failed") or facts.get("remark") or "; ".join(facts.get("weights", ()))
            if "largest_difference" in facts:
                said = f"losses differ by at most {facts['largest_difference']:.2g}"
            cells = [
                facts["seconds"],
                facts.get("gate", "-"),
                facts.get("training", "-"),
                facts["peak_gpu_gb"] or "-",
                facts["peak_main_gb"],
                said,
            ]
            rows[f"{size} {part}"] = [str(cell) for cell in cells]
            for row in facts.get("tensors", ()):
                seen[f"{size} {row['verb']}, {row['device']} {row['dtype']}"] = [str(row["operations"]), str(row["largest_mb"])]
    columns = ["seconds", "of the gate", "of training", "peak GB, GPU", "peak GB, main memory so far", "result"]
    return markdown("part", columns, rows) + "\n\n" + markdown("tensors", ["operations", "largest, MB"], seen)


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts, print the tables, write results.json; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", nargs="+", choices=list(SIZES), default=["1b", "8b"], help="the first one gets more parts than the others"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--parts", nargs="+", help="only these; gate, audit and chat need unlearn, and export needs lora")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_check"))
    args = parser.parse_args(words)
    # Nothing that was measured before may be read instead.
    os.environ["XDG_CACHE_HOME"] = str(args.out.absolute() / "cache")
    remove_folder(args.out)
    small = Check("tiny", args.device, args.out / "small")
    small.prepare()
    results: dict[str, dict[str, Facts]] = {}
    for size in args.sizes:
        check = Check(size, args.device, args.out / size)
        of_size = results[size] = {"checkpoint": run_part(check.prepare)}
        for part, work in parts_of(check, small, first=len(results) == 1).items():
            if args.parts is None or part in args.parts:
                of_size[part] = run_part(work)
        # An 8B and its runs need 20 GB of disk.
        remove_folder(check.folder)
    write_text(
        args.out / "results.json", json.dumps({"measured_on": measured_on(), "gpu": gpu_name(), "results": results}, indent=1) + "\n"
    )
    print(f"{measured_on()}; GPU: {gpu_name()}\n\n{report(results)}")
    return int(any("failed" in facts for parts in results.values() for facts in parts.values()))


def gpu_name() -> str | None:
    """Return the name of the GPU, if there is one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


if __name__ == "__main__":
    sys.exit(main())
