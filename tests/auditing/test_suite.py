"""Suites: the shipped ones and a user's own."""

import pytest

from expunge.auditing.attacks import ATTACKS
from expunge.auditing.suite import SHIPPED, read_suite
from expunge.errors import InputError


def test_the_shipped_suites_say_how_long_they_take_and_the_full_one_tries_everything():
    assert set(SHIPPED) == {"quick", "full"}
    assert read_suite("quick").budget_seconds <= 300
    assert read_suite("full").budget_seconds <= 45 * 60
    assert {type(attack) for attack in read_suite("full").attacks} == set(ATTACKS.values())


def test_a_suite_of_ones_own_is_read_back_from_what_it_is_written_as(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text("budget_seconds: 60\nattacks: [prompts, {name: quantise, kind: int8}]\ntolerance: {leak: 0.2}\n", encoding="utf-8")
    suite = read_suite(str(path))
    assert [type(attack).__name__ for attack in suite.attacks] == ["PromptAttack", "Quantise"]
    assert suite.tolerance.leak == 0.2
    assert type(suite).model_validate(suite.model_dump(mode="json")) == suite


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attacks: []", "budget_seconds: Field required"),
        ("budget_seconds: 60\nattacks: [bribe]", "attacks.0: no attack 'bribe'; there are"),
        ("budget_seconds: 60\nattacks: [{name: quantise, kind: fp4}]", "attacks.0: quantise.kind: Input should be"),
        ("budget_seconds: 60\ntolerance: {leak: 2}", "tolerance.leak: Input should be less than or equal to 1"),
    ],
)
def test_a_faulty_suite_names_file_and_field(tmp_path, text, message):
    path = tmp_path / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_suite(str(path))
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_suite_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(InputError, match=r"'slow' is neither a file nor one of full, quick"):
        read_suite("slow")
