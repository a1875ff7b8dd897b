"""The training section of a recipe: optimiser, batches, precision, checkpoints."""

from typing import Literal

from pydantic import Field, field_validator

from expunge.config.section import Section


class TrainingSection(Section):
    """Settings of the training of an edit."""

    epochs: float | None = Field(None, gt=0, description="none: the edit's default, see `expunge ls edits`")
    lr: float | None = Field(None, gt=0, description="none: the edit's default, see `expunge ls edits`")
    batch_size: int = Field(16, ge=1, description="records of each set in an optimiser step, over all ranks")
    micro_batch_size: int | None = Field(None, ge=1, description="records of each set on a rank at once; none: no accumulation")
    lr_scheduler: Literal["linear", "constant", "cosine"] = Field("linear", description="course of the learning rate after the warmup")
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="share of the steps over which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    gate_loss_weight: float = Field(10.0, ge=0, description="lambda_g, the weight of the gate's cross-entropy")
    gate_warmup: float = Field(0.0, ge=0, lt=1, description="share of the steps over which w(t), the weight of the other terms, rises to 1")
    dtype: Literal["auto", "fp32", "bf16"] = Field("auto", description="dtype of computation; the edit and the losses are in fp32")
    gradient_checkpointing: bool = Field(False, description="use less memory and more time")
    prefix_cache: Literal["auto", "off"] = Field("auto", description="compute once what is below the edit; the losses do not change")
    prefix_cache_gib: float = Field(4.0, gt=0, description="main memory for it; further prefixes are computed in every epoch")
    save_steps: int = Field(50, ge=0, description="optimiser steps between checkpoints; 0: no checkpoints")
    seed: int = Field(42, ge=0, lt=2**32, description="seed of all random draws: initialisation, order of records, samples")

    @field_validator("prefix_cache", mode="before")
    @classmethod
    def _accept_false_as_off(cls, value: object) -> object:
        # YAML reads a bare `off` as false.
        return "off" if value is False else value
