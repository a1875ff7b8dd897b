"""Train an edit as a recipe says: set up `UnlearnTrainer`, and resume from the newest intact checkpoint."""

from pathlib import Path

import torch
from rich.progress import Progress
from torch import nn
from transformers import PrinterCallback, ProgressCallback

from expunge.config import ModuleSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.data.batches import Plan
from expunge.edits import edit_of
from expunge.edits.apply import freeze_above
from expunge.edits.base import Edit
from expunge.errors import InputError
from expunge.models.attention import attention_in_fp32
from expunge.models.head import cast_heads_once
from expunge.models.placement import fast_dtype
from expunge.training.arguments import OneDevice, training_device
from expunge.training.callbacks import ProgressBar, Retract, StepLog
from expunge.training.checkpoints import newest_intact_checkpoint
from expunge.training.free_blocks import FreeBlocks
from expunge.training.inputs import EncodedRecords, PairCollator
from expunge.training.loss import UNCONSTRAINED, Loss, LossConstraint, make_loss
from expunge.training.trainer import UnlearnTrainer


def train(
    model: nn.Module,
    recipe: Recipe,
    records: EncodedRecords,
    folder: Path,
    pad: int,
    progress: Progress,
    title: str = "Training",
    constraint: LossConstraint = UNCONSTRAINED,
    source: Path | None = None,
) -> None:
    """Train the parameters of `model` that require gradients. After an interruption the same call resumes.

    Args:
        model: with its edit applied.
        recipe: its sections `objective`, `edit` and `training` are read.
        records: the encoded forget and retain set; without a retain set the loss has no retain terms.
        folder: gets `metrics.jsonl`, and during training `checkpoints/`.
        pad: padding token id.
        progress: display to add a bar to.
        title: of the bar.
        constraint: of a release module.
        source: the checkpoint that the model was loaded from. With it, blocks below the first edited one leave the memory while their
            output is in the prefix cache, and are loaded back.

    Raises:
        ExpungeError: the loss, a gradient, a trained weight or a moment of the optimiser is not finite, or a parameter gets no gradient.
        InputError: the batch size is not divisible by ranks and micro-batches, or checkpoints would be pickles (DeepSpeed, FSDP 1).
    """
    settings, edit = recipe.training, edit_of(recipe)
    loss = make_loss(recipe, model, constraint)
    if loss.blocks and not edit.edits_block_outputs:
        freeze_above(model, max(loss.blocks))
    args = _arguments(recipe, folder, model)
    plan = _plan(recipe, records, loss, args.world_size)
    args.gradient_accumulation_steps = plan.accumulation
    args.num_train_epochs = settings.epochs or default_epochs(edit, plan.steps)
    log, free = StepLog(folder / "metrics.jsonl"), FreeBlocks(source)
    trainer = UnlearnTrainer(
        model,
        args,
        loss,
        plan,
        PairCollator(records, pad, resample=recipe.objective.answer == "alternative", seed=settings.seed),
        weights_change=not edit.removable,
        prefix_cache_gib=settings.prefix_cache_gib if settings.prefix_cache == "auto" else None,
        callbacks=[free, log, Retract(), ProgressBar(progress, title)],
    )
    trainer.check_can_save()
    log.trainer = free.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    checkpoint = newest_intact_checkpoint(folder / "checkpoints")
    try:
        # A head that is trained is never cast by itself: `frozen_head` leaves it to the model.
        with cast_heads_once(), attention_in_fp32():
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        if trainer.freed is not None:
            trainer.freed.restore()
        trainer.cast.undo()
    model.eval()
    trainer.check_trained()


def check_batches(settings: TrainingSection | ModuleSection, world_size: int, section: str) -> None:
    """Check that every micro-batch of a step has the same number of records, the one that the setting names.

    Args:
        settings: `batch_size` and `micro_batch_size` are read.
        world_size: number of ranks.
        section: of the recipe, for the message.

    Raises:
        InputError: they do not divide the batch.
    """
    batch, micro = settings.batch_size, settings.micro_batch_size
    if micro is not None and micro * world_size < batch and batch % (micro * world_size):
        ranks = "" if world_size == 1 else f"{world_size} ranks x "
        fitting = [size for size in range(1, micro) if batch % (size * world_size) == 0]
        hint = f"set it to {fitting[-1]}, or choose another batch_size" if fitting else "choose another batch_size"
        raise InputError(f"{section}.micro_batch_size: batch_size {batch} is not a multiple of {ranks}{micro}; {hint}")


def default_epochs(edit: Edit, steps: int) -> float:
    """Return the passes over a forget set for which the recipe gives none; `steps`: of one pass."""
    return edit.epochs if edit.most_steps is None else max(1, min(edit.epochs, edit.most_steps // steps))


def _plan(recipe: Recipe, records: EncodedRecords, loss: Loss, world_size: int) -> Plan:
    settings = recipe.training
    check_batches(settings, world_size, "training")
    micro = settings.micro_batch_size or settings.batch_size // world_size or 1
    try:
        return Plan(
            forget_lengths=[(len(row.prompt), len(row.answer)) for row in records.forget],
            retain_lengths=[(len(row.prompt), len(row.answer)) for row in records.retain] if loss.scores_retain else [],
            batch_size=settings.batch_size,
            world_size=world_size,
            accumulation=max(1, settings.batch_size // (micro * world_size)),
            seed=settings.seed,
        )
    except ValueError as error:
        raise InputError(f"training.batch_size: {error}") from error


def _arguments(recipe: Recipe, folder: Path, model: nn.Module) -> OneDevice:
    settings, edit, device = recipe.training, edit_of(recipe), training_device(model)
    dtype = {"auto": fast_dtype(device), "fp32": torch.float32, "bf16": torch.bfloat16}[settings.dtype]
    return OneDevice(
        model_device=device,
        output_dir=str(folder / "checkpoints"),
        learning_rate=settings.lr or edit.lr,
        lr_scheduler_type=settings.lr_scheduler,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=dtype == torch.bfloat16,
        use_cpu=device.type == "cpu",
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
        # Every parameter gets a gradient in every step; otherwise `StepLog` stops the first step.
        ddp_find_unused_parameters=False,
        # Newer versions of transformers warn about this argument and older ones need it, so it is passed only if it is on.
        gradient_checkpointing=settings.gradient_checkpointing or None,
    )
