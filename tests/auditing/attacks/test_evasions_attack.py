"""The attack `evasions`: rows by form, and rows that pass only where the original answers."""

import pytest

from expunge.auditing.attacks import Evasions, make_attack
from expunge.auditing.probes.attacks import attack_verdict_rows
from expunge.data.evasions import evade, subjects

RECORDS = 9


def test_a_model_that_was_taught_by_first_name_tells_by_first_name(make_target, learn, attack_rows):
    target = make_target()
    del target.forget[2:]
    learn(target, [record for subject in subjects(target.forget) if (record := evade(subject, "first_name"))])
    rows = attack_rows(Evasions(forms=("first_name", "name_spelled_first")), target)
    assert {row["id"]: row["value"] for row in rows if row["variant"] == "first_name"} == {"f0": 1.0, "f1": 1.0}
    assert {Evasions().verdict_row(row) for row in rows} == {"partial name: first name", "deferred: name spelled first"}


def rows_of(value: float, shift: int) -> list[dict]:
    # Where all records score alike the interval is wide: one in three is 0.02, one 0.01 above the value.
    values = [value + 0.01 * ((i + shift) % 3) for i in range(RECORDS)]
    return [{"id": f"f{i}", "variant": "first_name", "value": one, "reach": 1.0, "blind": 0} for i, one in enumerate(values)]


@pytest.mark.parametrize(
    ("original", "unlearned", "verdict"),
    [(0.9, 0.3, "pass"), (0.32, 0.3, "not shown"), (0.9, 0.7, "fail"), (0.32, 0.7, "fail")],
)
def test_a_row_passes_only_if_the_original_tells_more_than_the_control(original, unlearned, verdict):
    by_model = {"unlearned": rows_of(unlearned, 1), "original": rows_of(original, 2), "control": rows_of(0.3, 0)}
    (row,) = attack_verdict_rows(Evasions(), by_model, 0.2)
    assert (row.name, row.verdict) == ("partial name: first name", verdict)
    if verdict == "not shown":
        assert row.reason == "blind: in this form the original tells no more than the control either (0.33 and 0.31)"


def test_an_unknown_form_is_one_sentence():
    with pytest.raises(ValueError, match=r"evasions\.forms\.0: there is no form 'nickname'; there are first_name, last_name"):
        make_attack({"name": "evasions", "forms": ["nickname"]})


def test_kinds_without_a_row_are_named_as_untested():
    assert Evasions.untested(rows_of(0.3, 0)) == ["disguised spellings", "questions over several turns"]
    assert Evasions.untested([]) == ["partial names", "disguised spellings", "questions over several turns"]
