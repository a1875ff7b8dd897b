"""The release section of a recipe: unlearning in rounds, by subtracting LoRA modules (arXiv 2509.14624)."""

from typing import Literal

from pydantic import Field, field_validator

from expunge.config.section import Section, pattern


class ModuleSection(Section):
    """How the LoRA modules of a release are trained."""

    rank: int = Field(16, ge=1, description="rank of a module")
    alpha: int | None = Field(None, ge=1, description="LoRA's alpha; none: 2 x rank")
    rslora: bool = Field(False, description="scale by alpha/sqrt(rank), not by alpha/rank")
    modules: str | None = Field(None, description="regular expression of the linear layers to change; none: all but the output head")
    epochs: float = Field(5.0, gt=0, description="passes over the records of a round")
    lr: float = Field(5e-4, gt=0, description="learning rate")
    batch_size: int = Field(16, ge=1, description="records in each optimiser step")
    micro_batch_size: int | None = Field(4, ge=1, description="records in memory at once; none: no gradient accumulation")
    dtype: Literal["auto", "fp32", "bf16"] = Field("auto", description="to compute in; the module and the losses stay in fp32")
    save_steps: int = Field(50, ge=0, description="optimiser steps between checkpoints; 0: none")
    temperature: float = Field(
        2.0, gt=0, description="of the softmax in the losses: above 1 a module also learns responses that the model is already sure of"
    )

    @field_validator("modules")
    @classmethod
    def _modules_is_a_pattern(cls, given: str | None) -> str | None:
        return pattern(given)


class OverlapSection(Section):
    """The penalty on the overlap of the forget module's subspaces with the retain module's (O-LoRA, arXiv 2310.14152)."""

    kind: Literal["l1", "frobenius", "none"] = Field("l1", description="entries of A_r A_f^T: absolute or squared; none: no penalty")
    weight: float = Field(0.01, ge=0, description="lambda_o; the penalty is a sum over all layers, not a mean")
    include_b: bool = Field(False, description="also penalise B_r^T B_f: modules share outputs through B")


class ReleaseSection(Section):
    """How revealed answers are removed from the weights: LoRA modules are trained on them and subtracted, in rounds."""

    rounds: int = Field(3, ge=1, description="T")
    refresh: Literal["reuse", "resample", "research"] = Field(
        "reuse", description="forget data of later rounds: the same, new responses to the same instructions, or a new search"
    )
    module: ModuleSection = Field(default_factory=ModuleSection)
    retain_module: Literal["once", "every_round", "none"] = Field(
        "none", description="train a module on retain records whose subspaces the forget module avoids (as published)"
    )
    retain_max_records: int = Field(96, ge=1, description="most retain records that a module trains on, or that the KL term covers")
    retain_module_active: bool = Field(True, description="the retain module is active while the forget module is trained (O-LoRA)")
    retain_lambda: float = Field(0.0, ge=0, description="lambda_r: how many times a retain module is added after its training")
    retain_kl_weight: float = Field(
        12.0, ge=0, description="weight of the KL divergence on retain records that subtracting the forget module causes"
    )
    retain_kl_lambda: float = Field(
        4.0, gt=0, description="lambda_f at which that KL divergence is computed: about the value that the line search will choose"
    )
    overlap: OverlapSection = Field(default_factory=OverlapSection)
    lambda_max: float = Field(8.0, gt=0, description="largest lambda_f of a round")
    lambda_evaluations: int = Field(6, ge=1, description="values of lambda_f that the line search measures in a round")
    max_utility_drop: float = Field(0.02, gt=0, description="largest relative rise of the validation perplexities over all rounds")
    target_forget_nll: float | None = Field(
        None, gt=0, description="validation NLL of the forget data, in nats per token, that ends the rounds; none: all rounds run"
    )
