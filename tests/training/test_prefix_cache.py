"""Training with a cache of prefixes gives the same losses and weights as without it; a warning says where it is off."""

import json
import logging

import pytest
import torch
from rich.progress import Progress

from expunge.config.recipe import make_recipe
from expunge.data.prompts import PromptBuilder
from expunge.data.records import read_records
from expunge.edits import edit_of
from expunge.edits.apply import apply_edit
from expunge.models.blocks import decoder_blocks
from expunge.models.loading import load
from expunge.training.inputs import encode_records
from expunge.training.train import train

EDIT = {"name": "grun", "blocks": [2, 3], "gate_pool": "last"}
UPPER_LORA = {"name": "lora", "modules": r"\.[23]\."}
UPPER_WEIGHTS = {"name": "full", "modules": r"\.[23]\."}
POOLED = {"name": "grun", "blocks": [2, 3], "gate_pool": "max", "gate_blocks": [1]}


@pytest.fixture
def run(tiny_model_dir, tiny_data, tmp_path):
    """Train epochs of two steps; return the logged losses, the tokens that went through each block, and the model."""

    def run(prefix_cache, objective, edit, epochs=2, **training):
        model, tokenizer = load(tiny_model_dir)
        settings = {"epochs": epochs, "batch_size": 3, "dtype": "fp32", "save_steps": 0, "prefix_cache": prefix_cache, **training}
        recipe = make_recipe({"data": {"forget": str(tiny_data[0])}, "objective": objective, "edit": edit, "training": settings})
        torch.manual_seed(0)
        model = apply_edit(model, recipe.edit, "")
        for name, parameter in model.named_parameters():
            if edit_of(recipe).trains_gate_first(recipe.edit) and "grun_gate" in name:
                parameter.requires_grad_(False)
        builder, tokens = PromptBuilder(tokenizer), [0] * 4
        records = encode_records(builder, read_records(tiny_data[0]), read_records(tiny_data[1]), recipe.objective)

        def count(module, args, _output):
            tokens[module.self_attn.layer_idx] += args[0].shape[0] * args[0].shape[1]

        for block in decoder_blocks(model)[1]:
            getattr(block, "base_layer", block).register_forward_hook(count)
        folder = tmp_path / f"{prefix_cache}-{epochs}"
        folder.mkdir()
        train(model, recipe, records, folder, builder.pad, Progress(disable=True))
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [line["loss"] for line in lines], tokens, model

    return run


@pytest.mark.parametrize(
    ("objective", "edit"),
    [
        ("npo", EDIT),
        ("idk", EDIT),
        ({"name": "grad_diff", "retain_loss": "kl"}, EDIT),
        ("rmu", EDIT),
        ("dpo", {"name": "reft", "blocks": [1, 3]}),
        ("idk", POOLED),
        ("npo", {**POOLED, "positions": "onward"}),
        ("npo", UPPER_LORA),
        ({"name": "grad_diff", "retain_loss": "kl"}, UPPER_WEIGHTS),
        ("dpo", UPPER_WEIGHTS),
    ],
)
def test_losses_and_weights_equal_those_of_the_whole_forward_pass(run, objective, edit):
    whole, many, trained = run("off", objective, edit, epochs=4)
    losses, few, cached = run("auto", objective, edit, epochs=4)
    assert len(losses) == 8
    assert losses == pytest.approx(whole, rel=1e-4)
    assert few[0] <= many[0]
    # Blocks with trained weights read every token again.
    spared = 0 if "modules" in edit else 3
    assert few[spared] < many[spared]
    for (name, parameter), (_, other) in zip(trained.named_parameters(), cached.named_parameters(), strict=True):
        torch.testing.assert_close(other, parameter, rtol=1e-3, atol=1e-3, msg=name)


def test_losses_in_bf16_agree_within_its_precision(run):
    whole, _, _ = run("off", "npo", EDIT, dtype="bf16")
    losses, _, _ = run("auto", "npo", EDIT, dtype="bf16")
    assert losses == pytest.approx(whole, rel=0.05)


def test_later_epochs_do_not_run_the_lower_blocks(run):
    _, four_epochs, _ = run("auto", "npo", EDIT, epochs=4)
    _, eight_epochs, _ = run("auto", "npo", EDIT, epochs=8)
    # All ten retain records, six an epoch, have occurred after two epochs.
    assert eight_epochs[:3] == four_epochs[:3]
    assert eight_epochs[3] > four_epochs[3]


@pytest.mark.parametrize(
    ("edit", "training", "reason"),
    [
        ({**EDIT, "positions": "all_prompt"}, {}, "an edit acts on prompt tokens before the last one"),
        ({**POOLED, "gate_first": False}, {}, "its pooled gate is trained along with the edit, and reads the whole prompt"),
        (EDIT, {"gradient_checkpointing": True}, "gradient checkpointing does not work with a KV cache"),
        (UPPER_LORA, {"gradient_checkpointing": True}, "gradient checkpointing is on"),
    ],
)
def test_a_warning_says_why_the_prefix_cache_is_off(run, caplog, edit, training, reason):
    with caplog.at_level(logging.WARNING, "expunge"):
        run("auto", "grad_diff", edit, **training)
    assert [record.message for record in caplog.records if record.name.startswith("expunge")] == [f"The prefix cache is off: {reason}."]


@pytest.mark.parametrize("edit", [{"name": "lora"}, {"name": "full"}, {"name": "full", "modules": r"embed|\.[23]\."}])
def test_without_a_frozen_block_every_block_reads_every_record_in_every_epoch(run, caplog, edit):
    with caplog.at_level(logging.WARNING, "expunge"):
        _, tokens, _ = run("auto", "grad_ascent", edit)
    assert len(set(tokens)) == 1
    assert not [record for record in caplog.records if record.name.startswith("expunge")]


def test_a_bare_off_in_yaml_is_accepted():
    recipe = make_recipe({"data": {"forget": "x.jsonl"}, "training": {"prefix_cache": False}})
    assert recipe.training.prefix_cache == "off"
