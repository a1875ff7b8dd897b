"""Old names of settings: each is an error that says the new name."""

from dataclasses import fields

import pytest
from pydantic import ValidationError

from expunge.auditing.attacks import ATTACKS
from expunge.auditing.suite import Suite, Tolerance, read_suite
from expunge.cli.setting_list import setting_lines
from expunge.config.recipe import make_recipe, read_recipe
from expunge.config.renamed import RENAMED, RENAMED_IN_SUITES, RENAMED_VALUES, renamed_setting
from expunge.config.section import Section
from expunge.errors import InputError
from expunge.objectives import OBJECTIVES
from expunge.tasks import TASKS


class Empty(Section):
    """A section without settings."""


def message(error: dict, renamed: dict[str, str]) -> str | None:
    return renamed_setting([{"msg": "", "input": None, **error}], renamed)


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_setting_gets_an_error_with_the_new_name(old):
    new = RENAMED[old].rpartition(".")[2]
    where = old.split(".")
    expected = f"{old}: this setting is now called {new}"
    assert message({"type": "extra_forbidden", "loc": where}, RENAMED) == expected


def test_an_old_setting_of_a_suite_gets_an_error_with_the_new_name():
    assert (
        message({"type": "extra_forbidden", "loc": ("seconds",)}, RENAMED_IN_SUITES) == "seconds: this setting is now called budget_seconds"
    )


def test_an_old_setting_of_an_objective_or_attack_is_found_in_its_error():
    objective = {"type": "value_error", "loc": ("objective",), "msg": "Value error, alternatives has no setting floor; it has push"}
    assert message(objective, RENAMED) == "objective.floor: this setting is now called target_nll"
    attack = {"type": "value_error", "loc": ("attacks", 2), "msg": "Value error, lens has no setting records; it has seed"}
    assert message(attack, RENAMED_IN_SUITES) == "attacks.2.records: this setting is now called max_records"


def test_an_old_value_gets_an_error_with_the_new_value():
    setting, values = next(iter(RENAMED_VALUES.items()))
    old, new = next(iter(values.items()))
    error = {"type": "literal_error", "loc": (*setting.split("."), 0), "input": old}
    assert message(error, RENAMED) == f"{setting}: the value {old} is now called {new}"


def test_a_setting_that_never_existed_gets_no_new_name():
    with pytest.raises(ValidationError) as error:
        Empty(speed=3)
    assert renamed_setting(error.value.errors(), RENAMED) is None


def known_settings() -> set[str]:
    """Every dotted setting that a recipe may have, with those of all objectives and tasks."""
    named = {"objective": OBJECTIVES, "task": TASKS}
    settings = {f"{section}.{field.name}" for section, table in named.items() for cls in table.values() for field in fields(cls)}
    names = {name for name, _ in setting_lines()} | settings
    return names | {name.rpartition(".")[0] for name in names}


def test_every_new_name_is_a_setting_and_no_old_name_is():
    known = known_settings()
    assert {new for new in RENAMED.values() if new not in known} == set()
    # Code and toxicity both count samples, under different names; `release.overlap.also_b` moved within its section.
    assert {old for old in RENAMED if old in known} <= {"task.samples"}


def test_every_new_name_of_a_suite_is_a_setting():
    parts = {"tolerance": Tolerance, "attacks.*": ATTACKS["prompts"]}
    for new in RENAMED_IN_SUITES.values():
        section, _, name = new.rpartition(".")
        cls = parts.get(section, Suite)
        assert name in cls.__dataclass_fields__ if section == "attacks.*" else name in cls.model_fields


def test_every_new_value_is_allowed():
    for setting, values in RENAMED_VALUES.items():
        section, name = setting.split(".")
        for new in values.values():
            assert make_recipe({"data": {"forget": "f"}, section: {name: [new]}})


def test_an_old_name_in_a_recipe_names_file_and_setting(tmp_path):
    (tmp_path / "old.yaml").write_text("data: {forget: f.jsonl}\ntraining: {clip: 0.5}\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_recipe(tmp_path / "old.yaml")
    assert str(error.value) == f"{tmp_path / 'old.yaml'}: training.clip: this setting is now called max_grad_norm"
    with pytest.raises(InputError, match=r"release\.pem: this setting is now called module"):
        read_recipe(None, {"data.forget": "f"}, ["release.pem.rank=4"])
    with pytest.raises(InputError, match=r"objective\.floor: this setting is now called target_nll"):
        read_recipe(None, {"data.forget": "f"}, ["objective.floor=4"])
    with pytest.raises(InputError, match=r"edit\.gate_augmentations: the value mistyped is now called typos"):
        read_recipe(None, {"data.forget": "f"}, ["edit.gate_augmentations=[mistyped]"])


def test_an_old_name_in_a_suite_names_file_and_setting(tmp_path):
    (tmp_path / "old.yaml").write_text("budget_seconds: 1\nattacks: [{name: prompts, records: 4}]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"attacks\.0\.records: this setting is now called max_records"):
        read_suite(str(tmp_path / "old.yaml"))
