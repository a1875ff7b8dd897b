"""Train a LoRA module on a frozen model, with a penalty on what it shares with a retain module (arXiv 2509.14624)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from expunge.config import DataSection, EditSection, ModuleSection, OverlapSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.edits.lora import check_module, module_config
from expunge.edits.manifest import find_damage, write_manifest
from expunge.errors import Damaged, InputError
from expunge.files import atomic_folder, remove_file, write_text
from expunge.objectives import Learn
from expunge.reveal_release.release.adapter import Adapter, divided_logits, temporary_adapter
from expunge.reveal_release.release.lora_delta import LoraModule, check_fits, read_module, save_module
from expunge.reveal_release.release.orthogonality import overlap
from expunge.training.checkpoints import delete_checkpoints
from expunge.training.inputs import encode_records
from expunge.training.loss import LossConstraint
from expunge.training.train import train


@dataclass(frozen=True)
class ModuleTraining:
    """What a LoRA module is trained on, and how.

    Attributes:
        records: whose answers it learns.
        folder: where the module is saved, with the log of its training; PEFT can load it.
        settings: of the module and its training.
        seed: draws its first factors and the order of the records.
        title: of the progress bar.
        card: text of the README.md beside the module; empty: no such file.
    """

    records: Sequence[Record]
    folder: Path
    settings: ModuleSection
    seed: int
    title: str
    card: str = ""


@dataclass(frozen=True)
class RetainConstraint:
    """Constraints that protect retained answers while a forget module is trained.

    Attributes:
        module: folder of a retain module; with none there is no overlap penalty, and nothing to activate.
        overlap: the penalty on subspaces that both modules share; none: no penalty.
        active: whether the retain module is active while the forget module is trained, as earlier modules are in O-LoRA.
        records: retain records for the KL term.
        kl_weight: weight of the KL divergence (ours) between the model without the module and the model from which it is subtracted.
        kl_lambda: how many times it is subtracted there.
    """

    module: Path | None = None
    overlap: OverlapSection | None = None
    active: bool = False
    records: Sequence[Record] = ()
    kl_weight: float = 0.0
    kl_lambda: float = 1.0


UNCONSTRAINED = RetainConstraint()


def train_module(
    model: nn.Module, builder: PromptBuilder, training: ModuleTraining, display: Display, constraint: RetainConstraint = UNCONSTRAINED
) -> None:
    """Train a LoRA module on the answers of records by cross-entropy, and save it; the model itself does not change.

    After an interruption the same call resumes from the last checkpoint. After completion it returns at once.

    Args:
        model: without adapters. Which parameters require gradients, and whether it is in training mode, do not change.
        builder: of its tokenizer.
        training: what to train on, and how.
        display: where progress goes.
        constraint: protects retained answers while a forget module is trained.

    Raises:
        InputError: there are no records, no layer matches, the retain module is of another model, or this model has adapters.
        Damaged: the module was trained before, and its folder is not as it was written.
        ExpungeError: the training failed.
    """
    if _is_trained(training.folder):
        return
    if not training.records:
        raise InputError(f"{training.title}: there are no records to train on")
    check_module(model, training.settings)
    retain = None if constraint.module is None else read_module(constraint.module)
    if retain is not None:
        check_fits(model, retain)
    _train(model, builder, training, display, constraint, retain)


def _is_trained(folder: Path) -> bool:
    if not folder.exists():
        return False
    if (damage := find_damage(folder)) is not None:
        raise Damaged(f"{folder}: {damage}; remove the folder to train it again")
    return True


def _train(
    model: nn.Module,
    builder: PromptBuilder,
    training: ModuleTraining,
    display: Display,
    constraint: RetainConstraint,
    retain: LoraModule | None,
) -> None:
    config, recipe = module_config(model, training.settings), _recipe(training, constraint.kl_weight)
    rows = encode_records(builder, list(training.records), list(constraint.records), recipe.objective)
    # A resumed process must draw the same first factors.
    torch.manual_seed(training.seed)
    with atomic_folder(training.folder, resume=True) as folder:
        with (
            temporary_adapter(model, config, constraint.module if constraint.active else None) as adapter,
            divided_logits(model, training.settings.temperature),
            display.progress() as progress,
        ):
            penalty = _overlap_penalty(adapter, retain, constraint.overlap)
            subtracted = partial(adapter.subtracted, constraint.kl_lambda)
            train(adapter.model, recipe, rows, folder, builder.pad, progress, training.title, LossConstraint(penalty, subtracted))
            # The library writes to such a name first. A kill leaves it, and the folder is used again.
            for path in folder.glob(".tmp*"):
                remove_file(path)
            save_module(adapter.as_module(), folder)
        if training.card:
            write_text(folder / "README.md", training.card)
        delete_checkpoints(folder)
        write_manifest(folder)


def _recipe(training: ModuleTraining, kl_weight: float) -> Recipe:
    names = ("epochs", "lr", "batch_size", "micro_batch_size", "dtype", "save_steps")
    section = TrainingSection(**{name: getattr(training.settings, name) for name in names}, seed=training.seed)
    objective = Learn(retain_weight=kl_weight, retain_loss="kl")
    return Recipe(data=DataSection(forget=training.title), objective=objective, edit=EditSection(name="lora"), training=section)


def _overlap_penalty(adapter: Adapter, retain: LoraModule | None, settings: OverlapSection | None) -> Callable[[], Tensor] | None:
    if retain is None or settings is None or settings.kind == "none" or not settings.weight:
        return None
    kind = settings.kind
    retain_a = {name: a for name, (a, _) in retain.factors.items()}
    retain_b = {name: b.T for name, (_, b) in retain.factors.items()}

    def penalty() -> Tensor:
        total = overlap(retain_a, {name: adapter.factor(name, "A") for name in adapter.weights}, kind)
        if settings.include_b:
            total = total + overlap(retain_b, {name: adapter.factor(name, "B").T for name in adapter.weights}, kind)
        return settings.weight * total

    return penalty
