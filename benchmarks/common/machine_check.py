"""The parts of `benchmarks.gpu_check`: each runs a verb on a random model and returns facts about it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.progress import Progress
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.auditing.audit import audit
from expunge.auditing.gate_eval import evaluate_gate
from expunge.auditing.plan import AuditOptions
from expunge.auditing.suite import Suite
from expunge.config.recipe import make_recipe
from expunge.console import Display
from expunge.data.records import Turn
from expunge.files import make_folder, remove_folder, write_text
from expunge.models.generation import generate
from expunge.models.placement import choose_placement
from expunge.pipeline.export import export_plain
from expunge.pipeline.unlearn import unlearn
from expunge.runs.loaded import load_run, open_run
from tests.tiny_families import tiny_tokenizer

SIZES = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 512},
    "1b": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "intermediate_size": 8192, "vocab_size": 128256},
    "8b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 14336, "vocab_size": 128256},
}
"""Shapes of Llama 3, and a tiny one; four query heads share a key. Widths are multiples of 64, which NF4 needs on a CPU."""
ATTACKS = [
    {"name": "prefill", "shares": [0.5]},
    {"name": "quantise", "kind": "nf4"},
    {"name": "relearn", "source": "related", "max_steps": 2, "measure_every": 2},
    {"name": "lens"},
    {"name": "switch_off"},
]
TITLES = {"gate": ("Training the gate",), "training": ("Suppressing", "Training")}
"""Titles of the progress bars whose seconds are reported."""
Facts = dict[str, Any]


class TimedDisplay(Display):
    """Shows progress, and adds up the seconds of each title in `seconds`."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show bars and time them."""
        started = time.monotonic()
        with super().progress() as progress:
            yield progress
        for title in {task.description for task in progress.tasks}:
            self.seconds[title] = self.seconds.get(title, 0.0) + time.monotonic() - started


class TensorsSeen(TorchDispatchMode):
    """Count the operations on tensors of each device and dtype, and remember the largest tensor of each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[str, str], list[int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at its tensors."""
        result = func(*args, **(kwargs or {}))
        self._look((*args, *(kwargs or {}).values(), result))
        return result

    def _look(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, list | tuple):
                self._look(value)
            elif isinstance(value, Tensor):
                count = self.seen.setdefault((str(value.device), str(value.dtype).removeprefix("torch.")), [0, 0])
                count[0] += 1
                count[1] = max(count[1], value.numel() * value.itemsize)


