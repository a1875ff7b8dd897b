"""Train a LoRA module: it learns, resumes exactly, and leaves the model unchanged."""

import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from rich.progress import Progress
from small_modules import L1, SETTINGS, logged, sha256

from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.errors import ExpungeError, InputError
from expunge.models.identity import weights_sha256
from expunge.models.loading import load
from expunge.models.placement import Placement
from expunge.reveal_release.release.lora_delta import LoraModule, add_deltas, read_module, save_module
from expunge.reveal_release.release.train_module import ModuleTraining, train_module


class Interrupted(Display):
    """A display that interrupts the training when its bar reaches the fifth step."""

    def progress(self):
        progress = Progress(disable=True)
        update = progress.update

        def until_the_fifth(task_id, **kwargs):
            update(task_id, **kwargs)
            if kwargs.get("completed") == 5:
                raise KeyboardInterrupt

        progress.update = until_the_fifth
        return progress


def test_adding_a_module_learns_and_subtracting_it_forgets(train, nll, make_tiny_model):
    before, (added, _), (negated, _) = (load(make_tiny_model()) for _ in range(3))
    module = read_module(train("module"))
    add_deltas(added, [(1.0, module)])
    add_deltas(negated, [(-1.0, module)])
    assert nll(added, "forget") < nll(before[0], "forget") < nll(negated, "forget")


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_peft_loads_a_trained_module_with_equal_logits(train, make_tiny_model, architecture):
    folder, base = train("module", architecture=architecture), make_tiny_model(architecture)
    adapted, (changed, _) = PeftModel.from_pretrained(load(base)[0], str(folder)), load(base)
    add_deltas(changed, [(1.0, read_module(folder))])
    ids = torch.tensor([[5, 17, 200, 33]])
    with torch.no_grad():
        torch.testing.assert_close(adapted(ids).logits, changed(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_module_changes_all_linear_layers_but_the_head_or_those_named(train):
    names = set(read_module(train("all")).factors)
    assert len(names) == 4 * 7
    assert not any("lm_head" in name for name in names)
    some = train("some", settings=SETTINGS.model_copy(update={"modules": r"layers\.[12]\..*(up|down)_proj"}))
    assert set(read_module(some).factors) == {f"model.layers.{block}.mlp.{side}_proj.weight" for block in (1, 2) for side in ("up", "down")}


def test_the_scale_is_alpha_over_the_rank_or_over_its_root(train):
    # 2 x rank / rank; 6 / sqrt(4)
    assert set(read_module(train("plain")).scale.values()) == {2.0}
    rooted = read_module(train("rooted", settings=SETTINGS.model_copy(update={"alpha": 6, "rslora": True})))
    assert set(rooted.scale.values()) == {3.0}


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_training_leaves_the_model_unchanged(train, make_tiny_model, architecture):
    model, _ = load(make_tiny_model(architecture))
    model.train()
    frozen = next(iter(model.parameters())).requires_grad_(False)
    names, before = [name for name, _ in model.named_parameters()], weights_sha256(model)
    modules, attributes = [(name, type(module)) for name, module in model.named_modules()], set(vars(model))
    retain = train("retain", "retain", architecture, model=model)
    train("module", architecture=architecture, model=model, module=retain, overlap=L1, active=True)
    assert weights_sha256(model) == before
    assert [name for name, _ in model.named_parameters()] == names
    assert [(name, type(module)) for name, module in model.named_modules()] == modules
    assert set(vars(model)) == attributes
    assert [p for p in model.parameters() if not p.requires_grad] == [frozen]
    assert all(p.grad is None for p in model.parameters())
    assert model.training


def test_an_interrupted_training_leaves_the_model_unchanged(train, make_tiny_model):
    model, _ = load(make_tiny_model())
    names, before = list(model.state_dict()), weights_sha256(model)
    with pytest.raises(KeyboardInterrupt):
        train("module", model=model, display=Interrupted())
    assert list(model.state_dict()) == names
    assert weights_sha256(model) == before
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("active", [False, True])
def test_a_resumed_training_equals_an_uninterrupted_one(train, tmp_path, active):
    constraint = {"module": train("retain", "retain"), "overlap": L1, "active": active}
    whole = train("whole", **constraint)
    with pytest.raises(KeyboardInterrupt):
        train("broken", display=Interrupted(), **constraint)
    assert not (tmp_path / "broken").exists()
    assert (tmp_path / "broken.part" / "checkpoints" / "checkpoint-4").exists()
    # The state of the global generator must not matter.
    torch.manual_seed(99)
    broken = train("broken", **constraint)
    assert sha256(broken) == sha256(whole)
    assert logged(broken) == logged(whole)
    assert {path.name for path in broken.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_trained_module_is_not_trained_again(train):
    folder = train("module")
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "metrics.jsonl",
    }
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert train("module", display=Interrupted()) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_training_killed_before_its_manifest_trains_again_to_the_same_module(train, tmp_path, monkeypatch):
    whole = train("whole")

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["expunge.reveal_release.release.train_module"], "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            train("killed")
    assert not (tmp_path / "killed").exists()
    again = train("killed")
    assert (sha256(again), logged(again)) == (sha256(whole), logged(whole))
    assert not (again / "checkpoints").exists()


def test_a_damaged_module_is_an_error(train):
    folder = train("module")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ExpungeError, match=r"adapter_model\.safetensors does not have the hash it was saved with; remove the folder"):
        train("module")


def test_only_the_seed_determines_the_first_factors(train):
    torch.manual_seed(1)
    one = train("one")
    torch.manual_seed(2)
    assert sha256(train("same")) == sha256(one)
    assert sha256(train("other", seed=6)) != sha256(one)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_factors_are_trained_in_fp32_for_every_dtype_of_the_model(train, make_tiny_model, dtype):
    model, _ = load(make_tiny_model(), Placement(torch.device("cpu"), dtype))
    module = read_module(train("module", model=model, settings=SETTINGS.model_copy(update={"dtype": "bf16"})))
    assert {factor.dtype for halves in module.factors.values() for factor in halves} == {torch.float32}
    assert all(weight.dtype == dtype for weight in model.parameters())
    assert logged_falls(train("longer", model=model, settings=SETTINGS.model_copy(update={"dtype": "bf16", "epochs": 10})))


def logged_falls(folder: Path) -> bool:
    log = logged(folder)
    return log[-1]["forget"] < log[0]["forget"]


def test_impossible_trainings_fail_before_anything_is_written(train, tmp_path, make_tiny_model):
    with pytest.raises(InputError, match="'no_such_layer' matches no linear layer"):
        train("module", settings=SETTINGS.model_copy(update={"modules": "no_such_layer"}))
    with pytest.raises(InputError, match="matches no linear layer of this model below its head"):
        train("module", settings=SETTINGS.model_copy(update={"modules": "lm_head"}))
    foreign = LoraModule({"other.weight": (torch.ones(1, 2), torch.ones(2, 1))}, {"other.weight": 1.0})
    save_module(foreign, tmp_path / "foreign")
    with pytest.raises(InputError, match=r"other\.weight: this model has no such weight"):
        train("module", module=tmp_path / "foreign", active=True)
    tokenizer = load(make_tiny_model())[1]
    training = ModuleTraining([], tmp_path / "module", SETTINGS, 5, "Learning")
    with pytest.raises(InputError, match="Learning: there are no records to train on"):
        train_module(load(make_tiny_model())[0], PromptBuilder(tokenizer), training, Display())
    assert not list(tmp_path.glob("module*"))


def test_a_model_with_an_edit_is_an_error(train, make_tiny_model):
    edited = PeftModel.from_pretrained(load(make_tiny_model())[0], str(train("module")))
    with pytest.raises(InputError, match="carries requests"):
        train("other", model=edited)
