"""Models that are quantised while they are loaded compute what their rounded weights compute; what cannot be loaded is one sentence."""

import json
import shutil

import bitsandbytes
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity
from transformers import AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM

from expunge.auditing.attacks.quantise import quantised
from expunge.errors import InputError
from expunge.models import quantised as module
from expunge.models.identified import load_identified
from expunge.models.loading import load
from expunge.models.placement import Placement, placement_of
from expunge.models.quantised import check_trainable, quantisation_of

CPU = torch.device("cpu")
KINDS = ("nf4", "int8")
IDS = torch.arange(3, 19)[None]


def in_form(kind, dtype=torch.float32):
    return Placement(CPU, dtype, quantise=kind)


@pytest.fixture(scope="module")
def models(wide_model_dir):
    """The same model quantised to each kind, and as it is in fp32 (None)."""
    return {kind: load(wide_model_dir, in_form(kind))[0] for kind in (None, *KINDS)}


def logits_and_gradient(model):
    embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
    logits = model(inputs_embeds=embedded).logits
    return logits.detach(), torch.autograd.grad(logits.log_softmax(-1)[..., 5].sum(), embedded)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_model_computes_with_its_rounded_weights(models, kind):
    with torch.no_grad():
        # bitsandbytes would rewrite the weights in a pass without gradients, and later passes would give none.
        models[kind](IDS)
    logits, gradient = logits_and_gradient(models[kind])
    with quantised(models[None], kind):
        expected, expected_gradient = logits_and_gradient(models[None])
    # bitsandbytes rounds weights to fp16 before it rounds them to 8 bits.
    assert torch.allclose(logits, expected, atol=1e-4 if kind == "nf4" else 0.05 * expected.std().item())
    assert cosine_similarity(gradient.flatten(), expected_gradient.flatten(), dim=0) > 0.999
    assert quantisation_of(models[kind]) == placement_of(models[kind]).quantise == kind
    assert not torch.allclose(logits, logits_and_gradient(models[None])[0], atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_does_not_depend_on_the_other_rows_of_a_batch(models, kind):
    with torch.no_grad():
        beside = torch.cat((IDS, IDS.flip(1), torch.full_like(IDS, 7)))
        assert torch.allclose(models[kind](beside).logits[:1], models[kind](IDS).logits, atol=1e-4)


def test_the_identity_is_that_of_the_checkpoint(wide_model_dir):
    identities = [load_identified(wide_model_dir, in_form(kind)).identity for kind in (None, *KINDS)]
    assert identities[0] == identities[1] == identities[2]


def test_weights_take_a_quarter_of_the_memory_of_bf16(models, wide_model_dir):
    linear = [layer.weight for layer in models["nf4"].modules() if isinstance(layer, bitsandbytes.nn.Linear4bit)]
    assert sum(weight.nbytes for weight in linear) * 4 == sum(weight.quant_state.shape.numel() * 2 for weight in linear)


def test_a_width_that_the_library_computes_wrongly_is_refused(make_tiny_model, monkeypatch, wide_model_dir):
    # bitsandbytes 0.50 is wrong on CPUs where rows do not end with a block of 64.
    with pytest.raises(InputError, match=r"bitsandbytes .* computes layers of 32 inputs wrongly in 4 bits on cpu; load the model on a GPU"):
        load(make_tiny_model(), in_form("nf4"))
    monkeypatch.setattr("bitsandbytes.functional.dequantize_4bit", lambda codes, state: torch.zeros(state.shape))
    with pytest.raises(InputError, match="computes layers of 64 inputs wrongly"):
        load(wide_model_dir, in_form("nf4"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_that_is_stored_quantised_is_loaded_as_it_is(models, kind, wide_model_dir, tmp_path):
    folder = shutil.copytree(wide_model_dir, tmp_path / "stored")
    (folder / "model.safetensors").unlink()
    models[kind].save_pretrained(folder)
    loaded = load_identified(folder, Placement(CPU, torch.float32))
    assert torch.equal(loaded.model(IDS).logits, models[kind](IDS).logits)
    assert (loaded.stored_in, quantisation_of(loaded.model), placement_of(loaded.model).quantise) == ("bitsandbytes", kind, None)
    other = load_identified(wide_model_dir, in_form(kind)).identity
    assert other.differences(loaded.identity) == ["weights", "configuration"]
    with pytest.raises(InputError, match="is stored in bitsandbytes already, so that it cannot be loaded in nf4; leave quantise out"):
        load(folder, in_form("nf4"))


@pytest.fixture
def stored_as(wide_model_dir, tmp_path):
    """Make a copy of a model whose configuration says that it is quantised: `stored_as({...})`."""

    def make(quantisation):
        folder = shutil.copytree(wide_model_dir, tmp_path / "claimed")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantisation}))
        return folder

    return make


