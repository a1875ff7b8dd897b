"""`UnlearnTrainer`: score forget and retain batches, add up the terms of the loss, step."""

from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from accelerate import DistributedType
from torch import Tensor, nn
from transformers import TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer

from expunge.data.batches import Pair, PairLoader, PairSampler, Plan
from expunge.data.prompts import Batch, Encoded, collate
from expunge.edits.active import gate_logits
from expunge.edits.requests import REQUEST
from expunge.errors import ExpungeError
from expunge.models.cast_weights import CastWeights
from expunge.models.finite import LOWER_LR, check_finite, is_finite
from expunge.models.freed_weights import FreedWeights
from expunge.models.prefix import Start
from expunge.models.scores import Scores
from expunge.models.scoring import nll_in_batches, score
from expunge.models.sharding import reshard
from expunge.training.checkpointing import CheckpointedTrainer
from expunge.training.inputs import PairCollator
from expunge.training.loss import Loss, gate_loss
from expunge.training.prefixes import open_prefixes
from expunge.training.reference import Reference

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


class UnlearnTrainer(CheckpointedTrainer):
    """A trainer for paired batches of forget and retain records; `accelerate launch` runs it on several devices.

    Loss = w(t) (gamma forget + alpha retain) + lambda_g gate (GRUN, arXiv 2502.17823, sec. 3) + the constraint's penalty.
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
        # Of the current optimiser step: the terms of each micro-batch's loss, and the ids of its records.
        self.terms: list[dict[str, Tensor]] = []
        self.step_record_ids: list[str] = []
        # Weights of blocks that no step needs, while they are not in memory.
        self.freed: FreedWeights | None = None
        # Frozen weights that are held in the dtype of autocast for the time of the training.
        self.cast = CastWeights()
        # The sampler decides what a batch holds; the data set only has to have the right length.
        dataset = cast(Any, range(len(plan.forget_lengths)))
        super().__init__(model=model, args=args, data_collator=collator, train_dataset=dataset, **kwargs)
        if (plugin := getattr(self.accelerator.state, "fsdp_plugin", None)) is not None:
            # FSDP would cast the edit's parameters too; autocast computes in bf16 and leaves them in fp32.
            plugin.mixed_precision_policy = None
        # The terms are means over a micro-batch, so the Trainer itself must divide by the number of micro-batches.
        self.loss_is_scaled_for_ga = False
        objective = loss.objective
        retain_reference = objective.retain_weight > 0 and any(field.startswith("reference_") for field in objective.retain_fields)
        needs_copy = weights_change and retain_reference
        self.reference = Reference(model, needs_copy) if needs_copy or not weights_change else None
        self.prefixes = None
        if prefix_cache_gib is not None:
            sharded, first = self.accelerator.distributed_type in SHARDED, self.is_world_process_zero()
            self.prefixes = open_prefixes(model, loss, collator, prefix_cache_gib, sharded, bool(args.gradient_checkpointing), warn=first)
        forget = collator.records.forget
        self._forget_reference = self._reference_nll("reference_nll", forget)
        alternatives = [replace(row, answer=collator.alternative(0, i)) for i, row in enumerate(forget)]
        self._alternative_reference = self._reference_nll("alternative_reference_nll", alternatives)

    def _reference_nll(self, field: str, rows: list[Encoded]) -> Tensor | None:
        if field not in self.loss.objective.forget_fields:
            return None
        # ReFT has an effect before the first step, so its edit must be off here. `full` has none yet.
        scorer = self.reference.score if self.reference else torch.no_grad()(partial(score, cast(nn.Module, self.model)))

        def score_batch(batch: Batch) -> Scores:
            # A model that will be sharded is not on the rank's device yet.
            return scorer(batch.to(next(cast(nn.Module, self.model).parameters()).device), prefix=self._prefix(batch))

        with self.accelerator.autocast():
            return nll_in_batches(score_batch, rows, cast(PairCollator, self.data_collator).pad, self.plan.batch_size)

    def _prefix(self, batch: Batch) -> Start | None:
        if self.prefixes is None:
            return None
        if self.freed is not None and not self.prefixes.holds(batch):
            self.freed.restore()
        return self.prefixes.prefix(batch)

    def get_train_dataloader(self) -> PairLoader:
        """Return the loader of this rank's micro-batches."""
        sampler = PairSampler(self.plan, self.args.process_index)
        return PairLoader(_Passthrough(), batch_sampler=sampler, collate_fn=self.data_collator)

    def compute_loss(self, model: nn.Module, inputs: dict, return_outputs: bool = False, num_items_in_batch: Tensor | int | None = None):
        """Return the loss of a micro-batch, and add its terms to `terms` for the log of the step."""
        self._evaluation_mode(model)
        objective, constraint = self.loss.objective, self.loss.constraint
        forget, forget_gate_logits = self._forget_scores(model, inputs)
        terms = {"forget": objective.forget(forget)}
        total = objective.forget_weight * terms["forget"]
        if inputs["retain"] is not None and self.loss.scores_retain:
            retain, retain_gate_logits = self._retain_scores(model, inputs)
            if objective.retain_weight:
                terms["retain"] = objective.retain(retain)
                total = total + objective.retain_weight * terms["retain"]
            if self.loss.gate_loss_weight > 0:
                terms["gate"] = gate_loss(cast(Tensor, forget_gate_logits), cast(Tensor, retain_gate_logits))
        total = self._warmup() * total
        if "gate" in terms:
            total = total + self.loss.gate_loss_weight * terms["gate"]
        if constraint.penalty is not None:
            # The Trainer divides each micro-batch's loss by their number, so the penalty counts once in a step.
            terms["overlap"] = constraint.penalty()
            total = total + terms["overlap"]
        self.step_record_ids += inputs["answer"].record_ids
        if inputs["retain"] is not None:
            self.step_record_ids += inputs["retain"].record_ids
        if not torch.isfinite(total):
            ids = ", ".join(self.step_record_ids)
            at = f"step {self.state.global_step + 1} (records {ids}); the step was not taken"
            raise ExpungeError(f"the loss is {total.item()} at {at}{self.cause()}")
        self.terms.append({"loss": total.detach(), **{name: term.detach() for name, term in terms.items()}})
        return (total, {}) if return_outputs else total

    def check_trained(self) -> None:
        """Check what the last step left, which no loss has judged: weights, moments, and the scores of a record of each set.

        Raises:
            ExpungeError: one of them is not finite.
        """
        consequence = "the edit was not saved"
        self.check_finite_state(consequence)
        records = cast(PairCollator, self.data_collator).records
        rows, ids = [*records.forget[:1], *records.retain[:1]], (*records.forget_ids[:1], *records.retain_ids[:1])
        batch = collate(rows, cast(PairCollator, self.data_collator).pad, ids).to(self.args.device)
        model = cast(nn.Module, self.model_wrapped)
        with torch.no_grad(), self.accelerator.autocast():
            nll = score(model, batch).nll
            logits = gate_logits(model, REQUEST)
        reshard(model)
        named = [(f"the loss of record {name}", value) for name, value in zip(ids, nll, strict=True)]
        named += (
            [] if logits is None else [(f"the gate's logit of record {name}", value) for name, value in zip(ids, logits.T, strict=True)]
        )
        check_finite(named, f"after the last step, {self.state.global_step}; {consequence}; {LOWER_LR}")

    def cause(self) -> str:
        """Return the end of the sentence of a failed step: which weight the steps before have broken, and what to do."""
        if not self.state.global_step:
            return "; check the base model's weights and the objective's settings"
        broken = next((name for name, parameter in self._edited().items() if not is_finite(parameter)), None)
        reason = "" if broken is None else f", because {broken} is not finite since step {self.state.global_step}"
        return f"{reason}; {LOWER_LR}"

    def _evaluation_mode(self, model: nn.Module) -> None:
        """Train in evaluation mode (no dropout), because forgetting is measured on the model in evaluation mode."""
        model.eval()
        if self.args.gradient_checkpointing:
            for module in model.modules():
                if isinstance(module, GradientCheckpointingLayer):
                    # Only a layer in training mode uses checkpointing; the modules inside it stay in evaluation mode.
                    module.training = True

    def _forget_scores(self, model: nn.Module, inputs: dict) -> tuple[Scores, Tensor | None]:
        """Return the scores of the forget records, and the gate logits of their prompts, which the next forward pass replaces."""
        objective, device = self.loss.objective, self.args.device
        scores = self._score(model, inputs[objective.answer], **self._outputs(objective.forget_fields))
        forget_gate_logits = gate_logits(model, REQUEST)
        more: dict[str, Any] = {}
        if self._forget_reference is not None:
            more["reference_nll"] = self._forget_reference[inputs["index"]].to(device)
        if self._alternative_reference is not None:
            more["alternative_reference_nll"] = self._alternative_reference[inputs["index"]].to(device)
        if "alternative_nll" in objective.forget_fields:
            alternative = self._score(model, inputs["alternative"])
            more |= {"alternative_nll": alternative.nll, "alternative_tokens": alternative.tokens}
        if "distinctive" in objective.forget_fields:
            more["distinctive"] = inputs["distinctive"].to(device)
        return replace(scores, **more), forget_gate_logits

    def _score(self, model: nn.Module, batch: Batch, **outputs: Any) -> Scores:
        return score(model, batch.to(self.args.device), prefix=self._prefix(batch), **outputs)

    def _retain_scores(self, model: nn.Module, inputs: dict) -> tuple[Scores, Tensor | None]:
        """Return the scores of the retain records, with those of the reference if the retain term needs them, and the gate logits."""
        batch, fields = inputs["retain"].to(self.args.device), self.loss.objective.retain_fields
        prefix = self._prefix(inputs["retain"])
        with self.loss.constraint.retain_context():
            scores = score(model, batch, prefix=prefix, **self._outputs(fields))
        retain_gate_logits = gate_logits(model, REQUEST)
        compared = tuple(field.removeprefix("reference_") for field in fields if field.startswith("reference_"))
        if not compared or not self.loss.objective.retain_weight:
            return scores, retain_gate_logits
        reference = cast(Reference, self.reference).score(batch, prefix=prefix, **self._outputs(compared))
        more: dict[str, Any] = {f"reference_{field}": getattr(reference, field) for field in compared}
        return replace(scores, **more), retain_gate_logits

    def _outputs(self, fields: tuple[str, ...]) -> dict[str, Any]:
        return {"logits": "logits" in fields, "hidden": self.loss.blocks if "hidden" in fields else ()}

    def _warmup(self) -> float:
        steps = self.loss.gate_warmup * self.state.max_steps
        return 1.0 if steps < 1 else min(1.0, self.state.global_step / steps)

    def floating_point_ops(self, inputs: dict) -> int:
        """Return 0, because the estimate of `Trainer` fits neither paired batches nor frozen blocks."""
        return 0


class _Passthrough(torch.utils.data.Dataset[Pair]):
    """Returns the sampler's items unchanged, since the collator works on indices."""

    def __getitem__(self, index: Pair) -> Pair:
        return index
