"""The one trainer: forget and retain batches scored, the objective's terms and the gate's added up, every part logged."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import Trainer, TrainingArguments

from expunge.data.batches import PairLoader, PairSampler, Plan
from expunge.data.prompts import Encoded
from expunge.edits import gate_logits
from expunge.errors import ExpungeError
from expunge.models.scores import Scores
from expunge.models.scoring import score
from expunge.objectives import Objective
from expunge.training.checkpoints import write_manifest
from expunge.training.inputs import PairCollator
from expunge.training.reference import Reference, answer_nll


@dataclass(frozen=True)
class Loss:
    """What is minimised besides the objective's own weights.

    Attributes:
        objective: forget and retain terms with their weights.
        gate_weight: lambda_g of the gate's cross-entropy; 0 where the edit has no gate or it is trained already.
        gate_warmup: share of the steps over which w(t) of the objective's terms rises from 0 to 1.
        blocks: blocks whose hidden states are read, for objectives that want them.
    """

    objective: Objective
    gate_weight: float = 0.0
    gate_warmup: float = 0.0
    blocks: tuple[int, ...] = ()

    @property
    def scores_retain(self) -> bool:
        """Whether a step looks at retain rows at all."""
        return self.objective.retain_weight > 0 or self.gate_weight > 0


class UnlearnTrainer(Trainer):
    """`transformers.Trainer` over paired batches; scales as it does, by `accelerate launch`.

    Loss = w(t) (gamma forget + alpha retain) + lambda_g gate (GRUN, arXiv 2502.17823, sec. 3).
    """

    def __init__(
        self, model: nn.Module, args: TrainingArguments, loss: Loss, plan: Plan, collator: PairCollator, weights_change: bool, **kwargs
    ):
        self.loss = loss
        self.plan = plan
        # Of the optimiser step under way: the parts of each micro-batch's loss, and the rows it has seen.
        self.parts: list[dict[str, Tensor]] = []
        self.step_rows: list[str] = []
        # Forgetting is judged on the model as it is served, so nothing is dropped at random while it is trained.
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        super().__init__(model=model, args=args, data_collator=collator, train_dataset=range(len(plan.forget_lengths)), **kwargs)
        # The terms are means over a micro-batch: the Trainer itself must divide by the number of micro-batches.
        self.loss_is_scaled_for_ga = False
        objective = loss.objective
        retain_reference = objective.retain_weight > 0 and any(part.startswith("reference_") for part in objective.retain_parts)
        copies = weights_change and retain_reference
        self.reference = Reference(model, copies) if copies or not weights_change else None
        self._forget_reference = self._reference_nll("reference_nll", collator.rows.forget)
        instead = [Encoded(row.prompt, collator.alternative(0, i)) for i, row in enumerate(collator.rows.forget)]
        self._alternative_reference = self._reference_nll("alternative_reference_nll", instead)

    def _reference_nll(self, part: str, rows: list[Encoded]) -> Tensor | None:
        if part not in self.loss.objective.parts:
            return None
        # Before the first step the model with its edit on may already differ (ReFT starts with an effect), except for `full`.
        scorer = self.reference.score if self.reference else torch.no_grad()(lambda batch: score(self.model, batch))
        with self.compute_loss_context_manager():
            return answer_nll(lambda batch: scorer(batch.to(self.args.device)), rows, self.data_collator.pad, self.plan.batch_size)

    def get_train_dataloader(self) -> PairLoader:
        """This rank's micro-batches."""
        sampler = PairSampler(self.plan, self.args.process_index)
        return PairLoader(_Passthrough(), batch_sampler=sampler, collate_fn=self.data_collator)

    def compute_loss(self, model: nn.Module, inputs: dict, return_outputs: bool = False, num_items_in_batch: Tensor | int | None = None):
        """Total loss of a micro-batch; its parts wait in `parts` for the step's log line."""
        objective, gates = self.loss.objective, self.loss.gate_weight > 0
        forget, forget_gates = self._forget_scores(model, inputs)
        parts = {"forget": objective.forget(forget)}
        total = objective.forget_weight * parts["forget"]
        if inputs["retain"] is not None and self.loss.scores_retain:
            retain, retain_gates = self._retain_scores(model, inputs)
            if objective.retain_weight:
                parts["retain"] = objective.retain(retain)
                total = total + objective.retain_weight * parts["retain"]
            if gates:
                parts["gate"] = gate_loss(forget_gates, retain_gates)
        total = self._warmup() * total
        if "gate" in parts:
            total = total + self.loss.gate_weight * parts["gate"]
        self.step_rows += inputs["answer"].row_ids
        if inputs["retain"] is not None:
            self.step_rows += inputs["retain"].row_ids
        if not torch.isfinite(total):
            rows = ", ".join(self.step_rows)
            raise ExpungeError(
                f"the loss is {total.item()} at step {self.state.global_step + 1} (rows {rows}); nothing was saved after step {self._saved()}"
            )
        self.parts.append({"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}})
        return (total, {}) if return_outputs else total

    def _forget_scores(self, model: nn.Module, inputs: dict) -> tuple[Scores, Tensor | None]:
        """Scores of the forget rows, and what the gates said of their prompts (the next forward replaces it)."""
        objective, device = self.loss.objective, self.args.device
        scores = score(model, inputs[objective.answer].to(device), **self._wanted(objective.parts))
        gates = gate_logits(model)
        more = {}
        if self._forget_reference is not None:
            more["reference_nll"] = self._forget_reference[inputs["index"]].to(device)
        if self._alternative_reference is not None:
            more["alternative_reference_nll"] = self._alternative_reference[inputs["index"]].to(device)
            more["alternative_nll"] = score(model, inputs["alternative"].to(device)).nll
        return replace(scores, **more), gates

    def _retain_scores(self, model: nn.Module, inputs: dict) -> tuple[Scores, Tensor | None]:
        """The same of the retain rows, with the reference's scores where the retain term compares."""
        batch, parts = inputs["retain"].to(self.args.device), self.loss.objective.retain_parts
        scores = score(model, batch, **self._wanted(parts))
        gates = gate_logits(model)
        referred = tuple(part.removeprefix("reference_") for part in parts if part.startswith("reference_"))
        if not referred or not self.loss.objective.retain_weight:
            return scores, gates
        reference = self.reference.score(batch, **self._wanted(referred))
        return replace(scores, **{f"reference_{part}": getattr(reference, part) for part in referred}), gates

    def _wanted(self, parts: tuple[str, ...]) -> dict[str, object]:
        return {"logits": "logits" in parts, "hidden": self.loss.blocks if "hidden" in parts else ()}

    def _warmup(self) -> float:
        steps = self.loss.gate_warmup * self.state.max_steps
        return 1.0 if steps < 1 else min(1.0, self.state.global_step / steps)

    def _saved(self) -> int:
        return self.state.global_step // self.args.save_steps * self.args.save_steps

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            write_manifest(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")

    def floating_point_ops(self, inputs: dict) -> int:
        """Not counted: the Trainer's own estimate knows neither paired batches nor frozen blocks."""
        return 0


def gate_loss(forget: Tensor, retain: Tensor) -> Tensor:
    """Binary cross-entropy on logits, mean over gates and examples (GRUN, eq. of L_gate); forget, retain: (gates, batch)."""
    logits = torch.cat([forget, retain], dim=1)
    targets = torch.cat([torch.ones_like(forget), torch.zeros_like(retain)], dim=1)
    return binary_cross_entropy_with_logits(logits, targets)


class _Passthrough(torch.utils.data.Dataset):
    """The sampler's items are already what the collator needs."""

    def __getitem__(self, pair):
        return pair
