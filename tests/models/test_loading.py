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
from expunge.models.placement import choose_placement


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
    assert load(tiny_model_dir, choose_placement(dtype="bf16"))[0].dtype == torch.bfloat16


def test_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"model: no config\.json there"):
        load(folder)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(InputError, match=r"no \*\.safetensors there; pickled weights are not loaded"):
        load(folder)


def pickled(path: Path) -> Path:
    """Write a pickle that creates a file when it is read, and return the path of that file."""
    weights = {"model.norm.weight": torch.ones(32), "runs code": Bomb(path.with_name("was read"))}
    torch.save(weights, path)
    return path.with_name("was read")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def by_an_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "weights.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def by_the_configuration(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "weights.bin"}))


def by_an_adapter(folder: Path) -> None:
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "weights.bin").rename(folder / "adapter_model.bin")


# transformers itself refuses all but those of the index.
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (by_an_index, r"weights\.bin: pickled weights are not loaded"),
        (by_the_configuration, r"weights\.bin"),
    ],
)
def test_pickled_weights_that_a_model_names_itself_are_never_read(folder, name, reason, monkeypatch):
    read, load_pickle = pickled(folder / "weights.bin"), torch.load
    name(folder)
    # Without this the test would pass if transformers refused only what this pickle holds.
    monkeypatch.setattr("torch.load", lambda f, **options: load_pickle(f, weights_only=False))
    with pytest.raises(InputError, match=f"could not be loaded as a causal LM: .*{reason}"):
        load(folder)
    assert not read.exists()


def test_a_model_with_an_adapter_beside_it_is_refused_before_either_is_read(folder):
    # transformers would put the adapter on the model.
    read = pickled(folder / "weights.bin")
    by_an_adapter(folder)
    with pytest.raises(InputError, match=r"model: holds both a model and an adapter \(adapter_config\.json\); move the adapter"):
        load(folder)
    assert not read.exists()


def test_a_pickle_that_is_called_safetensors_is_one_sentence(folder):
    read = pickled(folder / "model.safetensors")
    with pytest.raises(InputError, match="model: could not be loaded as a causal LM: ") as error:
        load(folder)
    assert "\n" not in str(error.value)
    assert not read.exists()


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


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"hidden_size": 10**9}, "hidden_size is 1000000000, but the weights in this folder allow at most"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000, but the weights in this folder allow at most"),
        ({"vocab_size": 10**11}, "vocab_size is 100000000000, but the weights"),
    ],
)
def test_sizes_that_the_weights_cannot_have_are_refused_before_anything_is_built(folder, settings, problem):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    with pytest.raises(InputError, match=problem):
        load(folder)


def test_a_longest_length_that_is_no_number_is_refused(folder):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": [1]}))
    with pytest.raises(InputError, match=r"model_max_length in its tokenizer_config\.json is not a number"):
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
