"""Blocks below the first edited one leave the memory during a training from prefixes, and come back bit for bit, whatever happens."""

import pytest
import torch
from rich.progress import Progress
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.config.recipe import make_recipe
from expunge.data.prompts import PromptBuilder
from expunge.data.records import read_records
from expunge.edits.apply import apply_edit
from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks
from expunge.models.identity import weights_sha256
from expunge.models.layout import read_layout
from expunge.models.loading import load
from expunge.training.inputs import encode_records
from expunge.training.train import train

EDIT = {"name": "grun", "blocks": [2, 3], "gate_pool": "last"}


@pytest.fixture
def source(make_tiny_model, tmp_path, request):
    """A folder of a tiny model in bf16, of the family of an indirect parameter or a Llama."""
    folder, made = tmp_path / "source", make_tiny_model(getattr(request, "param", "llama"))
    AutoModelForCausalLM.from_pretrained(made, dtype=torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    AutoTokenizer.from_pretrained(made).save_pretrained(folder)
    return folder


@pytest.fixture
def train_on(source, tiny_data, tmp_path):
    """Train two epochs; return the model, and the sizes of block 0, 2 and 3 at each forward pass of the last block."""

    def train_on(checkpoint, objective="npo", on_pass=lambda number: None, **training):
        model, tokenizer = load(source)
        settings = {"epochs": 2, "batch_size": 3, "dtype": "fp32", "save_steps": 0, **training}
        recipe = make_recipe({"data": {"forget": str(tiny_data[0])}, "objective": objective, "edit": EDIT, "training": settings})
        torch.manual_seed(0)
        model, sizes = apply_edit(model, recipe.edit, ""), []
        blocks = [getattr(block, "base_layer", block) for block in decoder_blocks(model)[1]]

        def note(_module, _args, _output):
            sizes.append([sum(parameter.numel() for parameter in blocks[i].parameters()) for i in (0, 2, 3)])
            on_pass(len(sizes))

        blocks[3].register_forward_hook(note)
        builder = PromptBuilder(tokenizer)
        rows = encode_records(builder, read_records(tiny_data[0]), read_records(tiny_data[1]), recipe.objective)
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        trained.append(model)
        train(model, recipe, rows, folder, builder.pad, Progress(disable=True), source=checkpoint)
        return model, sizes, (folder / "metrics.jsonl").read_text()

    trained = []
    train_on.trained = trained
    return train_on


@pytest.mark.parametrize("source", ["llama", "gpt2", "gemma3"], indirect=True)
@pytest.mark.parametrize("objective", ["npo", "idk"])
def test_freed_blocks_change_no_number_and_come_back(train_on, source, objective):
    model, sizes, log = train_on(source, objective)
    other, _, log_without = train_on(None, objective)
    assert log == log_without
    assert weights_sha256(model) == weights_sha256(other)
    # Four steps of two forward passes each; before them whole passes, and after them the check of the trained model.
    steps = [size for size in sizes if size[0] == 0]
    assert len(steps) >= 4
    assert all(entry == 0 and last > 0 for _, entry, last in steps)
    assert min(sizes[-1]) > 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_in_a_step_leaves_the_whole_model(train_on, source, error):
    freed = []

    def stop(number):
        if train_on.trained and not next(decoder_blocks(train_on.trained[0])[1][0].parameters()).numel():
            freed.append(number)
            raise error("stop")

    with pytest.raises(error, match="stop"):
        train_on(source, on_pass=stop)
    assert freed
    (model,) = train_on.trained
    plain = model.unload()
    assert all(parameter.numel() for parameter in plain.parameters())
    expected = load(source)[0].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in plain.state_dict().items())


def test_a_checkpoint_that_changes_during_the_training_is_an_error(train_on, source):
    layout, name = read_layout(source), "model.layers.0.mlp.up_proj.weight"
    shard, stored = source / layout.files[name], layout.tensors[name]

    def change(_number):
        if not next(decoder_blocks(train_on.trained[0])[1][0].parameters()).numel():
            content = bytearray(shard.read_bytes())
            content[stored.begin : stored.end] = bytes(stored.end - stored.begin)
            shard.write_bytes(content)

    with pytest.raises(ExpungeError, match=r"was changed during the training; put the checkpoint back"):
        train_on(source, on_pass=change)


def test_nothing_is_freed_where_the_cache_cannot_hold_all_prefixes(train_on, source):
    _, sizes, _ = train_on(source, prefix_cache_gib=1e-6)
    assert min(min(size) for size in sizes) > 0


def test_weights_are_cast_once_without_a_change_of_any_number(train_on, source, monkeypatch):
    dtypes = []

    def note(_number):
        parameters = dict(train_on.trained[-1].named_parameters())
        # Only the steps run without the blocks below the edited ones.
        if not next(value for name, value in parameters.items() if "layers.0." in name and "up_proj" in name).numel():
            dtypes.append({name: parameter.dtype for name, parameter in parameters.items()})

    monkeypatch.setattr("expunge.models.cast_weights.available_memory", lambda: 2**40)
    model, _, log = train_on(source, on_pass=note, dtype="bf16")
    in_steps = dtypes[0]
    assert in_steps["base_model.model.model.layers.3.base_layer.mlp.up_proj.weight"] == torch.bfloat16
    assert in_steps["base_model.model.model.layers.3.base_layer.input_layernorm.weight"] == torch.float32
    assert {dtype for name, dtype in in_steps.items() if "base_layer" not in name} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    monkeypatch.setattr("expunge.models.cast_weights.available_memory", lambda: 0)
    dtypes.clear()
    other, _, log_without = train_on(source, on_pass=note, dtype="bf16")
    assert dtypes
    assert {dtype for seen in dtypes for dtype in seen.values()} == {torch.float32}
    assert log == log_without
    assert weights_sha256(model) == weights_sha256(other)
