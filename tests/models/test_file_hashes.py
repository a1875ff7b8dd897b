"""Hashes of weight files: of the tensors and not of the layout, computed once for a file, and never believed after a change."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from expunge.errors import InputError
from expunge.files import cache_dir, file_sha256
from expunge.models import file_hashes
from expunge.models.checkpoint import checkpoint_sha256, stamps, weight_files
from expunge.models.file_hashes import combined_sha256, hash_tensors, models_with, sha256_once, tensors_sha256_once


@pytest.fixture
def model(make_tiny_model, tmp_path, monkeypatch) -> Path:
    """A model folder of the test's own, with a cache that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "LARGE", 1)
    next_command(monkeypatch)
    return Path(shutil.copytree(make_tiny_model(), tmp_path / "model"))


@pytest.fixture
def hashed(monkeypatch) -> list[Path]:
    """The files that are read to be hashed, in order."""
    read: list[Path] = []
    for function in (hash_tensors, file_sha256):
        monkeypatch.setattr(file_hashes, function.__name__, lambda path, function=function: read.append(path) or function(path))
    return read


def next_command(monkeypatch) -> None:
    """Forget what this process remembers, as at the start of another command."""
    monkeypatch.setattr(file_hashes, "_files", {})
    monkeypatch.setattr(file_hashes, "_tensors", {})


def settle(monkeypatch) -> None:
    """Let files count as settled at once."""
    monkeypatch.setattr(file_hashes, "SETTLED_NS", 0)
    time.sleep(0.02)


def of(model: Path) -> str:
    return checkpoint_sha256(model, stamps(model))


def test_the_hash_is_that_of_the_tensors_however_they_are_spread_over_files(model, tmp_path):
    before = of(model)
    loaded = AutoModelForCausalLM.from_pretrained(model)
    loaded.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(weight_files(tmp_path / "shards")) > 2
    assert of(tmp_path / "shards") == before
    loaded.to(torch.bfloat16).save_pretrained(tmp_path / "bf16")
    assert of(tmp_path / "bf16") != before


def change_bit(weights) -> None:
    next(iter(weights.values())).view(torch.int32).view(-1)[7] ^= 1


@pytest.mark.parametrize(
    "change",
    [
        change_bit,
        lambda weights: weights.update({"model.norm.other": weights.pop("model.norm.weight")}),
        lambda weights: weights.update({"model.norm.weight": weights["model.norm.weight"].view(2, 16)}),
        lambda weights: weights.update({"model.norm.weight": weights["model.norm.weight"].view(torch.int32)}),
        lambda weights: weights.update({"one.more": torch.ones(1)}),
        lambda weights: weights.pop("model.norm.weight"),
    ],
)
def test_names_shapes_dtypes_and_bits_are_part_of_it(model, change):
    before, path = of(model), model / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})
    assert of(model) != before


def test_a_tensor_in_two_files_is_refused(model):
    facts = hash_tensors(model / "model.safetensors")[1]
    with pytest.raises(InputError, match=r'tensor "lm_head\.weight" is in two of its files'):
        combined_sha256([*facts, next(fact for fact in facts if fact[0] == "lm_head.weight")], model)


@pytest.mark.parametrize("offsets", [[0, 4], [8, 16]])
def test_a_header_that_places_tensors_wrongly_is_one_sentence(tmp_path, offsets):
    # Two tensors of 8 bytes each: the second one lies in the first, or ends after the file.
    header = b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2], "data_offsets": %s}}'
    text = header % str(offsets).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
    with pytest.raises(InputError, match=r"x\.safetensors: has a damaged header: the bytes of tensor"):
        hash_tensors(tmp_path / "x.safetensors")


