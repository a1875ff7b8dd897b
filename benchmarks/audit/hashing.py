"""Count how often commands hash the weights of a model, and how long that takes: at most once a command, and not at all the second time.

    python -m benchmarks.audit.hashing [--out /tmp/hashing] [--megabytes 700] [--json FILE]

A random Llama in bf16 is made in shards, its second block is trained (edit `full`), and each command runs in a process of its own with an
empty cache of hashes at first. It needs no network. The seconds are those of reading and hashing files of at least 1 MiB.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common.in_process import run_command
from benchmarks.common.results import markdown, measured_on
from expunge.files import make_folder, remove_folder, write_text

WIDTH = 1024


def main() -> None:
    """Run the commands and print the table, or run one command and write what it hashed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/hashing"), help="folder for model, data and cache; an earlier one goes")
    parser.add_argument("--megabytes", type=int, default=100, help="size of the model")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--counts", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.counts:
        run_counted(args.words, args.counts)
        return
    remove_folder(args.out)
    make_folder(args.out)
    rows = measured_rows(args.out, args.megabytes)
    print(markdown("command", ("model hashed", "times", "edit hashed", "seconds"), {name: cells(row) for name, row in rows.items()}))
    print(f"\n{measured_on()}; a random model of {args.megabytes} MB.")
    if args.json:
        write_text(args.json, json.dumps(rows, indent=1) + "\n")


def cells(row: dict[str, float]) -> list[str]:
    """Return a row of the table."""
    return [f"{row['model'] / 1e6:.0f} MB", f"{row['times']:.2f}", f"{row['edit'] / 1e6:.0f} MB", f"{row['seconds']:.2f} s"]


def measured_rows(out: Path, megabytes: int) -> dict[str, dict[str, float]]:
    """Run each command and return what it hashed: in bytes, in units of the model's weights, and in seconds."""
    weights = make_model(out / "model", megabytes)
    write_text(out / "forget.jsonl", "".join(json.dumps({"prompt": f"Who is {i}?", "answer": f"Number {i}."}) + "\n" for i in range(4)))
    write_text(out / "retain.jsonl", "".join(json.dumps({"prompt": f"What is {i}?", "answer": f"A thing, {i}."}) + "\n" for i in range(4)))
    # A file that changed a moment ago is not remembered.
    time.sleep(4)
    data = ("--forget", str(out / "forget.jsonl"), "--retain", str(out / "retain.jsonl"))
    edit = ("--edit", "full", "edit.modules=^model.layers.1.", "training.epochs=1", "training.save_steps=0")
    commands: dict[str, tuple[str, ...]] = {
        "unlearn": ("unlearn", *data, "--model", str(out / "model"), "--out", str(out / "run"), "--no-audit", *edit),
        "audit": ("audit", str(out / "run"), "--max-records", "2"),
        "audit again": ("audit", str(out / "run"), "--max-records", "2"),
        "chat": ("chat", str(out / "run"), "--ask", "Who is 1?", "--max-new-tokens", "4"),
    }
    return {name: {**(row := measured(out, words)), "times": row["model"] / weights} for name, words in commands.items()}


def make_model(folder: Path, megabytes: int) -> int:
    """Save a random Llama of about this size with a byte tokenizer, and return the bytes of its weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    characters = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    characters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    characters.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=characters, eos_token="<end>", bos_token="<end>")
    layer = 2 * (4 * WIDTH * WIDTH + 3 * WIDTH * 3 * WIDTH)
    layers = max(2, round(megabytes * 1e6 / layer))
    sizes = {"hidden_size": WIDTH, "intermediate_size": 3 * WIDTH, "num_hidden_layers": layers, "num_attention_heads": 16}
    config = LlamaConfig(vocab_size=len(alphabet), num_key_value_heads=16, bos_token_id=0, eos_token_id=0, pad_token_id=0, **sizes)
    model = LlamaForCausalLM(config)
    # Without large embeddings, the gradient of a deep random model is infinite.
    torch.nn.init.normal_(model.model.embed_tokens.weight)
    model.bfloat16().save_pretrained(folder, max_shard_size="50MB")
    tokenizer.save_pretrained(folder)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def measured(out: Path, words: tuple[str, ...]) -> dict[str, float]:
    """Run a command in a process of its own, and return the bytes and seconds of hashing."""
    command = [sys.executable, "-m", "benchmarks.audit.hashing", "--counts", str(out / "counts.json"), *words]
    subprocess.run(command, check=True, env={**os.environ, "XDG_CACHE_HOME": str(out / "cache")}, stdout=sys.stderr)
    return json.loads((out / "counts.json").read_text(encoding="utf-8"))


def run_counted(words: list[str], counts: Path) -> None:
    """Run a command, and write how many bytes of large files it hashed and how long that took.

    Raises:
        SystemExit: the command failed.
    """
    from expunge.models import file_hashes

    total = {"model": 0, "edit": 0, "seconds": 0.0}

    def counted(name: str) -> None:
        function = getattr(file_hashes, name)

        def call(path: Path) -> Any:
            started = time.perf_counter()
            result = function(path)
            if (size := path.stat().st_size) >= file_hashes.LARGE:
                total["model" if path.parent == counts.parent / "model" else "edit"] += size
                total["seconds"] += time.perf_counter() - started
            return result

        setattr(file_hashes, name, call)

    counted("hash_tensors")
    counted("file_sha256")
    run_command(words)
    write_text(counts, json.dumps(total) + "\n")


if __name__ == "__main__":
    main()
