"""The penalty of a loss constraint: added once in a step for any number of micro-batches and any dtype of the forward pass."""

import json

import pytest
import torch
from rich.progress import Progress

from expunge.edits.apply import apply_edit
from expunge.edits.requests import add_request
from expunge.edits.save import save_edit
from expunge.errors import ExpungeError
from expunge.models.identity import ModelIdentity, weights_sha256
from expunge.models.loading import load
from expunge.reveal_release.release.orthogonality import overlap
from expunge.training.loss import LossConstraint
from expunge.training.train import train

LORA = {"name": "lora"}


def penalised(training, weight: float = 0.05, seed: int = 1):
    """Train with the overlap of A with fixed random rows as penalty; return the trained parameters and the log."""
    trained = {name: p for name, p in training.model.named_parameters() if p.requires_grad and ".lora_A." in name}
    generator = torch.Generator().manual_seed(seed)
    fixed = {name: torch.randn(3, p.shape[1], generator=generator) for name, p in trained.items()}
    with Progress(disable=True) as progress:
        train(
            training.model,
            training.recipe,
            training.records,
            training.folder,
            training.pad,
            progress,
            constraint=LossConstraint(lambda: weight * overlap(fixed, trained, "frobenius")),
        )
    log = [json.loads(line) for line in (training.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {name: p.detach() for name, p in training.model.named_parameters() if p.requires_grad}, log


def gradients(model) -> dict[str, torch.Tensor]:
    """Return a dictionary that the next step fills with its gradients."""
    collected = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p, name=name: collected.__setitem__(name, p.grad.clone()))
    return collected


@pytest.mark.parametrize("accumulation", [2, 4])
def test_a_step_adds_the_penalty_once_for_any_number_of_micro_batches(make_training, accumulation):
    runs = []
    for micro, folder in ((4, "whole"), (4 // accumulation, "cut")):
        training = make_training("learn", LORA, folder=folder, batch_size=4, micro_batch_size=micro, epochs=1, lr=1e-2)
        found = gradients(training.model)
        parameters, log = penalised(training)
        runs.append((found, parameters, log))
    (whole_gradients, whole, whole_log), (cut_gradients, cut, cut_log) = runs
    assert len(whole_log) == 2
    for name, gradient in whole_gradients.items():
        torch.testing.assert_close(cut_gradients[name], gradient, rtol=1e-5, atol=1e-6)
    for name, value in whole.items():
        # Adam divides by the size of the gradient, so a gradient that is mere rounding gets a random direction.
        torch.testing.assert_close(cut[name], value, rtol=1e-5, atol=1e-5)
    for one, other in zip(whole_log, cut_log, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_the_penalty_is_in_the_loss_and_in_the_log(make_training):
    _, log = penalised(make_training("npo", LORA, micro_batch_size=2))
    assert log[0]["overlap"] > 0.1
    assert log[0]["loss"] == pytest.approx(log[0]["forget"] + log[0]["retain"] + log[0]["overlap"], rel=1e-5)


def test_without_a_penalty_the_log_has_no_such_term(make_training):
    training = make_training("learn", LORA)
    training.run()
    assert "overlap" not in (training.folder / "metrics.jsonl").read_text()


def test_the_gradient_of_the_penalty_is_correct(make_training):
    # Before the first step B is 0, so the answers give A no gradient: all of it comes from the penalty.
    training = make_training("learn", LORA, micro_batch_size=1, epochs=1, batch_size=6)
    before = {name: p.detach().clone().requires_grad_() for name, p in training.model.named_parameters() if ".lora_A." in name}
    found = gradients(training.model)
    training.recipe = training.recipe.model_copy(update={"training": training.recipe.training.model_copy(update={"max_grad_norm": 1e9})})
    penalised(training, weight=0.05)
    generator = torch.Generator().manual_seed(1)
    fixed = {name: torch.randn(3, p.shape[1], generator=generator) for name, p in before.items()}
    (0.05 * overlap(fixed, before, "frobenius")).backward()
    for name, parameter in before.items():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-6)


def test_the_penalty_is_in_fp32_under_bf16_autocast(make_training):
    # The penalty of the first step depends on the initial parameters only, not on the dtype of the forward pass.
    logs = [penalised(make_training("learn", LORA, folder=dtype, dtype=dtype))[1] for dtype in ("fp32", "bf16")]
    assert logs[0][0]["overlap"] == logs[1][0]["overlap"]
    assert logs[0][0]["forget"] != logs[1][0]["forget"]


def test_the_penalty_falls_while_the_answers_are_learnt(make_training):
    _, log = penalised(make_training("learn", LORA, epochs=20, lr=1e-2))
    assert log[-1]["overlap"] < log[0]["overlap"] / 10
    assert log[-1]["forget"] < log[0]["forget"]


def test_a_penalty_that_is_not_finite_stops_the_training(make_training):
    with pytest.raises(ExpungeError, match="the loss is inf at step 1"):
        penalised(make_training("learn", LORA), weight=float("inf"))


class Interrupted(Progress):
    """A display that raises when the bar reaches the third step."""

    def update(self, task_id, **kwargs):
        super().update(task_id, **kwargs)
        if kwargs.get("completed") == 3:
            raise KeyboardInterrupt


def test_a_training_with_an_earlier_request_resumes(make_training, make_tiny_model, tmp_path):
    # The Trainer of transformers would activate only the earlier request after it loads the checkpoint.
    edit = {"name": "reft", "blocks": [1]}
    earlier = make_training("npo", edit, folder="earlier", lr=1e-2)
    save_edit(earlier.run(), tmp_path / "first", ModelIdentity(*"wctmg"))

    def second(folder: str):
        training = make_training("npo", edit, folder=folder, epochs=3, save_steps=2, lr=1e-2, prefix_cache="off")
        model, _ = load(make_tiny_model())
        sha256 = weights_sha256(model)
        torch.manual_seed(0)
        training.model = apply_edit(add_request(model, tmp_path / "first", "request1"), training.recipe.edit, sha256)
        return training

    whole = second("whole").run()
    with pytest.raises(KeyboardInterrupt):
        second("broken").run(Interrupted(disable=True))
    again = second("broken").run()
    assert again.active_adapters == whole.active_adapters == ["request1", "default"]
    for (name, one), (_, other) in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), name
        assert one.requires_grad == other.requires_grad == (".default." in f"{name}.")
