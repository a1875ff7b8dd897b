"""The hidden states that a gate trains on: in main memory up to a limit, then in files."""

import pytest
import torch

from expunge.config import EditSection
from expunge.errors import ExpungeError
from expunge.files import scratch
from expunge.gating import state_store
from expunge.gating.state_store import StateStore, stored_input

PROMPTS = [torch.randn(tokens, 8, generator=torch.Generator().manual_seed(tokens)) for tokens in (3, 5, 1, 40, 2)]


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("limit", [64, 10**6])
def test_states_are_the_same_in_main_memory_and_in_a_file(normed, limit, monkeypatch):
    monkeypatch.setattr(state_store, "CHUNK", 128)
    settings, files = EditSection(gate_layer_norm=normed, gate_states_gib=limit / 2**30), list[int]()
    monkeypatch.setattr(state_store, "scratch_memory", lambda size: files.append(size) or scratch.scratch_memory(size))
    store = StateStore(settings)
    held = [store(states) for states in PROMPTS]
    for states, of_prompt in zip(PROMPTS, held, strict=True):
        assert torch.equal(of_prompt, stored_input(states, settings))
    # The prompt of 40 tokens needs a file of its own.
    assert (max(files) > 128) if limit == 64 else not files


def test_a_file_leaves_no_name_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "cache_dir", lambda: tmp_path / "cache")
    memory = scratch.scratch_memory(3 * len(scratch.BLOCK) + 1)
    assert len(memory) == 3 * len(scratch.BLOCK) + 1
    assert not any(memory[:100])
    assert not list((tmp_path / "cache").iterdir())


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    full = OSError(28, "No space left on device")

    def refuse(dir):
        raise full

    monkeypatch.setattr(scratch.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(scratch, "cache_dir", lambda: tmp_path)
    with pytest.raises(ExpungeError, match=r"no space left on device.*free some space"):
        scratch.scratch_memory(10)
