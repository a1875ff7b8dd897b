"""Memory goes back to the system: pages of a mapped file, and what the C library holds after tensors are freed."""

import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from expunge.models.process_memory import drop_mapped_pages, return_free_memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the functions act on Linux only")


def resident(kind):
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(kind))


@pytest.mark.parametrize("name", ["model.safetensors", "a folder, with spaces"])
def test_dropped_pages_leave_the_memory_and_are_read_again(tmp_path, name):
    size = 2**22
    weights = {"first": torch.arange(size, dtype=torch.float32), "second": torch.arange(size, dtype=torch.float32) + 1}
    save_file(weights, tmp_path / name)
    with safe_open(tmp_path / name, "pt") as file:
        first, second = file.get_tensor("first"), file.get_tensor("second")
    assert torch.equal(first, weights["first"])
    assert torch.equal(second, weights["second"])
    before = resident("RssFile")
    drop_mapped_pages(first)
    assert before - resident("RssFile") > 0.9 * first.nbytes
    assert torch.equal(first, weights["first"])
    assert torch.equal(second, weights["second"])


def test_a_tensor_that_is_not_mapped_is_left_alone():
    weight = torch.arange(2**20, dtype=torch.float32)
    drop_mapped_pages(weight)
    assert torch.equal(weight, torch.arange(2**20, dtype=torch.float32))


def test_free_pieces_between_used_ones_go_back_to_the_system():
    pieces = [torch.ones(10_000) for _ in range(1000)]
    used = pieces[::10]
    del pieces
    before = resident("RssAnon")
    return_free_memory()
    assert before - resident("RssAnon") > 20_000_000
    assert all(piece.sum() == 10_000 for piece in used)


IN_A_NEW_PROCESS = """
import torch
from expunge.models.process_memory import keep_free_memory


def resident():
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


def freed():
    before = resident()
    weight = torch.ones(10_000_000)
    del weight
    return resident() - before


with keep_free_memory():
    assert freed() > 30_000_000
    held = resident()
assert held - resident() > 30_000_000
assert freed() < 10_000_000
"""


def test_freed_memory_stays_in_the_context_and_goes_back_after_it():
    # Where other tests have left a large hole in the heap, a weight is put there, and its pages stay.
    subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS], check=True)
