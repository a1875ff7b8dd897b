"""Train a LoRA module: it learns, resumes exactly, avoids the retain module, and leaves the model unchanged."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from rich.progress import Progress

from expunge.config import ModuleSection, OverlapSection
from expunge.console import Display
from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import read_records
from expunge.errors import ExpungeError, InputError
from expunge.models.loading import load, weights_sha256
from expunge.models.scoring import score
from expunge.reveal_release.release.lora_delta import LoraModule, add_deltas, read_module, save_module
from expunge.reveal_release.release.orthogonality import angles_summary, principal_angles
from expunge.reveal_release.release.train_module import ModuleTraining, RetainConstraint, train_module

# 6 forget records make 2 steps an epoch
SETTINGS = ModuleSection(rank=4, epochs=3, batch_size=3, lr=1e-2, dtype="fp32", save_steps=2)
L1 = OverlapSection(kind="l1", weight=0.01)


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


@pytest.fixture
def train(make_tiny_model, tiny_data, tmp_path):
    """Train a module: `train(name, on="forget", **settings_of_the_retain_constraint)` returns its folder."""

    def run(
        name: str,
        on: str = "forget",
        architecture: str = "llama",
        display: Display | None = None,
        model=None,
        settings: ModuleSection = SETTINGS,
        seed: int = 5,
        **constraint,
    ) -> Path:
        loaded, tokenizer = load(make_tiny_model(architecture))
        records = read_records(tiny_data[0 if on == "forget" else 1])
        training = ModuleTraining(records, tmp_path / name, settings, seed, "Learning")
        builder, constrained = PromptBuilder(tokenizer), RetainConstraint(**constraint)
        train_module(model or loaded, builder, training, display or Display(), constrained)
        return tmp_path / name

    return run


@pytest.fixture
def nll(make_tiny_model, tiny_data):
    """Return the mean NLL of the answers in a data file: `nll(model, "forget")`."""

    def mean(model, on: str) -> float:
        builder = PromptBuilder(load(make_tiny_model())[1])
        rows = [builder.record(record) for record in read_records(tiny_data[0 if on == "forget" else 1])]
        with torch.no_grad():
            return score(model.eval(), collate(rows, builder.pad)).nll.mean().item()

    return mean


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


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


def test_checkpoints_left_by_a_late_kill_are_deleted(train):
    folder = train("module")
    (folder / "checkpoints").mkdir()
    train("module")
    assert not (folder / "checkpoints").exists()


def test_a_damaged_module_is_an_error(train):
    folder = train("module")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ExpungeError, match=r"adapter_model\.safetensors does not have the hash it was saved with; remove the folder"):
        train("module")


@pytest.mark.parametrize("kind", ["l1", "frobenius"])
def test_the_penalty_increases_the_angles_to_the_retain_module(train, kind):
    # Two spaces of 4 dimensions among 32: chance alone leaves some of their directions close to each other
    retain = train("retain", "retain", seed=6)
    longer, angles = SETTINGS.model_copy(update={"epochs": 10}), []
    for name in ("none", kind):
        folder = train(name, settings=longer, module=retain, overlap=OverlapSection(kind=name, weight=0.3, include_b=True))
        angles.append(angles_summary(principal_angles(read_module(retain), read_module(folder))))
    assert all(angles[1][part] > angles[0][part] for part in angles[0])
    assert angles[1]["A_smallest"] > angles[0]["A_smallest"] + 0.1


def test_a_penalty_without_weight_is_not_computed(train):
    constraint = {"module": train("retain", "retain", seed=6)}
    alone = sha256(train("alone"))
    for name, overlap in (("none", OverlapSection(kind="none")), ("zero", OverlapSection(weight=0))):
        folder = train(name, overlap=overlap, **constraint)
        assert sha256(folder) == alone
        assert "overlap" not in logged(folder)[0]


def test_b_is_penalised_only_with_include_b(train):
    # Before the first step the new B is 0, so that the first logged penalty is of A alone; from then on it is not
    retain = train("retain", "retain")
    logs = [logged(train(f"{b}", module=retain, overlap=OverlapSection(weight=0.01, include_b=b))) for b in (False, True)]
    assert logs[0][0]["overlap"] == logs[1][0]["overlap"]
    assert logs[0][1]["overlap"] != logs[1][1]["overlap"]


def test_the_retain_module_does_not_change_and_is_active_only_if_requested(train):
    retain = train("retain", "retain")
    before = sha256(retain)
    first = [logged(train(f"{on}", module=retain, active=on))[0]["forget"] for on in (False, True)]
    assert first[0] == logged(train("alone"))[0]["forget"] != first[1]
    assert sha256(retain) == before


def test_an_active_retain_module_equals_one_added_to_the_weights(train, make_tiny_model):
    retain = train("retain", "retain")
    added, _ = load(make_tiny_model())
    add_deltas(added, [(1.0, read_module(retain))])
    one, other = logged(train("beside", module=retain, active=True)), logged(train("added", model=added))
    assert [line["forget"] for line in one] == pytest.approx([line["forget"] for line in other], rel=1e-3)


def test_with_the_kl_term_subtraction_changes_retain_answers_less(train, nll, make_tiny_model, tiny_data):
    def left(folder):
        model = load(make_tiny_model())[0]
        before = nll(model, "retain")
        add_deltas(model, [(-1.0, read_module(folder))])
        return abs(nll(model, "retain") - before), nll(model, "forget")

    retained = read_records(tiny_data[1])
    freely, forgot_freely = left(train("free"))
    held, forgot_held = left(train("held", records=retained, kl_weight=3.0))
    assert held < freely / 2
    assert forgot_held > nll(load(make_tiny_model())[0], "forget")
    assert forgot_freely > nll(load(make_tiny_model())[0], "forget")


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_uses_logits_divided_by_the_temperature(train, tiny_data, make_tiny_model, temperature):
    model, tokenizer = load(make_tiny_model())
    builder = PromptBuilder(tokenizer)
    rows = [builder.record(record) for record in read_records(tiny_data[0])]
    with torch.no_grad():
        scores = score(model.eval(), collate(rows, builder.pad), logits=True)
    tokens = torch.nn.functional.cross_entropy(scores.logits / temperature, scores.targets, reduction="none")
    by_row = torch.zeros(len(rows)).index_add(0, scores.rows, tokens) / scores.tokens
    # The first step is made on the unchanged model, and its batch has all rows.
    one_step = SETTINGS.model_copy(update={"temperature": temperature, "batch_size": len(rows), "epochs": 1})
    assert logged(train("module", settings=one_step))[0]["forget"] == pytest.approx(by_row.mean().item(), rel=1e-5)


def test_the_kl_term_needs_a_weight_and_records(train, tiny_data):
    plain = sha256(train("plain"))
    assert sha256(train("no weight", records=read_records(tiny_data[1]), kl_weight=0.0)) == plain
    assert sha256(train("no records", records=[], kl_weight=1.0)) == plain


def test_without_a_retain_module_there_is_no_overlap_penalty(train):
    assert sha256(train("none", overlap=L1, active=True)) == sha256(train("alone"))


def test_only_the_seed_determines_the_first_factors(train):
    torch.manual_seed(1)
    one = train("one")
    torch.manual_seed(2)
    assert sha256(train("same")) == sha256(one)
    assert sha256(train("other", seed=6)) != sha256(one)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_factors_are_trained_in_fp32_for_every_dtype_of_the_model(train, make_tiny_model, dtype):
    model, _ = load(make_tiny_model(), dtype)
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
