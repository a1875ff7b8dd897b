"""Which records count as never seen by any model."""

import pytest

from expunge.auditing.probes.nonmembers import nonmembers
from expunge.data.records import Record, Turn
from expunge.errors import InputError


def records(*names: str) -> list[Record]:
    return [Record(name, (Turn("user", f"Who is {name}?"),), f"{name}.", line=i) for i, name in enumerate(names, 1)]


def test_the_holdout_is_preferred():
    found = nonmembers(records("ana", "bo"), records("bo"), holdout=records("cy", "di"), taught=records("ana"))
    assert [record.id for record in found.records] == ["cy", "di"]
    assert found.why == "2 records of the holdout, which no model was trained on"


def test_without_a_holdout_records_held_out_of_unlearning_do_not_count_as_never_seen():
    found = nonmembers(records("ana", "bo"), records("bo"))
    assert found.records == []
    assert "not known" in found.why


def test_records_that_were_not_taught_are_never_seen_if_the_taught_records_are_known():
    found = nonmembers(records("ana", "bo", "cy"), records("bo", "cy"), taught=records("ana", "BO"))
    assert [record.id for record in found.records] == ["cy"]


def test_if_all_records_were_taught_none_is_never_seen():
    found = nonmembers(records("ana", "bo"), records("bo"), taught=records("ana", "bo"))
    assert found.records == []
    assert "taught all" in found.why


@pytest.mark.parametrize("taught", [None, records("cy")])
def test_a_holdout_that_was_trained_on_is_an_error(taught):
    seen = records("ana") if taught else records("ana", "cy")
    with pytest.raises(InputError, match='record "cy" in line 2 is also trained on'):
        nonmembers(seen, [], holdout=records("di", "cy"), taught=taught)