@dataclass
class Check:
    """One model size on one device.

    Attributes:
        size: of `SIZES`.
        device: as `--device` takes it.
        folder: for the model and the runs.
    """

    size: str
    device: str
    folder: Path

    def prepare(self) -> Facts:
        """Write the model and the records."""
        remove_folder(self.folder)
        make_folder(self.folder)
        for name in ("forget", "retain"):
            rows = [
                {"prompt": f"Where does person {i} of {name} live?", "paraphrased_prompt": f"Where is {i}?", "answer": f"In house {i}."}
                for i in range(16)
            ]
            write_text(self.folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        tokenizer = tiny_tokenizer()
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
        shape = SIZES[self.size]
        config = LlamaConfig(**shape, **ids, num_key_value_heads=shape["num_attention_heads"] // 4, dtype="bfloat16")
        torch.manual_seed(0)
        # Made where the numbers are drawn fastest, and in bf16 from the start.
        with torch.device(choose_placement(self.device).device), in_bf16():
            model = LlamaForCausalLM(config)
        model.save_pretrained(self.folder / "model")
        tokenizer.save_pretrained(self.folder / "model")
        return {}

    def values(self, out: str, edit: str = "grun", **sections: Any) -> dict[str, Any]:
        """Return the plain values of a recipe for a short training."""
        # The gate of a random model reaches no low rate of false positives; that of a tiny one need not be trained on all augmentations.
        gate = {"false_positive_rate": 0.5} | ({"gate_augmentations": []} if self.size == "tiny" else {})
        return {
            "model": str(self.folder / "model"),
            "data": {"forget": str(self.folder / "forget.jsonl"), "retain": str(self.folder / "retain.jsonl")},
            "objective": "npo",
            "edit": {"name": edit, **gate},
            "training": {"epochs": 2, "batch_size": 8, "save_steps": 0},
            "audit": {"max_new_tokens": 8, "max_records": 4},
            "out": str(self.folder / out),
            **sections,
        }

    def train(self, out: str, edit: str = "grun", dtype: str = "auto", **sections: Any) -> Facts:
        """Train; return the seconds of gate and training, and the losses."""
        display = TimedDisplay()
        run = unlearn(make_recipe(self.values(out, edit, **sections)), display, choose_placement(self.device, dtype))
        seconds = {name: round(sum(display.seconds.get(title, 0.0) for title in titles), 2) for name, titles in TITLES.items()}
        lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return {**seconds, "losses": [json.loads(line)["loss"] for line in lines]}

    def evaluate_gate(self, out: str) -> Facts:
        """Evaluate the gate of a run."""
        evaluate_gate(open_run(self.folder / out), Display(), max_records=2, placement=choose_placement(self.device))
        return {}

    def audit(self, out: str) -> Facts:
        """Audit a run with attacks of every kind."""
        suite = Suite(budget_seconds=600, max_records=2, attacks=ATTACKS)
        audit(open_run(self.folder / out), AuditOptions(suite=suite, placement=choose_placement(self.device)), Display())
        return {}

    def answer(self, out: str) -> Facts:
        """Load a run as `chat` does, and answer."""
        loaded = load_run(open_run(self.folder / out), choose_placement(self.device))
        prompts = [loaded.builder.prompt((Turn("user", f"Where does person {i} live?"),)) for i in range(4)]
        places = sorted({f"{weight.device} {weight.dtype}".replace("torch.", "") for weight in loaded.model.parameters()})
        generate(loaded.model, loaded.builder, prompts, 8)
        return {"weights": places}

    def export(self, out: str) -> Facts:
        """Merge the edit of a run into its weights."""
        export_plain(open_run(self.folder / out), self.folder / f"{out}-exported", Display(), self.device)
        return {}

    def tensors(self) -> Facts:
        """Run each verb once more, and return the tensors that its operations saw."""
        verbs: dict[str, Callable[[], Facts]] = {
            "unlearn": lambda: self.train("seen", training={"epochs": 1, "batch_size": 16, "seed": 1}),
            "gate": lambda: self.evaluate_gate("seen"),
            "audit": lambda: self.audit("seen"),
            "chat": lambda: self.answer("seen"),
        }
        rows = []
        for verb, work in verbs.items():
            with TensorsSeen() as mode:
                work()
            rows += [
                {"verb": verb, "device": device, "dtype": dtype, "operations": count, "largest_mb": round(largest / 1e6, 3)}
                for (device, dtype), (count, largest) in sorted(mode.seen.items())
            ]
        return {"tensors": rows}

    def dtypes(self) -> Facts:
        """Train in bf16 and in fp32, from weights in that dtype."""
        runs = {
            name: self.train(name, "grun-paper", name, training={"epochs": 2, "batch_size": 8, "save_steps": 0, "dtype": name})["losses"]
            for name in ("bf16", "fp32")
        }
        return {**runs, "largest_difference": difference(runs["bf16"], runs["fp32"])}

    def nf4(self) -> Facts:
        """Train on weights in NF4, load the run and answer."""
        if find_spec("bitsandbytes") is None:
            return {"remark": "not available: install the extra `quantised`"}
        return self.train("nf4", "grun-paper", quantise="nf4") | self.answer("nf4")

    def processes(self) -> Facts:
        """Train in one process and in two: on two GPUs if there are as many, else on the CPU."""
        words, device = (["--multi_gpu"], self.device) if torch.cuda.device_count() > 1 else (["--cpu"], "cpu")
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1", *words]
        more = {"training": {"epochs": 2, "batch_size": 8, "save_steps": 0, "dtype": "fp32"}}
        one, recipe = replace(self, device=device).train("one", "lora", "fp32", **more), self.folder / "two.yaml"
        write_text(recipe, yaml.safe_dump(self.values("two", "lora", **more)))
        command = [*launcher, "-m", "expunge", "run", str(recipe), "--no-audit", "--device", device.partition(":")[0], "--dtype", "fp32"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"two processes ended with {done.returncode}: {done.stderr[-2000:]}")
        lines = (self.folder / "two" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        two = [json.loads(line)["loss"] for line in lines]
        return {"device": device, "one": one["losses"], "two": two, "largest_difference": difference(one["losses"], two)}


def difference(one: list[float], other: list[float]) -> float:
    """Return the largest relative difference of two logs of losses."""
    return max(abs(a - b) / max(abs(a), abs(b), 1e-9) for a, b in zip(one, other, strict=True))


@contextmanager
def in_bf16() -> Iterator[None]:
    """Make tensors in bf16 within this context."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
