"""The recipe: strict reading, overrides by dotted settings, and a lossless round trip through YAML."""

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from expunge.cli.setting_list import setting_lines
from expunge.config.recipe import Recipe, make_recipe, read_recipe
from expunge.edits import EDITS
from expunge.errors import InputError
from expunge.objectives import NPO, OBJECTIVES, RMU

SHIPPED = Path(__file__).parents[2] / "recipes"
FORGET = {"data": {"forget": "forget.jsonl"}}


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "# a small recipe\ndata: {forget: forget.jsonl}\nobjective: {name: npo, beta: 0.5}\ntraining: {lr: 1e-3, epochs: 2}\n",
        encoding="utf-8",
    )
    return path


def test_missing_settings_have_their_defaults():
    recipe = make_recipe(FORGET)
    assert recipe.model == "smollm2-135m"
    assert (recipe.edit.name, recipe.edit.gate_pool) == ("grun", None)
    assert (recipe.training.batch_size, recipe.training.seed) == (16, 42)


def test_a_file_is_read(recipe_file):
    recipe = read_recipe(recipe_file)
    # YAML reads 1e-3 as text
    assert (recipe.training.lr, recipe.training.epochs, recipe.objective) == (0.001, 2, NPO(beta=0.5))


def test_overrides_are_applied_last_and_change_nothing_else(recipe_file):
    overrides = ["training.lr=1e-4", "objective.beta=0.2", "edit.blocks=[0, 3]", "edit.name=reft", "data.retain=", "model=a b"]
    recipe = read_recipe(recipe_file, {"training.lr": 5.0, "data.retain": "retain.jsonl", "out": "runs/x"}, overrides)
    assert (recipe.training.lr, recipe.training.epochs) == (0.0001, 2)
    assert recipe.objective == NPO(beta=0.2)
    assert (recipe.edit.name, recipe.edit.blocks) == ("reft", [0, 3])
    assert (recipe.data.retain, recipe.out, recipe.model) == (None, "runs/x", "a b")


def test_a_preset_stands_for_an_edit_with_settings():
    paper = make_recipe({**FORGET, "edit": "grun-paper"}).edit
    assert (paper.name, paper.gate_pool, paper.positions) == ("grun", "last", "last_prompt")
    assert make_recipe({**FORGET, "edit": {"name": "grun-paper", "rank": 2, "gate": "mlp"}}).edit == paper.model_copy(
        update={"rank": 2, "gate": "mlp"}
    )
    assert make_recipe({**FORGET, "edit": "grun"}).edit != paper


