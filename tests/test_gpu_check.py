"""`benchmarks.gpu_check` runs on a CPU, with a tiny model."""

import json

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.common.machine_check import TensorsSeen, difference


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Run parts of the script; return its exit code, its results and what it printed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*parts: str) -> tuple[int, dict, str]:
        code = gpu_check.main(["--sizes", "tiny", "--device", "cpu", "--out", str(tmp_path / "out"), "--parts", *parts])
        written = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
        return code, written["results"]["tiny"], capsys.readouterr().out

    return run


def test_parts_on_a_cpu(check):
    code, parts, printed = check("unlearn", "chat", "nf4")
    assert code == 0
    assert parts["unlearn"]["gate"] > 0
    assert parts["unlearn"]["training"] > 0
    assert len(parts["unlearn"]["losses"]) == 4
    assert parts["chat"]["weights"] == ["cpu float32"]
    assert parts["nf4"]["weights"] == ["cpu float32", "cpu uint8"]
    assert "| tiny unlearn | " in printed


def test_a_part_that_fails_is_reported(check):
    # There is no run to load.
    code, parts, printed = check("chat")
    assert code == 1
    assert "grun" in parts["chat"]["failed"]
    assert "failed" not in parts["checkpoint"]
    assert parts["chat"]["failed"] in printed


def test_tensors_are_counted_by_device_and_dtype():
    with TensorsSeen() as mode:
        torch.cat([torch.ones(2), torch.ones(3)]).to(torch.float64)
    # Made twice, read twice by cat, and its result; read again and returned in fp64: five numbers of 4 bytes, and of 8.
    assert mode.seen == {("cpu", "float32"): [6, 20], ("cpu", "float64"): [1, 40]}


def test_the_difference_of_losses_is_relative():
    assert difference([2.0, 1.0], [2.0, 1.25]) == pytest.approx(0.2)
