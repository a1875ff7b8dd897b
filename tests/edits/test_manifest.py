"""The manifest of a folder: it covers everything, notices every change, and a hash is computed once only while nothing changed."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from expunge.edits.adapter import put_on, read_adapter
from expunge.edits.manifest import check_manifest, find_damage, write_manifest
from expunge.errors import Damaged, InputError
from expunge.models import file_hashes
from expunge.models.file_hashes import sha256_once


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a configuration, a tensor and a text."""
    made = tmp_path / "edit"
    made.mkdir()
    (made / "base.json").write_text('{"sha256": "b"}', encoding="utf-8")
    (made / "README.md").write_text("text", encoding="utf-8")
    save_file({"a": torch.arange(6.0).reshape(2, 3)}, made / "weights.safetensors")
    return made


@pytest.fixture
def lora(make_llama, tmp_path):
    """Save a LoRA adapter with random weights: `lora()` returns its folder, `lora(change)` changes its tensors before."""

    def save(change=lambda tensors: None) -> Path:
        model = get_peft_model(make_llama(), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False))
        model.save_pretrained(tmp_path / "lora")
        tensors = {name: tensor.clone() for name, tensor in load_file(tmp_path / "lora" / "adapter_model.safetensors").items()}
        change(tensors)
        save_file(tensors, tmp_path / "lora" / "adapter_model.safetensors")
        write_manifest(tmp_path / "lora")
        return tmp_path / "lora"

    return save


def test_it_describes_every_file_every_tensor_and_the_configuration(folder):
    (folder / "more").mkdir()
    (folder / "more" / "log.txt").write_text("", encoding="utf-8")
    recorded = write_manifest(folder)
    content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(content["files"]) == ["README.md", "base.json", "more/log.txt", "weights.safetensors"]
    assert content["tensors"] == {"weights.safetensors": {"a": {"shape": [2, 3], "dtype": "F32"}}}
    assert content["configuration"] == {"base.json": {"sha256": "b"}}
    check_manifest(folder, recorded)
    assert write_manifest(folder) == recorded


def test_a_manifest_that_is_not_the_recorded_one_is_refused_even_if_it_fits(folder):
    recorded = write_manifest(folder)
    (folder / "README.md").write_text("other", encoding="utf-8")
    write_manifest(folder)
    check_manifest(folder)
    with pytest.raises(Damaged, match=r"edit/manifest\.json: is not the manifest that was recorded"):
        check_manifest(folder, recorded)


def test_a_manifest_that_describes_other_tensors_is_refused(folder):
    write_manifest(folder)
    content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    content["tensors"]["weights.safetensors"]["a"]["shape"] = [3, 2]
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    assert find_damage(folder) == "manifest.json does not describe the files in its folder"


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"weights.safetensors": "0"}', '{"format": 2, "files": {}}', "{\x00"])
def test_a_manifest_of_another_form_is_one_sentence(folder, content):
    (folder / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(Damaged, match=r"manifest\.json: cannot be read, or another version of expunge wrote it; restore"):
        check_manifest(folder)


@pytest.mark.parametrize("kind", ["link", "dangling link", "link to a folder", "pipe"])
def test_links_and_special_files_are_refused_without_being_opened(folder, tmp_path, kind):
    write_manifest(folder)
    path = folder / "README.md"
    path.rename(tmp_path / "README.md")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": tmp_path / "README.md", "dangling link": tmp_path / "nowhere", "link to a folder": tmp_path}[kind])
    with pytest.raises(Damaged, match=r"README\.md: is not a regular file"):
        check_manifest(folder)


def settled(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the hash of a file that is old enough for its hash to be remembered."""
    monkeypatch.setattr(file_hashes, "SETTLED_NS", 0)
    time.sleep(0.02)
    return sha256_once(path)


def test_a_file_is_hashed_once(folder, monkeypatch):
    first = settled(folder / "README.md", monkeypatch)
    monkeypatch.setattr(file_hashes, "file_sha256", lambda path: pytest.fail("it was hashed again"))
    assert sha256_once(folder / "README.md") == first


def test_a_change_that_keeps_size_and_time_is_noticed(folder, monkeypatch):
    path = folder / "README.md"
    first, facts = settled(path, monkeypatch), path.stat()
    path.write_text("TEXT", encoding="utf-8")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert sha256_once(path) != first


def test_a_file_put_in_the_place_of_another_with_the_same_times_is_noticed(folder, monkeypatch):
    path, other = folder / "README.md", folder / "other"
    first, facts = settled(path, monkeypatch), path.stat()
    other.write_text("TEXT", encoding="utf-8")
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.replace(path)
    assert sha256_once(path) != first


def test_the_hash_of_a_file_that_was_just_written_is_not_remembered(folder):
    # A second change within the same tick of the clock would leave all times as they are.
    sha256_once(folder / "README.md")
    assert not any(str(folder) in str(key) for key in file_hashes._files)


def test_an_adapter_is_read_and_put_on_as_peft_does(lora, make_llama, batch):
    folder = lora()
    model = put_on(make_llama(), read_adapter(folder), "default")
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {name.replace(".default", ""): True for name, _ in model.named_parameters() if "lora_" in name} == dict.fromkeys(tensors, True)
    assert all(torch.equal(p, tensors[name.replace(".default", "")]) for name, p in model.named_parameters() if "lora_" in name)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda tensors: tensors.pop(min(tensors)), "lacks base_model"),
        (lambda tensors: tensors.update(more=torch.ones(1)), "has more, which adapter_config.json does not call for"),
        (lambda tensors: tensors.update({min(tensors): torch.ones(3, 32)}), "does not have the shape"),
        (lambda tensors: tensors[min(tensors)].view(-1)[:1].fill_(torch.nan), "holds NaN or an infinite number"),
    ],
)
def test_a_lora_with_other_tensors_than_its_configuration_calls_for_is_refused(lora, make_llama, change, problem):
    folder = lora(change)
    with pytest.raises(InputError, match=rf"adapter_model\.safetensors: .*{problem}"):
        put_on(make_llama(), read_adapter(folder), "default")


def test_an_adapter_that_changes_while_it_is_read_is_refused(lora, make_llama):
    adapter = read_adapter(lora())
    path = adapter.folder / "adapter_model.safetensors"
    # Replaced, not rewritten: the bytes of a mapped file would change under the tensors.
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    (adapter.folder.parent / "other").write_bytes(content)
    (adapter.folder.parent / "other").replace(path)
    with pytest.raises(Damaged, match="does not have the hash it was saved with"):
        put_on(make_llama(), adapter, "default")


def test_a_pickle_that_is_called_safetensors_is_one_sentence(folder):
    torch.save({"a": torch.ones(2)}, folder / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors: is not a safetensors file .* other formats are not loaded"):
        write_manifest(folder)


@pytest.mark.parametrize("kind", ["IA3", "XLORA", None, 3, ["LORA"]])
def test_an_adapter_of_another_type_is_refused(lora, kind):
    folder = lora()
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps({**config, "peft_type": kind}), encoding="utf-8")
    write_manifest(folder)
    with pytest.raises(InputError, match=r"adapter_config\.json: peft_type: must be one of LORA, REFT, GRUN"):
        read_adapter(folder)