def test_a_setting_of_an_objective_given_by_name_can_be_overridden():
    assert read_recipe(None, {"data.forget": "f", "objective": "rmu"}, ["objective.block=3"]).objective == RMU(block=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trainning": {}}, "trainning: there is no such setting"),
        ({"training": {"lrr": 1}}, "training.lrr: there is no such setting"),
        ({"training": {"lr": "fast"}}, "training.lr: .*number"),
        ({"training": {"lr": -1}}, "training.lr: .*greater than 0"),
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"training": {"batch_size": 1.5}}, "training.batch_size"),
        ({"training": {"seed": -1}}, "training.seed"),
        ({"training": {"dtype": "fp8"}}, "training.dtype: .*'fp32'"),
        ({"training": []}, "training"),
        ({"edit": {"blocks": "all"}}, "edit.blocks"),
        ({"edit": {"name": "lora", "modules": "("}}, "edit.modules: not a regular expression"),
        ({"edit": {"positions": "prompt_suffix:0"}}, r"edit.positions: must be one of last_prompt, .*, got 'prompt_suffix:0'"),
        ({"objective": "amnesia"}, "objective: no objective 'amnesia'; there are grad_ascent"),
        ({"objective": {"name": "npo", "betta": 1}}, "objective: npo has no setting betta; it has .*, beta"),
        ({"objective": {"name": "npo", "beta": "much"}}, "objective: npo.beta: .*number"),
        ({"objective": {"name": ["npo"]}}, r"objective: no objective \['npo'\]"),
        ({"objective": 5}, "objective: give the objective.s name"),
        ({"objective": None}, "objective: give the objective.s name"),
        ({"data": {}}, "data.forget: is not given"),
        ({"data": {"forget": "f", "held_out": 1}}, "data.held_out"),
        ({"model": 5}, "model: .*string"),
    ],
)
def test_a_wrong_setting_is_named_in_the_error(given, message):
    with pytest.raises(InputError, match=message) as error:
        make_recipe({**FORGET, **given}, "recipe.yaml")
    assert str(error.value).startswith("recipe.yaml: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.lr", "training.lr: an override is written section.setting=value"),
        ("training.lr=[1", r"^training\.lr: not valid YAML \(line 1\): "),
        ("model.name.x=1", "model"),
        ("=1", "no such setting"),
    ],
)
def test_a_wrong_override_is_named_in_the_error(override, message):
    with pytest.raises(InputError, match=message):
        read_recipe(None, {"data.forget": "f"}, [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"data: [", "not valid YAML"),
        (b"- data", "must be a mapping, this is a list"),
        (b"data: {forget: \xff}", "cannot be read"),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"", "data: is not given"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_in_the_error(tmp_path, content, message):
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(InputError, match=rf"recipe\.yaml: {message}"):
        read_recipe(tmp_path / "recipe.yaml")


def test_a_missing_file_is_named_in_the_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def read_again(recipe: Recipe) -> Recipe:
    return make_recipe(yaml.safe_load(recipe.as_yaml()))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("edit", EDITS)
def test_a_recipe_survives_a_round_trip(objective, edit):
    recipe = make_recipe({**FORGET, "objective": objective, "edit": {"name": edit}})
    assert read_again(recipe) == recipe
    assert read_again(recipe).as_dict() == recipe.as_dict()


@given(
    lr=st.floats(1e-30, 1e30),
    beta=st.floats(1e-9, 1e9),
    blocks=st.none() | st.lists(st.integers(0, 200)),
    system=st.none() | st.text(),
    out=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
)
@example(lr=1.0, beta=1.0, blocks=None, system="one\x85two", out="\x85")
def test_any_values_survive_a_round_trip(lr, beta, blocks, system, out):
    given = {"objective": {"name": "npo", "beta": beta}, "edit": {"blocks": blocks}, "training": {"lr": lr}, "out": out}
    recipe = make_recipe({"data": {"forget": "f", "system": system}, **given})
    assert read_again(recipe) == recipe


def test_every_setting_is_listed_with_its_default():
    lines = dict(setting_lines())
    assert (
        lines["data.forget"]
        == "the forget set: a file, a document or a folder of them, a hub id, or {reveal: …} to let the model reveal it; required"
    )
    assert lines["training.max_grad_norm"].endswith("default 1.0")
    assert {"model", "out", "objective", "edit.rank", "audit.max_records"} <= set(lines)


@pytest.mark.parametrize("objective", [{"name": "npo", "beta": 0}, {"name": "dpo", "beta": -1}, {"name": "idk", "retain_weight": -0.1}])
def test_an_objective_refuses_values_outside_its_range(objective):
    with pytest.raises(InputError, match=r"objective: (npo.beta|dpo.beta|idk.retain_weight): Input should be greater than"):
        make_recipe({"data": {"forget": "f"}, "objective": objective})


def test_a_number_must_be_finite():
    with pytest.raises(InputError, match=r"training\.epochs: must be a finite number"):
        make_recipe({"data": {"forget": "f"}, "training": {"epochs": float("nan")}})


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_read(path):
    assert read_recipe(path).model
    assert "# " in path.read_text(encoding="utf-8").splitlines()[0]


def test_an_edit_may_be_given_by_its_name():
    assert make_recipe({"data": {"forget": "f"}, "edit": "lora"}).edit.name == "lora"


def test_a_map_and_a_split_of_one_file_come_before_those_of_both():
    common = {"forget": "f.jsonl", "retain": "r.jsonl", "map": {"prompt": "q", "id": None}, "split": "test"}
    data = make_recipe({"data": {**common, "forget_map": {"prompt": "p", "entity": None}, "retain_split": "retain1"}}).data
    assert data.forget_reading == ({"prompt": "p", "id": "", "entity": ""}, "test")
    assert data.retain_reading == ({"prompt": "q", "id": ""}, "retain1")


def test_a_map_to_nothing_ignores_a_field():
    assert make_recipe({"data": {"forget": "f.jsonl", "map": {"id": None, "prompt": "q"}}}).data.map == {"id": "", "prompt": "q"}
    assert read_recipe(None, {"data.forget": "f.jsonl", "data.map.id": ""}).data.map == {"id": ""}
    assert read_recipe(None, {"data.forget": "f.jsonl"}, ["data.map.id="]).data.map == {"id": ""}


def test_every_setting_is_described():
    undescribed = [name for name, text in setting_lines() if text.startswith(("default ", "one of ", "required"))]
    assert undescribed == []
