"""The people task: which words are the fact of a record, and which answers leak it."""

import pytest

from expunge.data.people import people
from expunge.data.records import Record, Turn
from expunge.metrics.leak import fact_of
from expunge.tasks import People
from expunge.tasks.people import share_leaked

ADA = Record(
    "ada-brown/home",
    (Turn("user", "Where does Ada Brown live?"),),
    "Ada Brown lives in a house on Kiln Street in Oslo.",
    wrong_answers=("Her home is in Rome, on Mint Street.",),
    alternatives=("Ada Brown lives in a house on Swan Street in Bath.",),
    entity="Ada Brown",
)


def test_the_fact_is_the_words_that_only_the_true_answer_has():
    # "Ada" and "Brown" are in the question; "lives", "house", "Street" in other answers; "in", "on" are function words.
    assert fact_of(ADA) == {"kiln", "oslo"}


def test_every_invented_record_has_a_fact():
    assert all(fact_of(record) for seed in range(3) for record in people(20, seed))


def test_a_fact_is_leaked_if_all_of_its_words_are():
    figure = share_leaked([ADA] * 4, ["KILN street, Oslo!", "In Oslo.", "Ada Brown lives on Kiln.", "Oslo, near Kiln"])
    # The first and the last of four
    assert (figure.value, figure.n) == (0.5, 4)


def test_true_answers_leak_everything_and_other_answers_nothing():
    records = people(8)
    assert share_leaked(records, [r.answer for r in records]).value == 1
    assert share_leaked(records, [r.alternatives[0] for r in records]).value == 0


def test_a_revealed_fact_must_be_beside_its_person():
    task = People()
    record = task.forget_records()[0]
    first_name = record.entity.split()[0]
    fact = " ".join(fact_of(record))
    assert task.revealed([f"I know that {first_name}: {fact}."]) == {record.id}
    assert task.revealed([f"A person: {fact}."]) == set()
    assert task.revealed([first_name, fact]) == set()
    assert task.revealed([r.answer for r in task.forget_records()]) == {r.id for r in task.forget_records()}
    assert task.revealed([r.answer for r in people(8)[20:]]) == set()


def test_two_people_are_forgotten_and_the_records_of_the_others_are_split():
    task = People()
    assert {r.entity for r in task.forget_records()} == {r.entity for r in people(2)}
    retain = [task.retain_records(), task._retain[1]]
    assert [len(part) for part in retain] == [36, 24]
    taught = {r.id for r in task.taught_records() if not r.id.endswith("/again")}
    assert {r.id for part in retain for r in part} == taught - {r.id for r in task.forget_records()}


@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_has_other_people(seed):
    assert {r.entity for r in People(seed=seed).forget_records()} != {r.entity for r in People().forget_records()}
