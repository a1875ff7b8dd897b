"""The release section: how a model is rid of what it told, in rounds (after arXiv 2509.14624)."""

from typing import Literal

from pydantic import Field, field_validator

from expunge.config.section import Section, pattern


class PemSection(Section):
    """How the PEMs of a release, LoRA modules on the model's linear layers, are trained."""

    rank: int = Field(16, ge=1)
    alpha: int | None = Field(None, ge=1, description="none: 2 x rank")
    rslora: bool = Field(False, description="scale by alpha/sqrt(rank), not by alpha/rank")
    modules: str | None = Field(None, description="regular expression of the linear layers to change; none: all but the output head")
    epochs: float = Field(5.0, gt=0)
    lr: float = Field(5e-4, gt=0)
    batch_size: int = Field(16, ge=1, description="rows an optimiser step sees")
    micro_batch_size: int | None = Field(4, ge=1, description="rows held at once; none: no accumulation")
    dtype: Literal["auto", "fp32", "bf16"] = Field("auto", description="to compute in; the PEM and the losses stay in fp32")
    save_steps: int = Field(50, ge=0, description="optimiser steps between checkpoints; 0: none")
    temperature: float = Field(
        2.0, gt=0, description="of the softmax in the losses: above 1 a module also learns what the model says for sure already"
    )

    @field_validator("modules")
    @classmethod
    def _modules_is_a_pattern(cls, given: str | None) -> str | None:
        return pattern(given)


class OverlapSection(Section):
    """The penalty that keeps a forget PEM out of the retain PEM's subspaces (O-LoRA, arXiv 2310.14152)."""

    kind: Literal["l1", "frobenius", "none"] = Field("l1", description="entries of A_r A_f^T: absolute or squared; none: no penalty")
    weight: float = Field(0.01, ge=0, description="lambda_o; the penalty is a sum over all layers, not a mean")
    also_b: bool = Field(False, description="the same of B_r^T B_f: edits share outputs through B")


class ReleaseSection(Section):
    """How it is rid of what it told: iterated negation of LoRA modules in weight space."""

    rounds: int = Field(3, ge=1, description="T")
    refresh: Literal["reuse", "resample", "research"] = Field(
        "reuse", description="forget data of later rounds: the same, the same instructions asked again, or a new search"
    )
    pem: PemSection = Field(default_factory=PemSection)
    retain_pem: Literal["once", "every_round", "none"] = Field(
        "none", description="a module of what is to be kept, whose subspaces are avoided (as published), beside or instead of `keep`"
    )
    retain_rows: int = Field(96, ge=1, description="the most retain records that a module learns from, or is kept from changing")
    retain_active: bool = Field(True, description="the retain module is on while the forget module is trained (O-LoRA)")
    retain_lambda: float = Field(0.0, ge=0, description="lambda_r: how much of the retain module is added when it was trained")
    keep: float = Field(
        12.0,
        ge=0,
        description="weight of KL on retain records while a forget module is trained: subtracted, it is to change nothing there",
    )
    keep_at: float = Field(4.0, gt=0, description="the lambda_f at which that is asked for: about what the line search will choose")
    overlap: OverlapSection = Field(default_factory=OverlapSection)
    lambda_max: float = Field(8.0, gt=0, description="largest lambda_f of a round")
    lambda_tries: int = Field(6, ge=1, description="values that the line search measures in a round")
    utility_drop_max: float = Field(0.02, gt=0, description="by how much the validation perplexities may rise in all rounds together")
    forget_target: float | None = Field(None, gt=0, description="validation NLL of the forget data, nats a token, at which it is enough")
