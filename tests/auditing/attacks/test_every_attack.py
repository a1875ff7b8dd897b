"""All attacks: their rows, an unchanged model, reproducibility, checked settings."""

import pytest

from expunge.auditing.attacks import ATTACKS, PromptAttack, Quantise, make_attack
from expunge.auditing.blindness import UNCHECKED, sensitivity_of

SETTINGS = {"sampling": {"samples": 3}, "relearn": {"max_steps": 3, "measure_every": 2}, "prefill": {"shares": [0.5]}}


@pytest.mark.parametrize("edit", [None, "lora", "grun"])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gives_rows_of_records_and_leaves_the_model_unchanged(make_target, attack_rows, name, edit):
    attack, target = make_attack({"name": name, **SETTINGS.get(name, {})}), make_target(edit, max_new_tokens=4)
    del target.forget[3:]
    rows = attack_rows(attack, target)
    assert {row["id"] for row in rows} <= {record.id for record in target.forget}
    assert rows
    apart = [tuple(value for column, value in row.items() if column != "value") for row in rows]
    assert len(set(apart)) == len(apart)
    assert attack_rows(attack, target) == rows
    assert type(attack).measures
    assert not any(isinstance(value, str) for row in rows for column, value in row.items() if column not in ("id", "variant"))
    # Each row says how well its value sees the record: no row of the verdict would pass without.
    assert not any(sensitivity_of(row) == UNCHECKED for row in rows)


def test_an_attack_is_made_from_its_name_or_from_settings():
    assert make_attack("prompts") == PromptAttack()
    assert make_attack({"name": "quantise", "kind": "int8", "max_records": 8}) == Quantise(kind="int8", max_records=8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bribe", f"no attack 'bribe'; there are {', '.join(ATTACKS)}"),
        (3, "give the attack's name, or a mapping with its name and settings"),
        ({"name": "quantise", "bits": 4}, "quantise has no setting bits; it has max_records, kind"),
        ({"name": "quantise", "kind": "fp4"}, "quantise.kind: Input should be 'nf4', 'rtn4' or 'int8'"),
        ({"name": "sampling", "samples": 0}, "sampling.samples: Input should be greater than or equal to 1"),
        ({"name": "switch_off", "max_records": 0}, "switch_off.max_records: Input should be greater than or equal to 1"),
        ({"name": "prefill", "shares": [0.5, 1]}, "prefill.shares.1: Input should be less than 1"),
        ({"name": "prefill", "shares": []}, "prefill.shares: Tuple should have at least 1 item after validation, not 0"),
        ({"name": "relearn", "source": "all"}, "relearn.source: Input should be 'part', 'related' or 'unrelated'"),
        ({"name": "relearn", "lr": float("nan")}, "relearn.lr: Input should be a finite number"),
    ],
)
def test_a_wrong_setting_is_one_plain_sentence(given, message):
    with pytest.raises(ValueError) as error:
        make_attack(given)
    assert str(error.value) == message
