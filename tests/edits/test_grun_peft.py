"""ReFT and GRUN behave like other PEFT methods, and raise errors where PEFT would only warn."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.edits.active import edits_off, gate_config, gate_logits
from expunge.edits.grun import GrunConfig, GrunLayer, GrunModel, ReftConfig, ReftModel
from expunge.errors import ExpungeError, InputError
from expunge.models.forward_context import batch_context

KINDS = [
    ReftConfig(blocks=[1, 3]),
    GrunConfig(blocks=[1, 3]),
    GrunConfig(blocks=[1, 3], gate="mlp"),
    GrunConfig(blocks=[2, 3], gate="mlp", gate_pool="max", gate_blocks=[0], positions="onward"),
    GrunConfig(blocks=[2, 3], gate_pool="attention", gate_blocks=[0, 2], gate_layer_norm=False, positions="onward"),
]


@pytest.fixture(params=KINDS, ids=["reft", "linear", "mlp", "pooled", "two blocks"])
def config(request):
    return copy.deepcopy(request.param)


@torch.no_grad()
def logits(model, ids=None):
    return model(torch.tensor([[11, 12, 13, 14], [21, 22, 23, 24]]) if ids is None else ids).logits


def trainable(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_both_methods_are_members_of_the_enumeration():
    assert PeftType("GRUN") is PeftType.GRUN is PeftType["GRUN"]
    assert [member.value for member in PeftType][-2:] == ["REFT", "GRUN"]


def test_get_peft_model_finds_the_tuner(llama):
    assert isinstance(get_peft_model(llama, GrunConfig()).base_model, GrunModel)


@pytest.mark.parametrize(("gate", "count"), [("linear", 110_607), ("mlp", 3_294_351)])
def test_the_number_of_trainable_parameters_is_the_papers(gate, count):
    # d = 4096, r = 4: an edit has 2 x 4 x 4096 + 4 = 32,772 parameters, a linear gate 4,097, an MLP gate 1,065,345.
    config = LlamaConfig(hidden_size=4096, intermediate_size=64, num_hidden_layers=3, num_attention_heads=32, vocab_size=100)
    with torch.device("meta"):
        model = get_peft_model(LlamaForCausalLM(config), GrunConfig(blocks=[0, 1, 2], gate=gate))
    assert model.get_nb_trainable_parameters()[0] == count


@pytest.mark.parametrize(("depth", "blocks"), [(32, [20, 25, 31]), (30, [18, 23, 29]), (8, [0, 1, 7]), (4, [0, 3]), (1, [0])])
def test_default_blocks_are_the_papers_as_far_as_they_exist(depth, blocks):
    config = ReftConfig()
    config.resolve(depth, 64)
    assert config.blocks == blocks


@pytest.mark.parametrize(("depth", "gate_block"), [(30, 11), (32, 12), (8, 0)])
def test_the_pooled_gate_is_at_eleven_thirtieths_or_at_the_first_edited_block(depth, gate_block):
    config = GrunConfig(gate_pool="max")
    config.resolve(depth, 64)
    assert config.gate_blocks == [gate_block]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GrunConfig(gate_pool="max", blocks=[1, 3], gate_blocks=[2]).resolve(4, 64),
            r"gate_blocks must name at least one block from 0 to the first edited one, 1, got \[2\]",
        ),
        (lambda: GrunConfig(gate_blocks=[1]), "gate_blocks needs a pooled gate"),
        (lambda: ReftConfig(blocks=[1, 4]).resolve(4, 64), r"blocks must name at least one block from 0 to 3, got \[1, 4\]"),
        (lambda: ReftConfig(blocks=[]).resolve(4, 64), "at least one block"),
        (lambda: ReftConfig(rank=65).resolve(4, 64), "rank must be at most the model's hidden size, 64, got 65"),
        (lambda: ReftConfig(positions="everywhere"), "positions must be one of last_prompt, onward, .*, prompt_suffix:K, got 'everywhere'"),
        (lambda: ReftConfig(positions="prompt_suffix:0"), "positions must be one of .*, got 'prompt_suffix:0'"),
        (lambda: GrunConfig(positions="fired"), 'positions "fired" needs a pooled gate'),
        (lambda: GrunConfig(gate="cubic"), "gate must be one of linear, mlp"),
        (lambda: ReftConfig(rank=0), "rank must be at least 1"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_refused_configuration_does_not_change_the_model(llama):
    before = logits(llama)
    with pytest.raises(ValueError, match="blocks"):
        get_peft_model(llama, GrunConfig(blocks=[9]))
    assert not any(isinstance(module, GrunLayer) for module in llama.modules())
    assert torch.equal(logits(llama), before)


def test_disable_adapter_gives_the_base_bit_for_bit(model, config):
    before = logits(model)
    edited = get_peft_model(model, config).eval()
    assert not torch.equal(logits(edited), before)
    with edited.disable_adapter():
        assert torch.equal(logits(edited), before)


def test_an_adapter_loads_under_any_name(make_llama, config, tmp_path):
    trained = get_peft_model(make_llama(), config).eval()
    trained.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_llama(), tmp_path, adapter_name="0")
    assert torch.equal(logits(loaded), logits(trained))
    assert trainable(loaded) == set()
    loaded.load_adapter(tmp_path, adapter_name="weight")
    loaded.set_adapter("weight")
    assert torch.equal(logits(loaded), logits(trained))


def test_an_adapter_loads_directly_without_random_weights(make_llama, config, tmp_path):
    trained = get_peft_model(make_llama(), config).eval()
    trained.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_llama(), tmp_path, low_cpu_mem_usage=True)
    # Not bit for bit: the weights are in a memory-mapped file, which may not be aligned.
    torch.testing.assert_close(logits(loaded), logits(trained), atol=1e-5, rtol=1e-5)


def test_the_configuration_survives_saving(llama, tmp_path):
    config = GrunConfig(gate_pool="max", threshold=1.5, calibration_n=200, calibration_alpha=0.03, base_sha256="3f9c")
    get_peft_model(llama, config).save_pretrained(tmp_path)
    back = PeftConfig.from_pretrained(tmp_path)
    assert type(back) is GrunConfig
    assert (back.blocks, back.gate_blocks, back.threshold) == ([0, 3], [0], 1.5)
    assert (back.calibration_n, back.calibration_alpha, back.base_sha256) == (200, 0.03, "3f9c")
    assert "target_modules" not in json.loads((tmp_path / "adapter_config.json").read_text())


def test_missing_or_foreign_weights_are_an_error(make_llama, config, tmp_path):
    get_peft_model(make_llama(), config).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    whole = load_file(file)
    for key in whole:
        save_file({name: tensor for name, tensor in whole.items() if name != key}, file)
        with pytest.raises(InputError, match="lacks"):
            PeftModel.from_pretrained(make_llama(), tmp_path)
    save_file({**whole, "base_model.model.model.layers.0.grun_else.weight": torch.zeros(2)}, file)
    with pytest.raises(InputError, match="has the unknown"):
        PeftModel.from_pretrained(make_llama(), tmp_path)


def test_unload_gives_the_base_back(model, config):
    before = logits(model)
    base = get_peft_model(model, config).unload()
    assert torch.equal(logits(base), before)
    assert not any(isinstance(module, GrunLayer) for module in base.modules())
    again = get_peft_model(base, ReftConfig(blocks=[2])).eval()
    assert not torch.equal(logits(again), before)


def test_merging_is_refused_and_export_named(llama):
    model = get_peft_model(llama, GrunConfig())
    for merge in (model.merge_and_unload, model.merge_adapter):
        with pytest.raises(ExpungeError, match="expunge export"):
            merge()


def test_a_deleted_adapter_is_gone(llama):
    model = get_peft_model(llama, GrunConfig(), adapter_name="a").eval()
    alone = logits(model)
    model.add_adapter("b", GrunConfig(gate="mlp"))
    model.base_model.set_adapter(["a", "b"])
    assert not torch.equal(logits(model), alone)
    model.delete_adapter("b")
    assert torch.equal(logits(model), alone)
    assert not any(".b." in name for name, _ in model.named_parameters())


def test_switching_edits_off_and_on_leaves_frozen_requests_frozen(llama):
    model = get_peft_model(llama, GrunConfig(), adapter_name="first").eval()
    with_first = logits(model)
    model.add_adapter("second", GrunConfig())
    model.base_model.set_adapter(["first", "second"])
    model.set_requires_grad("first", False)
    before = trainable(model)
    assert all("second" in name for name in before)
    with model.disable_adapter():
        pass
    assert trainable(model) == before
    with edits_off(model, "second"):
        assert torch.equal(logits(model), with_first)
        assert trainable(model) == before
    assert trainable(model) == before
    assert model.active_adapters == ["first", "second"]
    with edits_off(model, "second"), edits_off(model):
        assert not torch.equal(logits(model), with_first)
    assert not torch.equal(logits(model), with_first)


@pytest.mark.parametrize("request_off", [None, "default"])
def test_the_reference_of_one_request_is_the_base(llama, request_off):
    before = logits(llama)
    model = get_peft_model(llama, GrunConfig()).eval()
    with edits_off(model, request_off):
        assert torch.equal(logits(model), before)


def test_the_reference_of_a_lora_request_is_the_model_without_it(llama):
    lora = LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    before = logits(llama)
    model = get_peft_model(llama, lora, adapter_name="first").eval()
    with_first = logits(model)
    model.add_adapter("second", lora)
    model.base_model.set_adapter(["first", "second"])
    model.set_requires_grad("first", False)
    flags = trainable(model)
    with edits_off(model, "second"):
        assert torch.equal(logits(model), with_first)
        assert trainable(model) == flags
    with edits_off(model):
        assert torch.equal(logits(model), before)
    assert trainable(model) == flags
    assert gate_logits(model) is None


def test_a_model_without_edits_has_no_reference(llama, batch):
    with pytest.raises(ExpungeError, match="no edit"), edits_off(llama):
        pass
    with (
        pytest.raises(ExpungeError, match='"other" is not active; active are: default'),
        edits_off(get_peft_model(llama, GrunConfig()), "other"),
    ):
        pass


def test_a_model_without_edits_needs_no_batch_context(llama, batch):
    with batch_context(batch):
        assert gate_logits(llama) is None


def test_gate_logits_of_one_request_exclude_the_others(llama):
    model = get_peft_model(llama, GrunConfig(), adapter_name="z").eval()
    model.add_adapter("a", GrunConfig(gate_pool="max"))
    model.base_model.set_adapter(["z", "a"])
    logits(model)
    both = gate_logits(model)
    assert both.shape == (3, 2)
    assert torch.equal(both, torch.cat((gate_logits(model, "z"), gate_logits(model, "a"))))
    with edits_off(model, "a"):
        logits(model)
        assert gate_logits(model).shape == (2, 2)
    with edits_off(model):
        logits(model)
        assert gate_logits(model) is None


def test_a_trained_model_can_be_copied(llama):
    model = get_peft_model(llama, GrunConfig()).eval()
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))


def test_two_tuners_do_not_mix_methods(llama):
    model = get_peft_model(llama, ReftConfig())
    assert isinstance(model.base_model, ReftModel)
    with pytest.raises(ValueError, match="different peft types"):
        model.add_adapter("lora", LoraConfig(target_modules=["q_proj"]))


def test_only_a_gated_adapter_has_a_gate_configuration(make_llama):
    assert gate_config(get_peft_model(make_llama(), GrunConfig(gate="mlp")), "default").gate == "mlp"
    for model in (get_peft_model(make_llama(), ReftConfig()), make_llama()):
        with pytest.raises(ExpungeError, match='no gated adapter "default"'):
            gate_config(model, "default")
