"""Settings that break the numbers: the result is finite and saved, or the command ends with one sentence and saves nothing."""

import json
import math
import shutil
from pathlib import Path

import pytest
from harness import EDIT_KINDS, Outcome, run_verb
from places import Place, prepare_place
from safetensors.torch import load_file
from trials import HELD, Trials, refusal

OBJECTIVES = ("npo", "grad_ascent")
SETTINGS = (
    *("training.lr", "training.weight_decay", "training.max_grad_norm", "training.gate_loss_weight", "training.gate_warmup"),
    *("training.warmup_ratio", "training.batch_size", "training.micro_batch_size", "training.save_steps", "training.prefix_cache_gib"),
    *("edit.rank", "edit.alpha", "edit.gate_weight_decay", "edit.false_positive_rate", "data.held_out"),
    *("objective.retain_weight", "objective.forget_weight"),
)
EXTREMES = ("0", "-1", "1e-30", "1e30", "3e38", "1e300", "inf", "nan", "1000000000", "100000000000000000")
BREAKING = (
    *(("lora", "training.lr=3e38"), ("full", "training.lr=3e38"), ("reft", "training.lr=1e300"), ("grun", "training.lr=3e38")),
    *(("grun", "edit.gate_weight_decay=1e300"), ("grun", "edit.gate_weight_decay=1e30"), ("lora", "training.weight_decay=1e300")),
    *(("lora", "edit.rank=1000000000"), ("full", "objective.forget_weight=3e38"), ("lora", "training.micro_batch_size=2")),
)
"""Settings that must be refused; each of them broke the numbers, or another promise, in one way of its own."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_tiny_model) -> Place:
    """A place without runs."""
    return prepare_place(tmp_path_factory.mktemp("nonfinite") / "place", make_tiny_model("llama"))


def attempt(place: Place, kind: str, *settings: str) -> tuple[Outcome, Path]:
    """Run the recipe of a kind with other settings, into a new folder."""
    folder = place.folder / "runs" / "x"
    shutil.rmtree(folder, ignore_errors=True)
    return run_verb("run", f"{kind}.yaml", "--no-audit", "--out", "runs/x", *settings, cwd=place.folder), folder


def not_finite(folder: Path) -> list[str]:
    """Return where the files of a run hold a number that is not finite."""
    found = [
        f"{path.relative_to(folder)} {name}"
        for path in folder.rglob("*.safetensors")
        for name, tensor in load_file(path).items()
        if not tensor.isfinite().all()
    ]
    for path in (*folder.rglob("*.json"), *folder.rglob("*.jsonl")):
        words: list[str] = []
        for text in path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text(encoding="utf-8")]:
            json.loads(text, parse_constant=words.append)
        found += [f"{path.relative_to(folder)} {word}" for word in words]
    return found


def judge(outcome: Outcome, folder: Path) -> str:
    """Return the verdict on a run: whole and finite, or refused with nothing saved."""
    if not_finite(folder):
        return "silent"
    if outcome.code == 0 and not outcome.has_traceback:
        return HELD if (folder / "edit").is_dir() else "wrong"
    saved = (folder / "edit").exists() or ((folder / "run.json").exists() and _status(folder) != "training")
    return "silent" if saved else refusal(outcome)


def _status(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"]


@pytest.mark.parametrize(("kind", "setting"), BREAKING)
def test_settings_that_break_the_numbers_save_nothing(place: Place, trials: Trials, kind, setting):
    outcome, folder = attempt(place, kind, setting)
    trials.count("nonfinite", f"{kind} {setting}", judge(outcome, folder) if outcome.code else "silent", outcome)


def test_the_sentence_names_the_tensor_the_step_and_what_to_do(place: Place):
    outcome, folder = attempt(place, "lora", "training.lr=3e38")
    assert outcome.code == 1
    assert outcome.sentence.startswith("base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight holds NaN after step 1; ")
    assert "lower the learning rate" in outcome.sentence
    assert not list((folder / "checkpoints").iterdir())


def test_a_failed_training_fails_again_with_the_same_words_and_keeps_its_last_good_checkpoint(place: Place):
    # The weights of the first two steps are finite, and the third step's loss is not.
    settings = ("training.weight_decay=1000000000", "training.epochs=4")
    outcome, folder = attempt(place, "lora", *settings)
    assert outcome.code == 1
    before = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert before == ["checkpoint-1", "checkpoint-2"]
    again = run_verb("run", "lora.yaml", "--no-audit", "--out", "runs/x", *settings, cwd=place.folder)
    assert again.sentence == outcome.sentence
    assert "here the training would fail again at the same step" in again.sentence
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == before
    assert not not_finite(folder)


def test_an_edit_that_is_finite_but_breaks_the_model_is_not_saved(place: Place):
    # One step of 1e30: the weights themselves are finite, and no loss of a later step can show that the model is broken.
    outcome, folder = attempt(place, "lora", "training.lr=1e30", "training.epochs=1", "training.batch_size=6")
    assert outcome.code == 1
    assert "the loss of record" in outcome.sentence
    assert "after the last step, 1; the edit was not saved" in outcome.sentence
    assert not (folder / "edit").exists()


def test_a_gate_that_is_not_finite_is_never_called_guaranteed(place: Place):
    outcome, folder = attempt(place, "grun", "edit.gate_weight_decay=1e300")
    assert outcome.sentence == "the loss of the gate is nan at step 2 of 800; no edit was trained; lower edit.gate_weight_decay"
    assert "gate" not in json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("setting", ["release.module.lr=1e30", "release.module.lr=3e38"])
def test_a_module_that_is_not_finite_ends_the_release(place: Place, trials: Trials, setting):
    outcome, folder = attempt(place, "release", setting)
    trials.count("nonfinite", setting, judge(outcome, folder) if outcome.code else "silent", outcome)
    assert math.isfinite(json.loads((folder / "rounds" / "0" / "round.json").read_text(encoding="utf-8"))["metrics"]["forget_nll"])


@pytest.mark.long
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_every_number_of_a_recipe_at_its_extremes(place: Place, trials: Trials, kind, objective):
    for setting in SETTINGS:
        for value in EXTREMES:
            outcome, folder = attempt(place, kind, f"objective={objective}", f"{setting}={value}")
            trials.count("nonfinite", f"{kind} {objective} {setting}={value}", judge(outcome, folder), outcome)
