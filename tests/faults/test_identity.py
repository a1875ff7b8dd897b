"""Identity: whatever changes an answer of the base model is refused at every door, with its name, and no old number is used."""

import shutil

import pytest
from harness import VERBS, run_verb
from hostile_files import rehash_facts
from model_changes import CHANGES, FAMILIES, HARMLESS

from expunge.config.recipe import make_recipe
from expunge.data.prompts import PromptBuilder
from expunge.edits.apply import apply_edit
from expunge.edits.save import load_edit, save_edit
from expunge.errors import WrongBase
from expunge.models.identified import load_identified
from expunge.models.loading import load, parts_without_weights
from expunge.runs.cache import Measurement
from expunge.runs.loaded import load_run, open_run

DOORS = {
    "chat": "lora",
    "gate": "grun",
    "audit": "reft",
    "audit --suite": "full",
    "audit --gate": "grun",
    "export": "release",
    "add request": "reft",
    "undo": "release",
}
"""Every verb that loads a run's base model, on one kind of run."""
ONE_OF_EACH = ("a weight", "rope_theta", "normalizer", "chat template", "eos_token_id")


def key(folder) -> str:
    """Return the cache key of a measurement of a model."""
    loaded = load_identified(folder)
    return Measurement("sets", loaded.identity.sha256, loaded.model, PromptBuilder(loaded.tokenizer), {}).key()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_knows_each_change_of_its_base_by_name(make_tiny_model, tmp_path, trials, family):
    intact = make_tiny_model(family)
    loaded, intact_key = load_identified(intact), key(intact)
    model, identity = loaded.model, loaded.identity
    recipe = make_recipe({"data": {"forget": "x.jsonl"}, "objective": "npo", "edit": {"name": "reft"}})
    save_edit(apply_edit(model, recipe.edit, identity.checkpoint), tmp_path / "edit", identity)
    load_edit(load(intact)[0], tmp_path / "edit", identity)
    for name, change in CHANGES.items():
        if family not in change.families:
            continue
        changed = shutil.copytree(intact, tmp_path / name)
        change.make(changed)
        other = load_identified(changed)
        try:
            load_edit(other.model, tmp_path / "edit", other.identity)
            verdict, sentence = "silent", ""
        except WrongBase as error:
            sentence = str(error)
            verdict = "held" if change.part in sentence and "differs in its" in sentence else "wrong"
        trials.count("identity", f"{family}, {name}", verdict, sentence)
        trials.count("identity", f"{family}, {name}, cache", "silent" if key(changed) == intact_key else "held")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_changes_no_answer_changes_no_identity(make_tiny_model, tmp_path, family):
    intact = make_tiny_model(family)
    identity, intact_key = load_identified(intact).identity, key(intact)
    for name, change in HARMLESS.items():
        moved = shutil.copytree(intact, tmp_path / name)
        change(moved)
        again = load_identified(moved).identity
        assert again.differences(identity) == [], name
        assert key(moved) == intact_key, name
        assert parts_without_weights(moved).items() <= again.parts.items(), name


@pytest.mark.parametrize("name", [name for name, change in CHANGES.items() if "llama" in change.families])
def test_a_run_is_refused_on_a_changed_base_and_verify_sees_it(fresh, trials, name):
    place = fresh("lora")
    CHANGES[name].make(place.folder / "model")
    ended = run_verb(*VERBS["chat"].on("lora"), cwd=place.folder)
    trials.refused("identity", f"chat, {name}", ended, "runs/lora: was trained on another base model", CHANGES[name].part)
    verified = run_verb(*VERBS["verify"].on("lora"), cwd=place.folder)
    held = verified.code == 1 and "differs" in verified.out and not verified.has_traceback
    trials.count("identity", f"verify, {name}", "held" if held else "silent", verified)


@pytest.mark.parametrize("verb", DOORS)
def test_every_door_refuses_a_changed_base_by_the_part(fresh, trials, verb):
    for name in ONE_OF_EACH:
        place = fresh(DOORS[verb])
        CHANGES[name].make(place.folder / "model")
        ended = run_verb(*VERBS[verb].on(DOORS[verb]), cwd=place.folder)
        trials.refused("identity", f"{verb}, {name}", ended, f"runs/{DOORS[verb]}: was trained on another base model", CHANGES[name].part)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_run_works_on_a_base_that_only_looks_different(fresh, name):
    place = fresh("lora")
    HARMLESS[name](place.folder / "model")
    assert run_verb(*VERBS["chat"].on("lora"), cwd=place.folder).code == 0
    audited = set((place.folder / "cache" / "expunge" / "measured").iterdir())
    assert run_verb(*VERBS["audit"].on("lora"), cwd=place.folder).code == 0
    assert set((place.folder / "cache" / "expunge" / "measured").iterdir()) == audited


def test_a_moved_base_is_found_under_its_new_name(fresh, monkeypatch):
    place = fresh("lora")
    (place.folder / "model").rename(place.folder / "moved")
    recipe = place.run("lora") / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("model: model\n", "model: moved\n"), encoding="utf-8")
    monkeypatch.chdir(place.folder)
    load_run(open_run("runs/lora"))
    # The measurements are those of the same model.
    audited = set((place.folder / "cache" / "expunge" / "measured").iterdir())
    assert run_verb(*VERBS["audit"].on("lora"), cwd=place.folder).code == 0
    assert set((place.folder / "cache" / "expunge" / "measured").iterdir()) == audited


def test_another_system_message_is_refused(fresh, trials):
    place = fresh("lora")
    recipe = place.run("lora") / "recipe.yaml"
    assert "system: null" in recipe.read_text(encoding="utf-8")
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("system: null", "system: Answer in rhymes."), encoding="utf-8")
    ended = run_verb(*VERBS["chat"].on("lora"), cwd=place.folder)
    trials.refused("identity", "system message", ended, "runs/lora/recipe.yaml: data.system has changed")


@pytest.mark.parametrize("part", ["checkpoint", "tokenizer", "chat_template"])
def test_a_run_of_an_earlier_version_says_what_to_do(fresh, trials, part):
    place = fresh("lora")
    info = place.run("lora") / "run.json"
    info.write_text(info.read_text(encoding="utf-8").replace(f'"{part}"', '"other"'), encoding="utf-8")
    rehash_facts(info)
    ended = run_verb(*VERBS["chat"].on("lora"), cwd=place.folder)
    trials.refused(
        "identity",
        "run.json without parts",
        ended,
        "runs/lora/run.json: does not record the base model by the hash of its checkpoint",
        "expunge run",
    )


def test_another_control_is_measured_anew(fresh):
    place = fresh("lora")
    shutil.copytree(place.folder / "model", place.folder / "control")
    words = (*VERBS["audit"].on("lora"), "--control", "control")
    measured = place.folder / "cache" / "expunge" / "measured"
    assert run_verb(*words, cwd=place.folder).code == 0
    before = set(measured.iterdir())
    rewritten = CHANGES["chat template"]
    rewritten.make(place.folder / "control")
    assert run_verb(*words, cwd=place.folder).code == 0
    assert len(set(measured.iterdir()) - before) == 1
