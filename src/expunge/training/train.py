"""Train an edit: the recipe's settings turned into one `UnlearnTrainer`, resumed from its newest whole checkpoint."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import Progress
from torch import Tensor, nn
from transformers import PrinterCallback, ProgressCallback, TrainingArguments

from expunge.config.recipe import Recipe
from expunge.data.batches import Plan
from expunge.edits import Edit, edit_of
from expunge.edits.apply import freeze_above
from expunge.errors import InputError
from expunge.models.blocks import decoder_blocks
from expunge.models.loading import best_dtype
from expunge.objectives import Objective
from expunge.training.callbacks import Bar, Retract, StepLog
from expunge.training.checkpoints import newest_whole
from expunge.training.inputs import PairCollator, Rows
from expunge.training.trainer import Loss, UnlearnTrainer


def train(
    model: nn.Module,
    recipe: Recipe,
    rows: Rows,
    folder: Path,
    pad: int,
    progress: Progress,
    title: str = "Training",
    penalty: Callable[[], Tensor] | None = None,
    around_retain: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Train the parameters of `model` that require gradients; the same call after an interruption goes on where it was.

    Args:
        model: with its edit applied.
        recipe: `objective`, `edit` and `training` are read.
        rows: encoded forget and retain rows; without retain rows the retain terms are left out.
        folder: gets `metrics.jsonl`, and `checkpoints/` while training.
        pad: padding token id.
        progress: display to add a bar to.
        title: of the bar.
        penalty: see `Loss.penalty`.
        around_retain: see `Loss.around_retain`.

    Raises:
        ExpungeError: the loss or a gradient is not finite, or a parameter gets no gradient.
        InputError: the batch size does not divide by ranks and micro-batches.
    """
    settings, edit = recipe.training, edit_of(recipe)
    gates = edit.gated and not edit.trains_gate_first(recipe.edit)
    loss = loss_of(recipe.objective, settings.gate_loss_weight if gates else 0.0, settings.gate_warmup, model, edit)
    loss = replace(loss, penalty=penalty, around_retain=around_retain)
    if loss.blocks and not edit.edits_block_outputs:
        freeze_above(model, max(loss.blocks))
    args = _arguments(recipe, folder)
    micro = settings.micro_batch_size or settings.batch_size // args.world_size or 1
    try:
        plan = Plan(
            forget_lengths=[(len(row.prompt), len(row.answer)) for row in rows.forget],
            retain_lengths=[(len(row.prompt), len(row.answer)) for row in rows.retain] if loss.scores_retain else [],
            batch_size=settings.batch_size,
            world_size=args.world_size,
            accumulation=max(1, settings.batch_size // (micro * args.world_size)),
            seed=settings.seed,
        )
    except ValueError as error:
        raise InputError(f"training.batch_size: {error}") from error
    args.gradient_accumulation_steps = plan.accumulation
    collator = PairCollator(rows, pad, resample=recipe.objective.answer == "alternative", seed=settings.seed)
    log = StepLog(folder / "metrics.jsonl")
    callbacks = [log, Retract(), Bar(progress, title)]
    full = not edit.removable
    # The other edits change every token's states in every block: no prefix of the computation is frozen.
    prefix_gib = settings.prefix_cache_gib if settings.prefix_cache == "auto" and edit.edits_block_outputs else None
    trainer = UnlearnTrainer(model, args, loss, plan, collator, weights_change=full, prefix_cache_gib=prefix_gib, callbacks=callbacks)
    log.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    newest = newest_whole(folder / "checkpoints")
    trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    model.eval()


def drop_checkpoints(folder: Path) -> None:
    """Delete a run's checkpoints once the edit itself is saved."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def loss_of(objective: Objective, gate_loss_weight: float, gate_warmup: float, model: nn.Module, edit: Edit) -> Loss:
    """Return the loss of an objective on a model, with the blocks whose hidden states it reads, if it reads any.

    Raises:
        InputError: the model does not have the block.
    """
    blocks: tuple[int, ...] = ()
    if "hidden" in (*objective.forget_fields, *objective.retain_fields):
        blocks = edit.blocks(model) if objective.hidden_block is None else (objective.hidden_block,)
        depth = len(decoder_blocks(model)[1])
        if not all(0 <= block < depth for block in blocks):
            raise InputError(f"objective.block: this model has blocks 0 to {depth - 1}, not {blocks[0]}")
    return Loss(objective, gate_loss_weight, gate_warmup, blocks)


def _arguments(recipe: Recipe, folder: Path) -> TrainingArguments:
    settings = recipe.training
    dtype = {"auto": best_dtype(), "fp32": torch.float32, "bf16": torch.bfloat16}[settings.dtype]
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=settings.epochs or edit_of(recipe).epochs,
        learning_rate=settings.lr or edit_of(recipe).lr,
        lr_scheduler_type=settings.lr_scheduler,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=dtype == torch.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 1,
        save_total_limit=2,
        seed=settings.seed,
        remove_unused_columns=False,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        average_tokens_across_devices=False,
        # Every parameter gets a gradient in every step, or `StepLog` stops the first one.
        ddp_find_unused_parameters=False,
        # Newer transformers warn of the name and older ones know no other, so it is given only where it is wanted.
        gradient_checkpointing=settings.gradient_checkpointing or None,
    )