@pytest.mark.parametrize(
    ("quantisation", "message"),
    [
        ({"quant_method": "gptq", "bits": 4}, r"stored in gptq, which cannot be loaded on this machine .*: pip install optimum gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, r"stored in awq, which cannot be loaded on this machine .*: pip install gptqmodel"),
        ({"quant_method": "compressed-tensors"}, r"stored in compressed-tensors, .* it needs: pip install compressed-tensors"),
        ({"quant_method": "fbgemm_fp8"}, r"stored in fbgemm_fp8, .*; it may need a GPU, and there is none here"),
        ({"quant_method": "hqq"}, r"stored in hqq, .* it needs: pip install hqq"),
        ({"quant_method": "new4"}, "is stored in new4, a method of quantisation that this version of transformers does not know"),
        ({"bits": 4}, "quantization_config in its config.json names no quant_method"),
        ({"quant_method": ["gptq"]}, "quantization_config in its config.json names no quant_method"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": 7}, "stored in bitsandbytes"),
    ],
)
def test_what_cannot_be_loaded_here_is_one_sentence(stored_as, quantisation, message):
    with pytest.raises(InputError, match=message) as error:
        load(stored_as(quantisation))
    assert "\n" not in str(error.value)


def test_a_missing_library_is_named_at_the_door(wide_model_dir, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"quantise nf4: needs the package bitsandbytes; .* pip install 'expunge\[quantised\]'"):
        load(wide_model_dir, in_form("nf4"))


def test_a_family_that_reads_weights_without_their_layers_is_refused(make_tiny_model):
    with pytest.raises(InputError, match=r"a \w+ForCausalLM (cannot be run in int8 \(.*\)|reads the weights of \S+ directly)"):
        load(make_tiny_model("mamba"), in_form("int8"))


def test_a_sharded_model_is_not_quantised(wide_model_dir):
    with pytest.raises(InputError, match="a quantised model cannot be sharded by FSDP"):
        load(wide_model_dir, Placement(CPU, torch.float32, sharded=True, quantise="nf4"))


def test_a_layer_that_passes_no_gradient_is_noticed(models, monkeypatch):
    check_trainable(models["nf4"], "model")
    layer = bitsandbytes.nn.Linear4bit
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda self, x: forward(self, x.detach()))
    with pytest.raises(InputError, match="model: no gradient flows through its layers in nf4 here; train on the unquantised model"):
        check_trainable(models["nf4"], "model")


def test_a_model_in_fp8_is_dequantised_on_a_cpu(stored_as, wide_model_dir):
    folder = stored_as({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [64, 64]})
    plain = AutoModelForCausalLM.from_pretrained(wide_model_dir, dtype=torch.float32)
    stored, rounded = {}, plain.state_dict()
    for name, weight in load_file(folder / "model.safetensors").items():
        if ".layers." not in name or weight.ndim < 2:
            stored[name] = weight
            continue
        rows, columns = (size // 64 if size >= 64 else 1 for size in weight.shape)
        scales = torch.rand(rows, columns) + 0.5
        stored[name] = weight.to(torch.float8_e4m3fn)
        stored[f"{name}_scale_inv"] = scales
        spread = scales.repeat_interleave(-(-weight.shape[0] // rows), 0).repeat_interleave(weight.shape[1] // columns, 1)
        rounded[name] = stored[name].float() * spread
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    plain.load_state_dict(rounded)
    loaded = load_identified(folder, Placement(CPU, torch.float32))
    assert (loaded.stored_in, quantisation_of(loaded.model)) == ("fp8", None)
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}
    difference = loaded.model(IDS).logits - plain(IDS).logits
    assert difference.norm() < 0.02 * plain(IDS).logits.norm()


def test_experts_in_mxfp4_are_dequantised_on_a_cpu(tmp_path, make_tokenizer):
    tokenizer = make_tokenizer(True)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}
    plain = GptOssForCausalLM(GptOssConfig(**sizes, **heads, **ids)).eval()
    plain.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    stored, expected = {}, plain.state_dict()
    for name, weight in load_file(tmp_path / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = weight
            continue
        experts, width, out = weight.shape
        codes = torch.randint(16, (experts, out, width // 32, 16, 2), dtype=torch.uint8)
        scales = torch.randint(118, 124, (experts, out, width // 32), dtype=torch.uint8)
        stored |= {f"{name}_blocks": codes[..., 1] << 4 | codes[..., 0], f"{name}_scales": scales}
        # A scale is an exponent of 2, shared by 32 numbers.
        values = levels[codes.long()].flatten(-2) * torch.exp2(scales.float() - 127)[..., None]
        expected[name] = values.reshape(experts, out, width).mT
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "mxfp4"}}))
    plain.load_state_dict(expected)
    loaded = load_identified(tmp_path, Placement(CPU, torch.float32))
    assert (loaded.stored_in, quantisation_of(loaded.model)) == ("mxfp4", None)
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}
    assert torch.equal(loaded.model(IDS).logits, plain(IDS).logits)
