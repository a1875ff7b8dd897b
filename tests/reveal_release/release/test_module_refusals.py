"""Modules that are not a plain LoRA of this model are errors, before any weight changes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from expunge.errors import InputError
from expunge.models.identity import weights_sha256
from expunge.models.loading import load
from expunge.reveal_release.release.lora_delta import LoraModule, add_deltas, read_module

Q, UP = "model.layers.0.self_attn.q_proj.weight", "model.layers.2.mlp.up_proj.weight"


NOT_PLAIN = {
    "use_dora": True,
    "bias": "all",
    "modules_to_save": ["lm_head"],
    "trainable_token_indices": [1],
    "layer_replication": [[0, 2]],
    "init_lora_weights": "pissa",
    "of_a_later_peft": "on",
    "peft_type": "IA3",
    "lora_alpha": None,
    "r": 5,
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_a_lora_that_is_not_plain_is_an_error(saved, name):
    _, folder = saved("llama")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, name: NOT_PLAIN[name]}))
    with pytest.raises(InputError, match=str(folder)):
        read_module(folder)


def test_settings_that_do_not_change_the_delta_are_accepted(saved):
    _, folder = saved("llama")
    config = json.loads((folder / "adapter_config.json").read_text())
    more = {"of_a_later_peft": None, "loftq_config": None, "lora_dropout": 0.1, "init_lora_weights": "gaussian"}
    (folder / "adapter_config.json").write_text(json.dumps({**config, **more}))
    assert read_module(folder).scale[Q] == 1.5


PREFIX = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        (f"{PREFIX}.lora_magnitude_vector", (4, 4)),
        (f"{PREFIX}.lora_B.bias", (4, 4)),
        ("base_model.model.model.embed_tokens.lora_embedding_A", (4, 4)),
        ("base_model.model.lm_head.weight", (4, 4)),
        ("base_model.model.model.conv.lora_A.weight", (4, 4, 3)),
        ("base_model.model.model.alone.lora_A.weight", (4, 4)),
        (f"{PREFIX}.lora_A.weight", (3, 32)),
    ],
)
def test_a_tensor_that_is_not_a_factor_is_an_error(saved, key, shape):
    _, folder = saved("llama")
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({**tensors, key: torch.ones(shape)}, folder / "adapter_model.safetensors")
    with pytest.raises(InputError, match=str(folder)):
        read_module(folder)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_without_a_module_is_an_error(saved, file):
    _, folder = saved("llama")
    (folder / file).write_text("{")
    with pytest.raises(InputError, match=f"holds no LoRA module \\({file}"):
        read_module(folder)
    (folder / file).unlink()
    with pytest.raises(InputError, match=f"holds no LoRA module \\({file}"):
        read_module(folder)


def test_a_module_that_does_not_fit_is_an_error_and_changes_nothing(saved, make_tiny_model):
    base, folder = saved("llama")
    module, model = read_module(folder), load(base)[0]
    before = weights_sha256(model)
    short = LoraModule({**module.factors, UP: (torch.ones(1, 31), torch.ones(48, 1))}, module.scale)
    unknown = LoraModule({**module.factors, "model.layers.9.weight": module.factors[Q]}, module.scale)
    for wrong, message in ((short, "do not fit"), (unknown, r"model\.layers\.9\.weight: this model has no such weight")):
        with pytest.raises(InputError, match=message):
            add_deltas(model, [(1.0, module), (0.0, wrong)])
    with pytest.raises(InputError, match="this model has no such weight"):
        add_deltas(load(make_tiny_model("gpt2"))[0], [(1.0, module)])
    assert weights_sha256(model) == before


def test_a_square_weight_of_the_other_orientation_is_an_error(saved):
    base, folder = saved("gpt2")
    module = read_module(folder)
    square = "transformer.h.0.attn.c_proj.weight"
    with pytest.raises(InputError, match=f"{square}: the module's factors do not fit"):
        add_deltas(load(base)[0], [(1.0, LoraModule({square: module.factors[square]}, module.scale, transposed=False))])


def test_a_tied_weight_is_an_error_under_both_of_its_names(make_tiny_model):
    model, _ = load(make_tiny_model("gpt2"))
    for name in ("lm_head.weight", "transformer.wte.weight"):
        tied = LoraModule({name: (torch.ones(1, 32), torch.ones(320, 1))}, {name: 1.0})
        with pytest.raises(InputError, match=f"{name}: is tied to another weight"):
            add_deltas(model, [(1.0, tied)])


def test_an_untied_head_can_be_changed(make_tiny_model):
    # The tiny Llama does not tie its head
    model, _ = load(make_tiny_model("llama"))
    before = model.lm_head.weight[0, 0].item()
    head = LoraModule({"lm_head.weight": (torch.ones(1, 32), torch.ones(320, 1))}, {"lm_head.weight": 1.0})
    add_deltas(model, [(1.0, head)])
    assert model.lm_head.weight[0, 0].item() == pytest.approx(before + 1)
