"""Train one PEM on a frozen model with the project's own trainer, apart from the retain PEM if that is wanted (arXiv 2509.14624)."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from expunge.config import DataSection, EditSection, ModuleSection, OverlapSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.edits.lora import check_module, module_config
from expunge.edits.requests import REQUEST, switch_on
from expunge.errors import ExpungeError, InputError
from expunge.files import atomic_folder
from expunge.models.parameters import restored_requires_grad
from expunge.objectives import Learn
from expunge.reveal_release.release.lora_delta import PREFIX, LoraModule, check_fits, read_module, save_module
from expunge.reveal_release.release.orthogonality import overlap as overlap_of
from expunge.training.checkpoints import fault, write_manifest
from expunge.training.inputs import encode_rows
from expunge.training.train import drop_checkpoints, train

RETAIN = "retain"


def train_module(
    model: nn.Module,
    builder: PromptBuilder,
    records: list[Record],
    folder: Path,
    settings: ModuleSection,
    seed: int,
    display: Display,
    title: str,
    beside: Path | None = None,
    overlap: OverlapSection | None = None,
    active: bool = False,
    kept: Sequence[Record] = (),
    keep: float = 0.0,
    keep_at: float = 1.0,
) -> None:
    """Train a LoRA on the answers of records by cross-entropy, plus the overlap penalty; the model itself comes back as it was.

    With `keep` there is a third term (ours), of the model from which the module is subtracted: its KL divergence, on records to be kept,
    from the model without the module.

    The same call after an interruption goes on where it was, after completion returns at once: a folder is of one training only.

    Args:
        model: without adapters; what of it is trainable, and whether it is in training mode, is the same afterwards.
        builder: of its tokenizer.
        records: to learn.
        folder: of the PEM: what `read_module` and PEFT read, with the log of its training; while training its name ends in `.part`.
        settings: of the PEM.
        seed: of its first factors and of the order of the rows.
        display: where progress goes.
        title: of the bar.
        beside: folder of the retain PEM, which stays as it is; without one there is no penalty and nothing to be active.
        overlap: the penalty on what the new PEM shares with the retain PEM.
        active: whether the retain PEM is on while the new one is trained, as those of earlier tasks are in O-LoRA.
        kept: records on which its negation is to change nothing.
        keep: weight of that.
        keep_at: how many times the module is subtracted there.

    Raises:
        InputError: there are no records or no linear layers of that name, the retain PEM is of another model, or this one has adapters.
        ExpungeError: the training failed, or the folder is damaged.
    """
    if folder.exists():
        if (wrong := fault(folder)) is not None:
            raise ExpungeError(f"{folder}: {wrong}; remove the folder to train it again")
        # A call that was stopped before its last line left them.
        drop_checkpoints(folder)
        return
    if not records:
        raise InputError(f"{title}: there are no records to train on")
    check_module(model, settings)
    retain = None if beside is None else read_module(beside)
    if retain is not None:
        check_fits(model, retain)
    config, recipe = module_config(model, settings), _recipe(settings, keep, seed, title)
    rows = encode_rows(builder, records, list(kept), recipe.objective)
    # It starts from the same numbers in every process that is asked for it.
    torch.manual_seed(seed)
    with atomic_folder(folder, resume=True) as work:
        with (
            _adapted(model, config, beside if active else None) as adapted,
            _softened(model, settings.temperature),
            display.progress() as progress,
        ):
            names = _weights(adapted)
            penalty = _penalty(adapted, names, retain, overlap)
            train(adapted, recipe, rows, work, builder.pad, progress, title, penalty, partial(_subtracted, adapted, keep_at))
            save_module(_trained(adapted, names), work)
        write_manifest(work)
    drop_checkpoints(folder)


def _recipe(settings: ModuleSection, keep: float, seed: int, title: str) -> Recipe:
    same = ("epochs", "lr", "batch_size", "micro_batch_size", "dtype", "save_steps")
    training = TrainingSection(**{name: getattr(settings, name) for name in same}, seed=seed)
    objective = Learn(retain_weight=keep, retain_loss="kl")
    return Recipe(data=DataSection(forget=title), objective=objective, edit=EditSection(name="lora"), training=training)


@contextmanager
def _adapted(model: nn.Module, config: LoraConfig, beside: Path | None) -> Iterator[PeftModel]:
    """The model with a fresh adapter, and with the frozen one beside it; afterwards neither it nor its parameters show a trace."""
    training = model.training
    with restored_requires_grad(model):
        adapted = get_peft_model(model, config, adapter_name=REQUEST)
        try:
            if beside is not None:
                adapted.load_adapter(str(beside), RETAIN)
                switch_on(adapted, [REQUEST, RETAIN], trained=REQUEST)
            yield adapted
        finally:
            adapted.unload()
            model.train(training)


@contextmanager
def _softened(model: nn.Module, temperature: float) -> Iterator[None]:
    """Within this context the model's logits are divided by a temperature."""

    def divide(_module: nn.Module, _args: tuple, output: ModelOutput) -> ModelOutput:
        # Not at the head, which scoring runs by itself.
        output["last_hidden_state"] = output["last_hidden_state"] / temperature
        return output

    handle = cast(PreTrainedModel, model).base_model.register_forward_hook(divide)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _subtracted(adapted: PeftModel, times: float) -> Iterator[None]:
    """Within this context the trained adapter is subtracted so many times, instead of added."""
    layers = [module for module in adapted.modules() if isinstance(module, LoraLayer) and REQUEST in module.scaling]
    added = [layer.scaling[REQUEST] for layer in layers]
    try:
        for layer, scale in zip(layers, added, strict=True):
            layer.scaling[REQUEST] = -times * scale
        yield
    finally:
        for layer, scale in zip(layers, added, strict=True):
            layer.scaling[REQUEST] = scale


def _weights(adapted: PeftModel) -> list[str]:
    """Names, in the base model, of the weights that the trained adapter changes."""
    end = f".lora_A.{REQUEST}.weight"
    found = [name for name, _ in adapted.named_parameters() if name.endswith(end)]
    return [f"{name.removeprefix(PREFIX).removesuffix(end)}.weight" for name in found]


def _factor(adapted: PeftModel, weight: str, half: str) -> nn.Parameter:
    return adapted.get_parameter(f"{PREFIX}{weight.removesuffix('.weight')}.lora_{half}.{REQUEST}.weight")


def _penalty(
    adapted: PeftModel, names: list[str], retain: LoraModule | None, overlap: OverlapSection | None
) -> Callable[[], Tensor] | None:
    if retain is None or overlap is None or overlap.kind == "none" or not overlap.weight:
        return None
    kind = overlap.kind
    rows = {name: a for name, (a, _) in retain.factors.items()}
    columns = {name: b.T for name, (_, b) in retain.factors.items()}

    def penalty() -> Tensor:
        total = overlap_of(rows, {name: _factor(adapted, name, "A") for name in names}, kind)
        if overlap.include_b:
            total = total + overlap_of(columns, {name: _factor(adapted, name, "B").T for name in names}, kind)
        return overlap.weight * total

    return penalty


def _trained(adapted: PeftModel, names: list[str]) -> LoraModule:
    config = cast(LoraConfig, adapted.peft_config[REQUEST])
    scale = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    factors = {name: (_factor(adapted, name, "A").detach(), _factor(adapted, name, "B").detach()) for name in names}
    return LoraModule(factors, dict.fromkeys(names, scale), config.fan_in_fan_out)