def test_a_gguf_file_has_the_hash_of_its_tensors_and_not_of_its_other_fields(tmp_path):
    def made(name: str, author: str, value: float) -> str:
        path = tmp_path / f"{name}.gguf"
        writer = GGUFWriter(path, "llama")
        writer.add_author(author)
        writer.add_tensor("blk.0.weight", torch.full((4, 2), value).numpy())
        writer.add_tensor("norm.weight", torch.ones(3).numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        assert hash_tensors(path)[0] == file_sha256(path)
        return of(path)

    assert made("a", "Ana", 1.0) == made("b", "Somebody else", 1.0) != made("c", "Ana", 2.0)


def test_the_file_has_its_own_hash_after_the_tensors_were_read(model):
    assert hash_tensors(model / "model.safetensors")[0] == file_sha256(model / "model.safetensors")


def test_weights_are_hashed_once_and_not_by_a_later_command(model, hashed, monkeypatch):
    settle(monkeypatch)
    weights = model / "model.safetensors"
    first = of(model)
    assert of(model) == first
    # The file as a whole was hashed in the same pass.
    assert sha256_once(weights) == file_sha256(weights)
    assert hashed == [weights]
    next_command(monkeypatch)
    assert of(model) == first
    sha256_once(weights)
    assert hashed == [weights]
    assert (cache_dir() / file_hashes.STORE).stat().st_mode & 0o777 == 0o600


def test_any_file_is_remembered_by_a_later_command(model, hashed, monkeypatch):
    settle(monkeypatch)
    first = sha256_once(model / "tokenizer.json")
    next_command(monkeypatch)
    assert sha256_once(model / "tokenizer.json") == first
    assert len(hashed) == 1


def test_a_changed_file_is_noticed_by_a_later_command_whatever_its_times(model, hashed, monkeypatch):
    settle(monkeypatch)
    first, weights = of(model), model / "model.safetensors"
    facts = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (weights.stat().st_size, weights.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    next_command(monkeypatch)
    assert of(model) != first
    assert len(hashed) == 2


def test_a_file_that_changed_a_moment_ago_is_not_remembered(model, hashed, monkeypatch):
    for _ in range(2):
        of(model)
        sha256_once(model / "tokenizer.json")
        next_command(monkeypatch)
    assert len(hashed) == 4
    assert not (cache_dir() / file_hashes.STORE).exists()


@pytest.mark.parametrize("damage", [lambda text: text.replace('"sha256":"', '"sha256":"0', 1), lambda text: text[:-9], lambda text: "{}"])
def test_a_store_that_something_else_wrote_is_not_believed(model, hashed, monkeypatch, damage):
    settle(monkeypatch)
    first, store = of(model), cache_dir() / file_hashes.STORE
    store.write_text(damage(store.read_text(encoding="utf-8")), encoding="utf-8")
    next_command(monkeypatch)
    assert of(model) == first
    assert len(hashed) == 2
    next_command(monkeypatch)
    of(model)
    assert len(hashed) == 2


def test_a_cache_that_cannot_be_written_only_costs_time(model, hashed, monkeypatch, tmp_path):
    settle(monkeypatch)
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    first = of(model)
    next_command(monkeypatch)
    assert of(model) == first
    assert len(hashed) == 2


def test_two_processes_lose_no_entry(model, monkeypatch):
    settle(monkeypatch)
    copies = [Path(shutil.copytree(model, model.with_name(f"copy{number}"))) for number in range(8)]
    for number, copy in enumerate(copies):
        weights = load_file(copy / "model.safetensors")
        weights["model.norm.weight"] += number
        save_file(weights, copy / "model.safetensors", {"format": "pt"})
    time.sleep(0.02)
    with ThreadPoolExecutor(8) as pool:
        hashes = list(pool.map(of, copies))
    assert [models_with(sha256) for sha256 in hashes] == [[copy] for copy in copies]


def test_the_oldest_entries_are_dropped(model, monkeypatch):
    settle(monkeypatch)
    monkeypatch.setattr(file_hashes, "MOST_FILES", 2)
    monkeypatch.setattr(file_hashes, "MOST_MODELS", 1)
    names = ("tokenizer.json", "config.json", "generation_config.json")
    hashes = [sha256_once(model / name) for name in names]
    store = file_hashes._read()
    assert [Path(path).name for path in store.files] == list(names[1:])
    assert [one.sha256 for one in store.files.values()] == hashes[1:]


def test_a_model_is_found_by_its_hash_where_it_was_last_loaded(model, hashed, monkeypatch):
    settle(monkeypatch)
    sha256, moved = of(model), model.with_name("moved")
    assert models_with(sha256) == [model]
    shutil.copytree(model, moved)
    time.sleep(0.02)
    assert tensors_sha256_once(moved, weight_files(moved)) == sha256
    assert models_with(sha256) == [moved, model]
    assert models_with("0" * 64) == []


def test_a_file_that_changes_while_the_model_is_loaded_is_refused(model):
    before = stamps(model)
    os.utime(model / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: was changed while the model was loaded"):
        checkpoint_sha256(model, before)
