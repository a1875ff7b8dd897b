"""What happens around a step: the log line, the watch over gradients, the retraction of R, the progress bar."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress
from transformers import TrainerCallback

from expunge.edits.grun import retract
from expunge.errors import ExpungeError
from expunge.files import write_text
from expunge.models.sharding import gather_shards

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearnTrainer


class StepLog(TrainerCallback):
    """One line of `metrics.jsonl` an optimiser step: every part of the loss, the same whatever the number of ranks."""

    trainer: "UnlearnTrainer"

    def __init__(self, path: Path):
        """Log to a file; set `trainer` once there is one."""
        self.path = path

    def on_train_begin(self, args, state, control, **kwargs):
        """Drop what a killed run logged after its last checkpoint."""
        if not args.should_save:
            return
        # A line that a full disk cut short has no end and does not count.
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1] if self.path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= state.global_step]
        write_text(self.path, "".join(line + "\n" for line in kept))

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        """Refuse to step on a gradient that is not finite, and on the first step name parameters that get none."""
        trained = [(name, p) for name, p in kwargs["model"].named_parameters() if p.requires_grad]
        if state.global_step == 0 and (untouched := [name for name, p in trained if p.grad is None]):
            why = f"gets no gradient from this objective ({len(untouched)} such parameters)"
            raise ExpungeError(f"{untouched[0]} {why}; leave it out by edit.modules or edit.blocks")
        if not all(gather_shards(torch.isfinite(p.grad).all()) for _, p in trained if p.grad is not None):
            rows = ", ".join(self.trainer.step_record_ids)
            raise ExpungeError(f"a gradient is not finite at step {state.global_step + 1} (rows {rows}); the step was not taken")

    def on_step_end(self, args, state, control, **kwargs):
        """Average the parts over micro-batches and ranks, write the line."""
        parts, self.trainer.parts, self.trainer.step_record_ids = self.trainer.parts, [], []
        means = {name: torch.stack([part[name].float() for part in parts]).mean() for name in parts[0]}
        means = {name: self.trainer.accelerator.reduce(value, "mean").item() for name, value in means.items()}
        if args.should_save:
            line = {"step": state.global_step, "epoch": round(state.global_step / self.trainer.plan.steps, 4), **means}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, "lr": kwargs["lr_scheduler"].get_last_lr()[0]}) + "\n")


class Retract(TrainerCallback):
    """Put every R back to orthonormal rows after the optimiser has moved it."""

    def on_optimizer_step(self, args, state, control, **kwargs):
        """Called between the optimiser's step and the next forward pass."""
        retract(kwargs["model"])


class Bar(TrainerCallback):
    """The training's row in a rich progress display."""

    def __init__(self, progress: Progress, title: str):
        self.progress = progress
        self.title = title

    def on_train_begin(self, args, state, control, **kwargs):
        """Start where a resumed run stands."""
        self.task = self.progress.add_task(self.title, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        """One step on."""
        self.progress.update(self.task, completed=state.global_step)
