"""`--device` and `--dtype` on the command line."""

import inspect

import pytest

from expunge.cli.main import VERBS
from expunge.cli.placement import Device, Dtype

COMMANDS = {verb.__name__.rpartition(".")[2]: verb.command for verbs in VERBS.values() for verb in verbs}
WITHOUT_A_MODEL = {"compare", "verify", "purge", "validate", "ls"}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_A_MODEL))
def test_every_verb_that_loads_a_model_has_the_shared_options(name):
    hints = inspect.get_annotations(COMMANDS[name], eval_str=True)
    assert hints.get("device") == Device
    # The dtype of an export is that of the written weights, with its own help text.
    assert hints.get("dtype") == Dtype or name == "export"


def test_a_verb_without_a_model_has_none():
    assert not any("device" in inspect.signature(COMMANDS[name]).parameters for name in WITHOUT_A_MODEL)


def test_a_device_that_is_not_there_is_one_sentence(expunge, tiny_data):
    result = expunge("unlearn", "--forget", tiny_data[0], "--out", "run", "--device", "tpu")
    assert (result.code, result.err) == (
        2,
        'expunge: device "tpu": is not one of auto, cpu, cuda, cuda:1 (or another number), mps\n',
    )


@pytest.mark.parametrize("verb", ["compare", "chat", "export"])
def test_a_verb_of_one_process_is_refused_in_several(expunge, monkeypatch, verb):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert "runs in one process" not in expunge(verb, "run").err
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = expunge(verb, "run")
    assert (result.code, result.err) == (2, f"expunge: {verb} runs in one process; start it without `accelerate launch`\n")


def test_what_an_audit_in_several_processes_cannot_do_is_one_sentence(expunge, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = expunge("audit", "run", "--gate")
    assert (result.code, result.err) == (2, "expunge: --gate, --tasks: run in one process; start it without `accelerate launch`\n")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    result = expunge("audit", "run", "--device", "cpu")
    assert (result.code, result.err) == (
        2,
        "expunge: an audit loads the whole model in each process; start it with launch/ddp.yaml, or without a launcher\n",
    )
