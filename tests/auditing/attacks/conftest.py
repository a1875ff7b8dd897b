"""Tiny models under attack (plain, with LoRA, with a gated edit), and the state that no attack may change."""

import hashlib
from collections.abc import Callable

import pytest
import torch
from peft import PeftModel
from torch import nn

from expunge.auditing.attacks import Attack, Target
from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import Record, read_records
from expunge.edits.apply import apply_edit
from expunge.models.loading import load
from expunge.models.scoring import score
from expunge.objectives import Learn


def state(model: nn.Module) -> dict[str, object]:
    """Return everything in which an attack could leave a trace: weights, what is trainable, modules, hooks and adapters."""
    found: dict[str, object] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest = hashlib.sha256(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()).hexdigest()
        found[name] = (digest, tensor.requires_grad, tensor.grad, id(tensor))
    for name, module in model.named_modules():
        found[f"module {name}"] = (type(module), module.training, len(module._forward_hooks), len(module._forward_pre_hooks))
    found["order"] = [name for name, _ in model.named_parameters()]
    found["active"] = list(model.active_adapters) if isinstance(model, PeftModel) else None
    found["random"] = hashlib.sha256(torch.get_rng_state().numpy()).hexdigest()
    return found


@pytest.fixture
def learn() -> Callable[..., None]:
    """Train the trainable parameters of a model on records' answers: `learn(target, records, steps=40)`."""

    def train(target: Target, records: list[Record], steps: int = 40) -> None:
        optimiser = torch.optim.AdamW([p for p in target.model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
        batch = collate([target.builder.record(record) for record in records], target.builder.pad)
        for _ in range(steps):
            optimiser.zero_grad()
            Learn().forget(score(target.model, batch)).backward()
            optimiser.step()
        target.model.zero_grad()

    return train


@pytest.fixture
def make_target(make_tiny_model, tiny_data) -> Callable[..., Target]:
    """A tiny model and the six forget and ten retain records: `make_target(edit=None, architecture="llama", **others)`."""

    def make(edit: str | None = None, architecture: str = "llama", **others) -> Target:
        model, tokenizer = load(make_tiny_model(architecture))
        builder = PromptBuilder(tokenizer)
        forget, retain = map(read_records, tiny_data)
        if edit is not None:
            torch.manual_seed(1)
            model = apply_edit(model, EditSection.model_validate({"name": edit}), "").eval()
            for name, parameter in model.named_parameters():
                # A fresh edit changes nothing.
                if parameter.requires_grad and "grun_rotate" not in name:
                    nn.init.normal_(parameter, std=0.1)
        given = {"forget": forget, "retain": retain, "seed": 3, "batch_size": 4, "max_new_tokens": 24}
        return Target(model=model, builder=builder, **{**given, **others})

    return make


@pytest.fixture
def attack_rows() -> Callable[[Attack, Target], list[dict]]:
    """Run an attack: it must report as many steps as it announced, and leave the model unchanged."""

    def run(attack: Attack, target: Target) -> list[dict]:
        before, heard, rows = state(target.model), [], []
        for row in attack.run(target, heard.append):
            assert 0.0 <= row["value"] <= 1.0
            if not rows:
                assert state(target.model) == before
            rows.append(row)
        assert state(target.model) == before
        assert sum(heard) == attack.steps(target)
        return rows

    return run
