"""On a simulated GPU no tensor is left in main memory where it meets one of the model, and the numbers are those of a CPU."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from expunge.config import EditSection
from expunge.data.prompts import Batch, Encoded, PromptBuilder, collate
from expunge.data.records import Turn
from expunge.edits.apply import apply_edit
from expunge.models.generation import generate, nucleus_sampler
from expunge.models.hidden_states import prompt_states
from expunge.models.loading import load
from expunge.models.placement import Placement, placement_of
from expunge.models.scoring import score
from simulated_device import DEVICE, NoFloat64, SimulatedDevice, TwoDevices

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(make_tiny_model) -> Iterator[tuple[nn.Module, nn.Module, PromptBuilder]]:
    """The same tiny model with a gated edit, in main memory and on the simulated device."""
    with SimulatedDevice():
        made = []
        for device in (CPU, DEVICE):
            model, tokenizer = load(make_tiny_model(), Placement(device, torch.float32))
            # The edit is drawn on its device; the same numbers are copied to both models below.
            made.append(apply_edit(model, EditSection(name="grun", rank=2), ""))
        made[1].load_state_dict(made[0].state_dict())
        yield made[0].eval(), made[1].eval(), PromptBuilder(tokenizer)


@pytest.fixture(scope="module")
def prompts(models) -> list[tuple[int, ...]]:
    return [models[2].prompt((Turn("user", text),)) for text in ("Where does Ana live?", "Who wrote the first book about birds?")]


def test_the_model_and_its_edit_are_on_the_device(models):
    assert placement_of(models[1]).device == DEVICE
    assert {parameter.device for parameter in models[1].parameters()} == {DEVICE}


def test_scores_and_their_gradients(models, prompts):
    batch = collate([Encoded(prompt, prompt[:3]) for prompt in prompts], models[2].pad)
    here, there = (score(model, batch.to(placement_of(model).device)) for model in models[:2])
    there.nll.sum().backward()
    here.nll.sum().backward()
    assert there.nll.tolist() == pytest.approx(here.nll.tolist(), rel=1e-4)
    for (name, one), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("top_p", [None, 1.0, 0.9], ids=["greedy", "sampled", "nucleus"])
def test_answers(models, prompts, top_p):
    more = [{} if top_p is None else {"sampler": nucleus_sampler(0, top_p=top_p)} for _ in range(2)]
    here, there = (generate(model, models[2], prompts, 6, **given) for model, given in zip(models[:2], more, strict=True))
    assert there == here


def test_hidden_states(models, prompts):
    here, there = (prompt_states(model, prompts, [1, 2], models[2].pad) for model in models[:2])
    for block, states in here.items():
        for one, other in zip(states, there[block], strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_an_edits_gate_that_is_left_in_main_memory_is_caught(models, prompts):
    gate = next(module for name, module in models[1].named_modules() if name.endswith("grun_gate"))
    gate.to(CPU)
    try:
        with pytest.raises(TwoDevices, match="some in main memory"):
            generate(models[1], models[2], prompts, 2)
    finally:
        gate.to(DEVICE)


def test_float64_on_the_device_is_caught(models):
    weight = next(models[1].parameters())
    with pytest.raises(NoFloat64):
        weight.double().cpu()
    assert weight.cpu().double().dtype == torch.float64


def test_a_batch_that_is_left_in_main_memory_is_caught(models, prompts, monkeypatch):
    monkeypatch.setattr(Batch, "to", lambda batch, device: batch)
    with pytest.raises(TwoDevices, match="some in main memory"):
        generate(models[1], models[2], prompts, 2)
