"""A penalty on the parameters: a step sees it once, however it is cut up, and in whatever the forward pass computes."""

import json

import pytest
import torch
from rich.progress import Progress

from expunge.edits.apply import apply_edit
from expunge.edits.requests import add_request
from expunge.edits.save import save_edit
from expunge.errors import ExpungeError
from expunge.models.loading import load, weights_sha256
from expunge.reveal_release.release.orthogonality import overlap
from expunge.training.loss import LossConstraint
from expunge.training.train import train

LORA = {"name": "lora"}


def penalised(training, weight: float = 0.05, seed: int = 1):
    """Train with the overlap of A with fixed random rows as penalty; gives trained parameters and the log."""
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
    """Fills with the gradients of the step to come, whatever the optimiser makes of them."""
    kept = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p, name=name: kept.__setitem__(name, p.grad.clone()))
    return kept


@pytest.mark.parametrize("accumulation", [2, 4])
def test_a_step_sees_it_once_whatever_the_number_of_micro_batches(make_training, accumulation):
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
        # Adam divides by the gradient's own size: where that is all rounding, so is the direction
        torch.testing.assert_close(cut[name], value, rtol=1e-5, atol=1e-5)
    for one, other in zip(whole_log, cut_log, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_it_is_part_of_the_loss_and_of_the_log(make_training):
    _, log = penalised(make_training("npo", LORA, micro_batch_size=2))
    assert log[0]["overlap"] > 0.1
    assert log[0]["loss"] == pytest.approx(log[0]["forget"] + log[0]["retain"] + log[0]["overlap"], rel=1e-5)


def test_without_one_there_is_no_part_of_that_name(make_training):
    training = make_training("learn", LORA)
    training.run()
    assert "overlap" not in (training.folder / "metrics.jsonl").read_text()


def test_its_gradient_is_its_own(make_training):
    # Before the first step B is 0, so that the answers' gradient of A is 0: what A gets is the penalty's alone
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


def test_bf16_autocast_leaves_it_in_fp32(make_training):
    # The first step's penalty is of the parameters as drawn: the same number, whatever the forward pass computes in
    logs = [penalised(make_training("learn", LORA, folder=dtype, dtype=dtype))[1] for dtype in ("fp32", "bf16")]
    assert logs[0][0]["overlap"] == logs[1][0]["overlap"]
    assert logs[0][0]["forget"] != logs[1][0]["forget"]


def test_it_falls_while_the_answers_are_learnt(make_training):
    _, log = penalised(make_training("learn", LORA, epochs=20, lr=1e-2))
    assert log[-1]["overlap"] < log[0]["overlap"] / 10
    assert log[-1]["forget"] < log[0]["forget"]


def test_one_that_is_not_finite_stops_the_training(make_training):
    with pytest.raises(ExpungeError, match="the loss is inf at step 1"):
        penalised(make_training("learn", LORA), weight=float("inf"))


class Interrupted(Progress):
    """A display that is interrupted when the bar comes to the third step."""

    def update(self, task_id, **kwargs):
        super().update(task_id, **kwargs)
        if kwargs.get("completed") == 3:
            raise KeyboardInterrupt


def test_a_training_beside_another_request_goes_on_where_it_was(make_training, make_tiny_model, tmp_path):
    # The Trainer of transformers, which loads the checkpoint, would leave the earlier request alone on
    edit = {"name": "reft", "blocks": [1]}
    earlier = make_training("npo", edit, folder="earlier", lr=1e-2)
    save_edit(earlier.run(), tmp_path / "first", "of any")

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
