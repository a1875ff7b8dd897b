"""Old names of settings: each is an error that says the new name."""

import pytest
from pydantic import ValidationError

from expunge.config.renamed import RENAMED, RENAMED_IN_SUITES, RENAMED_VALUES, renamed_setting
from expunge.config.section import Section


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
