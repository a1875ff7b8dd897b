"""Loading: everything but a complete causal language model in safetensors is refused with one sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from expunge.errors import InputError
from expunge.models.identity import weights_sha256
from expunge.models.loading import load


@pytest.fixture
def folder(tiny_model_dir, tmp_path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))


def set_weights(folder: Path, **changed: torch.Tensor | None) -> None:
    """Rewrite a model's weights with some replaced, or removed if None."""
    path = folder / "model.safetensors"
    weights = {name: changed.get(name, tensor) for name, tensor in load_file(path).items()}
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, path, {"format": "pt"})


@pytest.mark.parametrize("tiny_model_dir", ["llama", "qwen3", "gemma3", "gpt2", "gpt_neox"], indirect=True)
def test_a_folder_is_loaded_ready_for_inference(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    assert not model.training
    assert model.dtype == torch.float32
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token_id is not None
    assert model.generation_config.do_sample is False
    assert load(tiny_model_dir, torch.bfloat16)[0].dtype == torch.bfloat16


def test_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"model: no config\.json there"):
        load(folder)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(InputError, match=r"no \*\.safetensors there; pickled weights are not loaded"):
        load(folder)


def test_remote_code_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}))
    (folder / "theirs.py").write_text("raise SystemExit('their code was run')")
    with pytest.raises(InputError, match="could not be loaded as a causal LM"):
        load(folder)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "nobody/nothing-of-this-name"])
def test_a_missing_model_is_refused(name):
    with pytest.raises(InputError, match=name):
        load(name)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not a model folder"):
        load(tmp_path / "notes.txt")


def test_a_file_that_is_not_gguf_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "model.gguf")
    (tmp_path / "model.gguf").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"model\.gguf: could not be read"):
        load(tmp_path / "model.gguf")


def test_an_encoder_decoder_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "t5"}))
    with pytest.raises(InputError, match="could not be loaded as a causal LM"):
        load(folder)


def test_truncated_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="could not be loaded as a causal LM"):
        load(folder)


@pytest.mark.parametrize("tensor", [None, torch.ones(7)])
def test_missing_and_misshapen_weights_are_refused_by_name(folder, tensor):
    set_weights(folder, **{"model.norm.weight": tensor})
    with pytest.raises(InputError, match=r"its safetensors lack model\.norm\.weight"):
        load(folder)


def test_a_tokenizer_without_an_end_token_is_refused(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="has no eos_token"):
        load(folder)


def test_the_hash_depends_on_names_shapes_types_and_bits(tiny_model_dir):
    model = load(tiny_model_dir)[0]
    before = weights_sha256(model)
    assert before == weights_sha256(load(tiny_model_dir)[0])
    weight = model.model.norm.weight
    with torch.no_grad():
        # the lowest bit of one fp32 number
        weight.view(torch.int32)[3] ^= 1
    assert weights_sha256(model) != before
    with torch.no_grad():
        weight.view(torch.int32)[3] ^= 1
    assert weights_sha256(model) == before
    assert weights_sha256(model.to(torch.bfloat16)) != before
