"""Which device and dtype are chosen, by machine, by model and by what the user names."""

import logging

import psutil
import pytest
import torch

from expunge.errors import InputError
from expunge.models import placement as module
from expunge.models.loading import load
from expunge.models.placement import Placement, choose_placement, fast_dtype, in_fp32, placement_of

CPU = torch.device("cpu")


@pytest.fixture
def gpus(monkeypatch):
    """Simulate a machine with some CUDA GPUs: `gpus(2)`; the numbers of those that became the current one are in the list it returns."""

    def make(count: int, free: float = 80e9) -> list[int]:
        chosen: list[int] = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(torch.device(device).index))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free), int(free)))
        return chosen

    return make


@pytest.fixture
def available(monkeypatch):
    """Simulate that so many bytes of main memory are available."""

    def make(count: int) -> None:
        memory = psutil.virtual_memory()._replace(available=count)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    return make


def test_a_machine_without_a_gpu_loads_in_fp32(gpus, tiny_model_dir):
    gpus(0)
    weights = {weight.dtype for weight in load(tiny_model_dir)[0].parameters()}
    assert (choose_placement().device, weights) == (CPU, {torch.float32})


def test_a_gpu_is_taken_and_holds_the_dtype_of_the_checkpoint(gpus):
    chosen = gpus(1)
    assert choose_placement() == Placement(torch.device("cuda:0"), None)
    assert choose_placement().device_map == {"": torch.device("cuda:0")}
    assert chosen == [0, 0]


def test_each_rank_of_a_launcher_gets_its_own_gpu(gpus, monkeypatch):
    gpus(4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_placement() == Placement(torch.device("cuda:3"), None)


def test_several_gpus_without_a_launcher_are_one_gpu_and_a_remark(gpus, caplog):
    gpus(2)
    with caplog.at_level(logging.WARNING):
        assert choose_placement().device == torch.device("cuda:0")
    (remark,) = caplog.messages
    assert remark.startswith("2 GPUs are visible and one process uses one of them, cuda:0.")
    assert "accelerate launch --num_processes 2 -m expunge" in remark


def test_a_named_gpu_needs_no_remark(gpus, caplog):
    gpus(2)
    assert choose_placement("cuda:1", "fp32") == Placement(torch.device("cuda:1"), torch.float32)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("count", "words", "message"),
    [
        (0, ["gpu"], "is not one of auto, cpu, cuda"),
        (0, ["cuda"], "no CUDA GPU here"),
        (1, ["cuda:1"], "the CUDA GPU cuda:0 only here"),
        (2, ["cuda:2"], "the CUDA GPUs cuda:0 to cuda:1 here"),
        (2, ["cuda:x"], "write the number of the GPU"),
        (0, ["mps"], "no GPU of Apple"),
        (0, ["cpu", "fp16"], "is not one of auto, bf16, fp32"),
    ],
)
def test_what_this_machine_lacks_is_refused(gpus, count, words, message):
    gpus(count)
    with pytest.raises(InputError, match=message):
        choose_placement(*words)


def test_a_launcher_and_the_number_of_a_gpu_contradict_each_other(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(InputError, match="a launcher gives each process its own GPU"):
        choose_placement("cuda:1")


def test_short_memory_loads_bf16_on_a_cpu_and_says_so(available, tiny_model_dir, caplog):
    size = sum(weight.numel() for weight in load(tiny_model_dir)[0].parameters())
    # Four bytes a weight and a quarter more: 5 bytes a weight are just enough for fp32.
    available(5 * size)
    assert load(tiny_model_dir)[0].dtype == torch.float32
    available(5 * size - 1)
    assert not caplog.messages
    assert load(tiny_model_dir)[0].dtype == torch.bfloat16
    assert "are loaded in bf16. With --dtype fp32" in caplog.text
    assert load(tiny_model_dir, choose_placement(dtype="fp32"))[0].dtype == torch.float32


def test_a_container_has_less_memory_than_its_machine(available, monkeypatch, tmp_path):
    available(1000)
    for name, text in {"max": "900", "current": "700", "stat": "anon 500\nfile 150"}.items():
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    # 900 - 700, and 150 that the kernel frees when they are needed
    assert module.available_memory() == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert module.available_memory() == 1000


def test_a_model_that_does_not_fit_one_gpu_is_spread_over_all(gpus, tiny_model_dir):
    model, _ = load(tiny_model_dir)
    needed = 1.25 * sum(weight.numel() for weight in model.parameters()) * model.config.dtype.itemsize
    gpus(2, free=needed)
    assert choose_placement().for_model(model.config).device_map == {"": torch.device("cuda:0")}
    gpus(2, free=needed - 1)
    assert choose_placement().for_model(model.config).device_map == "auto"
    assert choose_placement("cuda:0").for_model(model.config).device_map == {"": torch.device("cuda:0")}


def test_a_model_that_fsdp_will_shard_stays_in_main_memory(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    placement = choose_placement()
    assert (placement.device, placement.dtype, placement.device_map) == (torch.device("cuda:1"), torch.float32, None)


def test_the_checkpoints_own_dtype_is_read_from_it(tmp_path, tiny_model_dir):
    model, tokenizer = load(tiny_model_dir, choose_placement(dtype="bf16"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    own = load(tmp_path, Placement(CPU, None))[0]
    assert placement_of(own) == Placement(CPU, torch.bfloat16)


def test_weights_that_change_are_fp32_and_never_bf16():
    assert in_fp32(choose_placement(), "a full edit") == Placement(CPU, torch.float32)
    with pytest.raises(InputError, match="dtype bf16: a full edit changes the weights themselves"):
        in_fp32(choose_placement(dtype="bf16"), "a full edit")


def test_the_fast_dtype_of_a_gpu_of_apple_is_fp32():
    assert fast_dtype(torch.device("mps")) == torch.float32
