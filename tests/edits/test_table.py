"""The table of edits: what each one is, its defaults, and errors for settings that do not fit."""

import pytest

from expunge.config import EDIT_PRESETS, DataSection, EditSection, ReleaseSection
from expunge.config.recipe import Recipe, make_recipe
from expunge.edits import EDITS, calibrates, check_settings, descriptions, edit_of
from expunge.edits.requests import add_request
from expunge.edits.save import save_edit
from expunge.errors import InputError
from expunge.models.identity import ModelIdentity

DATA = DataSection(forget="forget.jsonl")


def section(given: dict) -> EditSection:
    return make_recipe({"data": {"forget": "forget.jsonl"}, "edit": given}).edit


def test_every_edit_has_a_name_a_description_and_defaults_for_training():
    for name, edit in EDITS.items():
        assert edit.name == name
        assert edit.description
        assert edit.epochs > 0
        assert 0 < edit.lr < 1


def test_the_listing_names_every_edit_and_preset_with_its_defaults():
    assert list(descriptions()) == [*EDITS, *EDIT_PRESETS]
    assert descriptions()["full"].endswith("default epochs 5, lr 1e-05")


def test_every_preset_stands_for_an_edit_of_the_table():
    assert all(section({"name": name}).name in EDITS for name in EDIT_PRESETS)


def test_an_unknown_edit_is_named_with_those_there_are():
    with pytest.raises(InputError, match=rf"edit\.name: no edit 'prune'; there are {', '.join([*EDITS, *EDIT_PRESETS])}"):
        check_settings(section({"name": "prune"}))


@pytest.mark.parametrize("given", [{"name": "lora"}, {"gate_pool": "last"}])
@pytest.mark.parametrize("setting", ["gate_first", "answer_gate"])
def test_only_a_pooled_gate_can_be_trained_first_or_read_answers(given, setting):
    with pytest.raises(InputError, match=rf"edit\.{setting}: needs name grun and a pooled gate"):
        check_settings(section({**given, setting: True}))


@pytest.mark.parametrize(
    ("given", "rank", "positions"),
    [
        ({"name": "grun"}, 8, "onward"),
        ({"name": "grun", "gate_pool": "last"}, 4, "last_prompt"),
        ({"name": "grun-paper"}, 4, "last_prompt"),
        ({"name": "reft"}, 4, "last_prompt"),
        ({"name": "reft", "rank": 2, "positions": "onward"}, 2, "onward"),
    ],
)
def test_rank_and_positions_have_defaults_that_depend_on_the_gate(llama, given, rank, positions):
    settings = section(given)
    config = EDITS[settings.name].config(llama, settings, "")
    assert (config.rank, config.positions) == (rank, positions)


def test_lora_has_rank_4_and_twice_that_as_alpha(llama):
    config = EDITS["lora"].config(llama, section({"name": "lora"}))
    assert (config.r, config.lora_alpha, config.target_modules) == (4, 8, "all-linear")


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"name": "grun"}, True),
        ({"name": "grun", "gate_first": False}, False),
        ({"name": "grun-paper"}, False),
        ({"name": "lora"}, False),
        ({"name": "full"}, False),
    ],
)
def test_only_a_run_that_trains_its_gate_first_calibrates(given, first):
    recipe = Recipe(data=DATA, edit=section(given))
    assert edit_of(recipe).trains_gate_first(recipe.edit) is first
    assert calibrates(recipe) is first


def test_a_release_changes_the_weights_and_calibrates():
    recipe = Recipe(data=DATA, release=ReleaseSection())
    assert edit_of(recipe) is EDITS["full"]
    assert not edit_of(recipe).removable
    assert calibrates(recipe)


@pytest.mark.parametrize("name", ["full", "lora"])
def test_an_edit_that_changes_weights_is_not_added_to_earlier_requests(make_llama, tmp_path, name):
    settings = section({"name": "reft"})
    save_edit(EDITS["reft"].apply(make_llama(), settings, "b"), tmp_path / "edit", ModelIdentity(*"bctmg"))
    model = add_request(make_llama(), tmp_path / "edit", "first")
    for put in (lambda: EDITS[name].check(model, section({"name": name})), lambda: EDITS[name].apply(model, section({"name": name}), "b")):
        with pytest.raises(InputError, match=f"{name} cannot be added to earlier requests"):
            put()
