"""The folder of a PEFT adapter as a model: merged into its base model, identified with it, or refused in one sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import expunge
from expunge.console import Display
from expunge.errors import InputError, WrongBase
from expunge.models.identified import load_identified
from expunge.models.loading import load
from expunge.pipeline.unlearn import unlearn

IDS = torch.arange(3, 19)[None]


def make_adapter(base: Path, folder: Path, config) -> Path:
    """Save an adapter with random weights."""
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(make_tiny_model, tmp_path, monkeypatch) -> Path:
    """The folder of a LoRA adapter on a copy of the tiny model."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = Path(shutil.copytree(make_tiny_model(), tmp_path / "base"))
    return make_adapter(base, tmp_path / "adapter", LoraConfig(r=2, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM"))


def change_bit(path: Path) -> None:
    weights = load_file(path)
    next(iter(weights.values())).view(torch.int32).view(-1)[5] ^= 1
    save_file(weights, path, {"format": "pt"})


def change_config(folder: Path, **values) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_the_merged_model_answers_like_the_adapter_on_its_base(adapter, capfd):
    model, tokenizer = load(adapter)
    base = AutoModelForCausalLM.from_pretrained(adapter.parent / "base")
    with torch.no_grad():
        plain = base(input_ids=IDS).logits
        expected = PeftModel.from_pretrained(base, adapter)(input_ids=IDS).logits
        assert torch.allclose(model(input_ids=IDS).logits, expected, atol=1e-4)
    assert (plain - expected).abs().max() > 0.1
    assert type(model) is type(load(adapter.parent / "base")[0])
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert tokenizer.chat_template is not None
    assert "adapter is a PEFT adapter: it is merged into its base model" in " ".join(capfd.readouterr().err.split())


def test_the_identity_covers_base_adapter_and_configuration(adapter):
    base = adapter.parent / "base"
    identities = [load_identified(base).identity, load_identified(adapter).identity]
    assert identities[0].differences(identities[1]) == ["weights"]
    # Where the base model is does not matter.
    base.rename(base.with_name("moved"))
    change_config(adapter, base_model_name_or_path=str(base.with_name("moved")), peft_version="0.0.1")
    assert load_identified(adapter).identity == identities[1]
    for change in (
        lambda: change_bit(adapter / "adapter_model.safetensors"),
        lambda: change_config(adapter, lora_alpha=3),
        lambda: change_bit(base.with_name("moved") / "model.safetensors"),
    ):
        change()
        assert load_identified(adapter).identity.differences(identities[-1]) == ["weights"]
        identities.append(load_identified(adapter).identity)


def test_a_run_on_an_adapter_is_audited_and_verified_with_both_folders(make_recipe_for, adapter):
    sections = {"training": {"epochs": 1, "dtype": "fp32", "save_steps": 0}, "audit": {"max_new_tokens": 4}}
    run = unlearn(make_recipe_for("run", model=str(adapter), objective="npo", **sections), Display())
    audited = expunge.audit(run, max_records=2)
    statuses = {check.name: check.status for check in expunge.verify(audited)}
    assert "differs" not in statuses.values()
    seen = ("base adapter_model.safetensors", "base below the adapter model.safetensors", "base weights", "base configuration")
    assert {statuses[name] for name in seen} == {"ok"}
    change_bit(adapter.parent / "base" / "model.safetensors")
    assert {check.name: check.status for check in expunge.verify(audited)}["base below the adapter model.safetensors"] == "differs"
    with pytest.raises(WrongBase, match="this one differs in its weights"):
        expunge.load(run)


def drop_weights(folder: Path, count: int) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[count:]), folder / "adapter_model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"), "no adapter_model.safetensors there"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"damaged"), "could not be merged into its base model"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "is not valid JSON"),
        (lambda folder: change_config(folder, base_model_name_or_path=None), "base_model_name_or_path names no model"),
        (lambda folder: change_config(folder, base_model_name_or_path=str(folder)), "is an adapter too"),
        (lambda folder: change_config(folder, base_model_name_or_path="/nowhere"), "not a model folder, a .gguf file or a hub id"),
        (lambda folder: change_config(folder, r=5), "could not be merged into its base model"),
        (lambda folder: change_config(folder, target_modules=["q_proj"]), "does not fit its configuration and base model"),
        (lambda folder: drop_weights(folder, 1), "does not fit its configuration and base model"),
    ],
)
def test_what_cannot_be_merged_is_one_sentence(adapter, damage, sentence):
    damage(adapter)
    with pytest.raises(InputError) as error:
        load(adapter)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_another_kind_of_adapter_is_refused(make_tiny_model, tmp_path):
    config = IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM")
    with pytest.raises(InputError, match="peft_type is 'IA3'; only LoRA adapters can be merged"):
        load(make_adapter(make_tiny_model(), tmp_path / "ia3", config))
