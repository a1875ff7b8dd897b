"""The one trainer: forget and retain batches scored, the objective's terms and the gate's added up, every part logged."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import DistributedType
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import Trainer, TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer

from expunge.data.batches import Pair, PairLoader, PairSampler, Plan
from expunge.data.prompts import Batch, Encoded, collate
from expunge.edits.active import entry_block, gate_logits, pooled_gate_logits
from expunge.edits.requests import REQUEST
from expunge.errors import ExpungeError
from expunge.models.parameters import restored_requires_grad
from expunge.models.prefix import Prefix, PrefixUnsupported
from expunge.models.prefix_store import PrefixStore, open_prefix_store
from expunge.models.scores import Scores
from expunge.models.scoring import nll_in_batches, score
from expunge.objectives import Objective
from expunge.training.checkpoints import write_manifest
from expunge.training.inputs import PairCollator
from expunge.training.reference import Reference

log = logging.getLogger(__name__)

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


@dataclass(frozen=True)
class Loss:
    """What is minimised besides the objective's own weights.

    Attributes:
        objective: forget and retain terms with their weights.
        gate_loss_weight: lambda_g of the gate's cross-entropy; 0 where the edit has no gate or it is trained already.
        gate_warmup: share of the steps over which w(t) of the objective's terms rises from 0 to 1.
        blocks: blocks whose hidden states are read, for objectives that want them.
        penalty: a scalar of the parameters alone, its weight folded in; a step adds it once, whatever the number of micro-batches.
        around_retain: within this context the retain rows are scored: as the model that they are to stay good in.
    """

    objective: Objective
    gate_loss_weight: float = 0.0
    gate_warmup: float = 0.0
    blocks: tuple[int, ...] = ()
    penalty: Callable[[], Tensor] | None = None
    around_retain: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def scores_retain(self) -> bool:
        """Whether a step looks at retain rows at all."""
        return self.objective.retain_weight > 0 or self.gate_loss_weight > 0


class UnlearnTrainer(Trainer):
    """`transformers.Trainer` over paired batches; scales as it does, by `accelerate launch`.

    Loss = w(t) (gamma forget + alpha retain) + lambda_g gate (GRUN, arXiv 2502.17823, sec. 3), and a penalty where there is one.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        loss: Loss,
        plan: Plan,
        collator: PairCollator,
        weights_change: bool,
        prefix_cache_gib: float | None = None,
        **kwargs,
    ):
        self.loss = loss
        self.plan = plan
        # Of the optimiser step under way: the parts of each micro-batch's loss, and the rows it has seen.
        self.parts: list[dict[str, Tensor]] = []
        self.step_record_ids: list[str] = []
        rows = cast(Any, range(len(plan.forget_lengths)))
        super().__init__(model=model, args=args, data_collator=collator, train_dataset=rows, **kwargs)
        if (plugin := getattr(self.accelerator.state, "fsdp_plugin", None)) is not None:
            # FSDP would cast the edit's parameters too; autocast computes in bf16 around them.
            plugin.mixed_precision_policy = None
        # The terms are means over a micro-batch: the Trainer itself must divide by the number of micro-batches.
        self.loss_is_scaled_for_ga = False
        objective = loss.objective
        retain_reference = objective.retain_weight > 0 and any(part.startswith("reference_") for part in objective.retain_fields)
        copies = weights_change and retain_reference
        self.reference = Reference(model, copies) if copies or not weights_change else None
        self.prefixes = None if prefix_cache_gib is None else self._open_prefixes(model, collator, prefix_cache_gib)
        self._forget_reference = self._reference_nll("reference_nll", collator.rows.forget)
        instead = [Encoded(row.prompt, collator.alternative(0, i)) for i, row in enumerate(collator.rows.forget)]
        self._alternative_reference = self._reference_nll("alternative_reference_nll", instead)

    def _reference_nll(self, part: str, rows: list[Encoded]) -> Tensor | None:
        if part not in self.loss.objective.forget_fields:
            return None
        # Before the first step the model with its edit on may already differ (ReFT starts with an effect), except for `full`.
        scorer = self.reference.score if self.reference else torch.no_grad()(partial(score, cast(nn.Module, self.model)))

        def score_batch(batch: Batch) -> Scores:
            # A model that is going to be sharded is not on the rank's device yet.
            return scorer(batch.to(next(cast(nn.Module, self.model).parameters()).device), prefix=self._prefix(batch))

        with self.accelerator.autocast():
            return nll_in_batches(score_batch, rows, cast(PairCollator, self.data_collator).pad, self.plan.batch_size)

    def _open_prefixes(self, model: nn.Module, collator: PairCollator, gib: float) -> PrefixStore | None:
        """The store of frozen prefixes; none, and a line that says why, where training cannot start from them."""
        rows = sorted(collator.rows.forget, key=lambda row: len(row.prompt))
        try:
            if self.args.gradient_checkpointing:
                raise PrefixUnsupported("gradient checkpointing does not work with a KV cache")
            if self.accelerator.distributed_type in SHARDED:
                raise PrefixUnsupported("the model is sharded")
            block = entry_block(model)
            if self.loss.blocks and min(self.loss.blocks) < block:
                raise PrefixUnsupported(f"the objective reads block {min(self.loss.blocks)}, below the first edited one")
            sample = collate([rows[0], rows[-1]], collator.pad)
            return open_prefix_store(model, block, partial(pooled_gate_logits, model), gib * 2**30, sample)
        except PrefixUnsupported as reason:
            if self.is_world_process_zero():
                log.warning("The prefix cache is off: %s.", reason)
            return None

    def _prefix(self, batch: Batch) -> Prefix | None:
        return self.prefixes.prefix(batch) if self.prefixes else None

    def get_train_dataloader(self) -> PairLoader:
        """The micro-batches of this rank."""
        sampler = PairSampler(self.plan, self.args.process_index)
        return PairLoader(_Passthrough(), batch_sampler=sampler, collate_fn=self.data_collator)

    def compute_loss(self, model: nn.Module, inputs: dict, return_outputs: bool = False, num_items_in_batch: Tensor | int | None = None):
        """Total loss of a micro-batch; its parts wait in `parts` for the step's log line."""
        self._drop_nothing(model)
        objective, gates = self.loss.objective, self.loss.gate_loss_weight > 0
        forget, forget_gates = self._forget_scores(model, inputs)
        parts = {"forget": objective.forget(forget)}
        total = objective.forget_weight * parts["forget"]
        if inputs["retain"] is not None and self.loss.scores_retain:
            retain, retain_gates = self._retain_scores(model, inputs)
            if objective.retain_weight:
                parts["retain"] = objective.retain(retain)
                total = total + objective.retain_weight * parts["retain"]
            if gates:
                parts["gate"] = gate_loss(cast(Tensor, forget_gates), cast(Tensor, retain_gates))
        total = self._warmup() * total
        if "gate" in parts:
            total = total + self.loss.gate_loss_weight * parts["gate"]
        if self.loss.penalty is not None:
            # The Trainer divides every micro-batch's total by their number, so that the step sees it once.
            parts["overlap"] = self.loss.penalty()
            total = total + parts["overlap"]
        self.step_record_ids += inputs["answer"].record_ids
        if inputs["retain"] is not None:
            self.step_record_ids += inputs["retain"].record_ids
        if not torch.isfinite(total):
            rows = ", ".join(self.step_record_ids)
            raise ExpungeError(f"the loss is {total.item()} at step {self.state.global_step + 1} (rows {rows}); the step was not taken")
        self.parts.append({"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}})
        return (total, {}) if return_outputs else total

    def _drop_nothing(self, model: nn.Module) -> None:
        """Forgetting is judged on the model as it is served, so it is trained in evaluation mode."""
        model.eval()
        if self.args.gradient_checkpointing:
            for module in model.modules():
                if isinstance(module, GradientCheckpointingLayer):
                    # Only a layer in training mode checkpoints; what is inside it stays in evaluation mode.
                    module.training = True

    def _forget_scores(self, model: nn.Module, inputs: dict) -> tuple[Scores, Tensor | None]:
        """Scores of the forget rows, and what the gates said of their prompts (the next forward replaces it)."""
        objective, device = self.loss.objective, self.args.device
        scores = self._score(model, inputs[objective.answer], **self._wanted(objective.forget_fields))
        gates = gate_logits(model, REQUEST)
        more: dict[str, Any] = {}
        if self._forget_reference is not None:
            more["reference_nll"] = self._forget_reference[inputs["index"]].to(device)
        if self._alternative_reference is not None:
            more["alternative_reference_nll"] = self._alternative_reference[inputs["index"]].to(device)
        if "alternative_nll" in objective.forget_fields:
            instead = self._score(model, inputs["alternative"])
            more |= {"alternative_nll": instead.nll, "alternative_tokens": instead.tokens}
        if "distinctive" in objective.forget_fields:
            more["distinctive"] = inputs["distinctive"].to(device)
        return replace(scores, **more), gates

    def _score(self, model: nn.Module, batch: Batch, **wanted: Any) -> Scores:
        return score(model, batch.to(self.args.device), prefix=self._prefix(batch), **wanted)

    def _retain_scores(self, model: nn.Module, inputs: dict) -> tuple[Scores, Tensor | None]:
        """The same of the retain rows, with the reference's scores where the retain term compares."""
        batch, parts = inputs["retain"].to(self.args.device), self.loss.objective.retain_fields
        prefix = self._prefix(inputs["retain"])
        with self.loss.around_retain():
            scores = score(model, batch, prefix=prefix, **self._wanted(parts))
        gates = gate_logits(model, REQUEST)
        referred = tuple(part.removeprefix("reference_") for part in parts if part.startswith("reference_"))
        if not referred or not self.loss.objective.retain_weight:
            return scores, gates
        reference = cast(Reference, self.reference).score(batch, prefix=prefix, **self._wanted(referred))
        more: dict[str, Any] = {f"reference_{part}": getattr(reference, part) for part in referred}
        return replace(scores, **more), gates

    def _wanted(self, parts: tuple[str, ...]) -> dict[str, Any]:
        return {"logits": "logits" in parts, "hidden": self.loss.blocks if "hidden" in parts else ()}

    def _warmup(self) -> float:
        steps = self.loss.gate_warmup * self.state.max_steps
        return 1.0 if steps < 1 else min(1.0, self.state.global_step / steps)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        own = cast(nn.Module, self.model)
        active = list(own.active_adapters) if isinstance(own, PeftModel) else []
        # The Trainer leaves only the first of several adapters on, and makes it trainable.
        several = len(active) > 1
        with restored_requires_grad(own) if several else nullcontext():
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            if several:
                cast(BaseTuner, own.base_model).set_adapter(active)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        super()._save_checkpoint(model, trial)
        # The other ranks write the states of their random numbers into the same folder.
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            write_manifest(Path(f"{self.args.output_dir}/checkpoint-{self.state.global_step}"))

    def floating_point_ops(self, inputs: dict) -> int:
        """Not counted: the Trainer's own estimate knows neither paired batches nor frozen blocks."""
        return 0


def gate_loss(forget: Tensor, retain: Tensor) -> Tensor:
    """Binary cross-entropy on logits, mean over gates and examples (GRUN, eq. of L_gate); forget, retain: (gates, batch)."""
    logits = torch.cat([forget, retain], dim=1)
    targets = torch.cat([torch.ones_like(forget), torch.zeros_like(retain)], dim=1)
    return binary_cross_entropy_with_logits(logits, targets)


class _Passthrough(torch.utils.data.Dataset[Pair]):
    """The sampler's items are already what the collator needs."""

    def __getitem__(self, index: Pair) -> Pair:
        return index
