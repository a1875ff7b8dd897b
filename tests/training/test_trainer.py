"""The trainer: a step does not depend on its micro-batches, there is no dropout, the loss is the sum of its terms."""

import json

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from expunge.edits import EDITS as TABLE
from expunge.errors import InputError
from expunge.models.blocks import decoder_blocks
from expunge.training.train import default_epochs

EDITS = {
    "full": {"name": "full"},
    "lora": {"name": "lora"},
    "reft": {"name": "reft"},
    "grun": {"name": "grun", "gate_pool": "last"},
    "grun-pooled": {"name": "grun", "gate_pool": "max", "gate_first": False, "positions": "onward"},
}


def logged(training) -> list[dict[str, float]]:
    training.run()
    return [json.loads(line) for line in (training.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same(lines: list[dict[str, float]], others: list[dict[str, float]]) -> None:
    assert [list(line) for line in lines] == [list(line) for line in others]
    for line, other in zip(lines, others, strict=True):
        assert line == pytest.approx(other, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("edit", EDITS)
def test_micro_batches_add_up_to_the_batch(make_training, edit):
    whole = logged(make_training("npo", EDITS[edit], folder="whole", batch_size=6, epochs=2))
    cut = logged(make_training("npo", EDITS[edit], folder="cut", batch_size=6, micro_batch_size=2, epochs=2))
    assert len(whole) == 2
    assert_same(whole, cut)


@pytest.mark.parametrize("objective", ["kl", "dpo", "rmu"])
def test_micro_batches_add_up_for_objectives_with_a_reference(make_training, objective):
    whole = logged(make_training(objective, EDITS["grun"], folder="whole", batch_size=6, epochs=2))
    cut = logged(make_training(objective, EDITS["grun"], folder="cut", batch_size=6, micro_batch_size=1, epochs=2))
    assert_same(whole, cut)


@pytest.mark.parametrize("edit", EDITS)
def test_gradient_checkpointing_runs_blocks_again_and_changes_no_number(make_training, edit):
    logs, runs = [], []
    for checkpointed in (False, True):
        training = make_training(
            "kl", EDITS[edit], folder=str(checkpointed), batch_size=6, gradient_checkpointing=checkpointed, prefix_cache="off"
        )
        counted = []
        decoder_blocks(training.model)[1][3].self_attn.register_forward_hook(lambda *_, counted=counted: counted.append(1))
        logs.append(logged(training))
        runs.append(len(counted))
    assert_same(*logs)
    # Forget, retain and its reference; with checkpointing forget and retain twice. The test of the frozen head is one more,
    # and so is the check of the trained model.
    assert runs == [3 + 2, 5 + 2]


def test_there_is_no_dropout(make_training, make_tiny_model, make_tokenizer, tmp_path):
    # GPT-NeoX stores its attention dropout as a number, not as a module.
    losses = []
    for share in (0.0, 0.5):
        torch.manual_seed(0)
        sizes = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, hidden_dropout=share, attention_dropout=share))
        model.save_pretrained(tmp_path / f"model-{share}")
        make_tokenizer().save_pretrained(tmp_path / f"model-{share}")
        training = make_training("kl", EDITS["lora"], folder=f"run-{share}", model_dir=tmp_path / f"model-{share}", epochs=2)
        losses.append(logged(training))
    assert losses[0] == losses[1]


def test_only_the_gate_trains_at_the_start_of_the_warm_up(make_training):
    # Half of four steps are warm-up: w is 0, then 1/2, then 1. The weight of the gate loss is 10.
    lines = logged(make_training("npo", EDITS["grun"], epochs=2, gate_warmup=0.5))
    weights = [(line["loss"] - 10 * line["gate"]) / (line["forget"] + line["retain"]) for line in lines]
    assert weights == pytest.approx([0, 0.5, 1, 1], abs=1e-5)


def test_the_loss_is_the_sum_of_its_weighted_terms(make_training):
    objective = {"name": "npo", "forget_weight": 100, "retain_weight": 2}
    (line,) = logged(make_training(objective, EDITS["grun"], batch_size=6, gate_loss_weight=3))
    assert line["loss"] == pytest.approx(100 * line["forget"] + 2 * line["retain"] + 3 * line["gate"], rel=1e-5)


def test_the_learning_rate_falls_to_zero(make_training):
    lines = logged(make_training("npo", EDITS["lora"], epochs=2, lr=0.4))
    # The log shows the learning rate of the next step.
    assert [line["lr"] for line in lines] == pytest.approx([0.3, 0.2, 0.1, 0.0])


def test_rotations_stay_orthonormal(make_training):
    training = make_training("npo", EDITS["grun"], epochs=3, lr=0.1)
    training.run()
    rotations = [p for name, p in training.model.named_parameters() if "grun_rotate" in name]
    assert len(rotations) == 2
    for rotation in rotations:
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(4), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("batch", "micro", "fitting"), [(7, 2, 1), (6, 4, 3)])
def test_a_batch_size_that_is_not_divisible_is_refused(make_training, batch, micro, fitting):
    sentence = rf"training\.micro_batch_size: batch_size {batch} is not a multiple of {micro}; set it to {fitting}, or choose another"
    with pytest.raises(InputError, match=sentence):
        make_training("npo", EDITS["lora"], batch_size=batch, micro_batch_size=micro).run()


def test_a_missing_block_is_refused(make_training):
    with pytest.raises(InputError, match=r"objective\.block: this model has blocks 0 to 3, not 4"):
        make_training({"name": "rmu", "block": 4}, EDITS["lora"]).run()


@pytest.mark.parametrize(
    ("edit", "steps", "passes"),
    [("grun", 1, 20), ("grun", 12, 20), ("grun", 13, 19), ("grun", 57, 4), ("reft", 1000, 1), ("lora", 1000, 10), ("full", 1000, 5)],
)
def test_a_large_forget_set_is_passed_over_less_often_unless_the_recipe_says_how_often(edit, steps, passes):
    assert default_epochs(TABLE[edit], steps) == passes


@pytest.mark.parametrize(("epochs", "steps"), [(None, 4), (3, 6)])
def test_the_default_of_passes_ends_a_training(make_training, monkeypatch, epochs, steps):
    monkeypatch.setattr(TABLE["reft"], "most_steps", 5)
    # Six forget records: two steps a pass.
    assert len(logged(make_training("npo", EDITS["reft"], epochs=epochs))) == steps
