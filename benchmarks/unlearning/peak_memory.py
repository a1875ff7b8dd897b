"""Measure the peak memory of `expunge unlearn`, of its training loop alone, and of `expunge audit`, in units of the checkpoint's size.

    python -m benchmarks.unlearning.peak_memory [--size 30m | 360m] [--dtype auto | bf16 | fp32]
        [--micro-batch-size N] [--json FILE]

The model is a random Llama in bf16, made here with the tokenizer of the default model. The memory is the resident set (RSS) less that
of a process that has only imported the libraries. The children import the expunge of this process's PYTHONPATH: name another checkout
there to compare with it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from expunge.files import write_text
from expunge.models.embedded import embedded_model

SIZES = {
    "30m": {"hidden_size": 320, "num_hidden_layers": 16, "num_attention_heads": 5, "num_key_value_heads": 1, "intermediate_size": 864},
    "360m": {"hidden_size": 960, "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "intermediate_size": 2560},
}
IMPORTS = "import expunge.cli.main, expunge.pipeline.unlearn, expunge.auditing.audit; from transformers import LlamaForCausalLM, Trainer"
STATUS = "; print(next(line for line in open('/proc/self/status') if line.startswith('VmRSS')))"


def make_model(size: str, folder: Path) -> int:
    """Write a random Llama in bf16 with a tokenizer, and return the bytes of its weights."""
    torch.manual_seed(0)
    tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(embedded_model()))
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(**SIZES[size], **ids, vocab_size=len(tokenizer), head_dim=64, tie_word_embeddings=True)
    model = cast(nn.Module, LlamaForCausalLM(config)).to(torch.bfloat16)
    cast(LlamaForCausalLM, model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def make_records(folder: Path) -> tuple[Path, Path]:
    """Write 16 forget and 16 retain records."""
    paths = []
    for name in ("forget", "retain"):
        rows = [{"prompt": f"Where does person {i} of the {name} set live?", "answer": f"In house number {i}."} for i in range(16)]
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths[0], paths[1]


def measure(command: list[str], steps: Path, log: Path) -> tuple[int, int, float]:
    """Run a command; return its peak RSS, that between its first and its last training step, in bytes, and its seconds."""
    started, peak, samples, lines = time.monotonic(), 0, [], []
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        while process.poll() is None:
            # Not `ru_maxrss`, which begins with the memory of the parent process.
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, _bytes_of("VmHWM", status))
            samples.append(_bytes_of("VmRSS", status))
            lines.append(len(steps.read_text().splitlines()) if steps.exists() else 0)
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(log.read_text())
    in_loop = [sample for sample, count in zip(samples, lines, strict=True) if 0 < count < lines[-1]]
    return peak, max(in_loop, default=0), time.monotonic() - started


def _bytes_of(field: str, status: str) -> int:
    # A process that has just ended has no memory any more.
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:")), 0)


def main() -> None:
    """Make the model, run the command, print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="30m")
    parser.add_argument("--dtype", choices=["auto", "bf16", "fp32"], default="auto", help="of the weights; auto gives the commands none")
    parser.add_argument("--micro-batch-size", type=int, default=8, help="records of a set in one forward pass; a batch has 8")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    words = subprocess.run([sys.executable, "-c", IMPORTS + STATUS], capture_output=True, text=True, check=True).stdout.split()
    imported = int(words[1]) * 1024
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        size, (forget, retain) = make_model(args.size, place / "model"), make_records(place)
        run = place / "run"
        expunge, dtype = [sys.executable, "-m", "expunge"], [] if args.dtype == "auto" else ["--dtype", args.dtype]
        unlearn = [*expunge, "unlearn", "--edit", "grun-paper", "--no-audit", "--model", str(place / "model"), "--out", str(run), *dtype]
        unlearn += ["--forget", str(forget), "--retain", str(retain), "training.epochs=4", "training.batch_size=8"]
        unlearn += [f"training.micro_batch_size={args.micro_batch_size}"]
        peak, loop, seconds = measure(unlearn, run / "metrics.jsonl", place / "log")
        audit, _, more = measure([*expunge, "audit", str(run), *dtype], run / "metrics.jsonl", place / "log")
    facts = {
        "size": args.size,
        "dtype": args.dtype,
        "micro_batch_size": args.micro_batch_size,
        "checkpoint_mb": size / 1e6,
        "imported_mb": imported / 1e6,
        "seconds": seconds + more,
    }
    facts |= {name: (bytes_ - imported) / size for name, bytes_ in (("unlearn", peak), ("loop", loop), ("audit", audit))}
    facts |= {"threads": int(os.environ.get("OMP_NUM_THREADS", 0))}
    print(", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()))
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
