"""Callbacks of the trainer: step log, check of gradients, retraction of R, progress bar."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress
from transformers import TrainerCallback

from expunge.documents import read_json_lines
from expunge.edits.grun import retract
from expunge.errors import ExpungeError
from expunge.files import append_text, write_text
from expunge.models.finite import is_finite, json_text

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearnTrainer


class StepLog(TrainerCallback):
    """Write a line of `metrics.jsonl` for each optimiser step, with every term of the loss; check the gradients."""

    trainer: "UnlearnTrainer"

    def __init__(self, path: Path):
        """Log to a file; set `trainer` before training starts."""
        self.path = path

    def on_train_begin(self, args, state, control, **kwargs):
        """Remove lines that an interrupted run logged after its last checkpoint."""
        if not args.should_save:
            return
        lines = read_json_lines(self.path, dict[str, int | float]) if self.path.exists() else []
        valid = [line for line in lines if line.get("step", math.inf) <= state.global_step]
        write_text(self.path, "".join(json_text(line, str(self.path)) + "\n" for line in valid))

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        """Raise if a gradient is not finite, or at the first step if a trained parameter gets no gradient."""
        trained = [(name, p) for name, p in kwargs["model"].named_parameters() if p.requires_grad]
        if state.global_step == 0 and (untouched := [name for name, p in trained if p.grad is None]):
            reason = f"gets no gradient from this objective ({len(untouched)} such parameters)"
            raise ExpungeError(f"{untouched[0]} {reason}; leave it out by edit.modules or edit.blocks")
        if not all(is_finite(p.grad) for _, p in trained if p.grad is not None):
            ids = ", ".join(self.trainer.step_record_ids)
            at = f"step {state.global_step + 1} (records {ids}); the step was not taken"
            raise ExpungeError(f"a gradient is not finite at {at}{self.trainer.cause()}")

    def on_step_end(self, args, state, control, **kwargs):
        """Average the terms over micro-batches and ranks, and write the line."""
        terms, self.trainer.terms, self.trainer.step_record_ids = self.trainer.terms, [], []
        means = {name: torch.stack([term[name].float() for term in terms]).mean() for name in terms[0]}
        means = {name: self.trainer.accelerator.reduce(value, "mean").item() for name, value in means.items()}
        if args.should_save:
            line = {"step": state.global_step, "epoch": round(state.global_step / self.trainer.plan.steps, 4), **means}
            line |= {"lr": kwargs["lr_scheduler"].get_last_lr()[0]}
            # A resumed run drops the lines after its checkpoint, so none of them must survive a power cut.
            append_text(self.path, json_text(line, f"{self.path}, step {state.global_step}") + "\n", durable=False)


class Retract(TrainerCallback):
    """Make the rows of every R orthonormal again after each optimiser step."""

    def on_optimizer_step(self, args, state, control, **kwargs):
        """Retract every R."""
        retract(kwargs["model"])


class ProgressBar(TrainerCallback):
    """Bar of the training in a rich progress display."""

    def __init__(self, progress: Progress, title: str):
        self.progress = progress
        self.title = title

    def on_train_begin(self, args, state, control, **kwargs):
        """Add the bar; a resumed run starts at its step."""
        self.task = self.progress.add_task(self.title, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        """Advance the bar."""
        self.progress.update(self.task, completed=state.global_step)
