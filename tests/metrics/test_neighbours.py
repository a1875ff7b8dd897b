"""Neighbours of the forget set, and the utility on them."""

import pytest

from expunge.data.people import people
from expunge.data.records import Record, Turn
from expunge.metrics.neighbours import neighbour_utility, neighbours


def record(name: str, prompt: str, answer: str) -> Record:
    return Record(name, (Turn("user", prompt),), answer)


FORGET = [record("f", "Where does Ada Brown live?", "Ada Brown lives in Oslo.")]
RETAIN = [
    record("wording", "Where does Tom Ashe live?", "Tom Ashe lives in Bath."),
    record("place", "Which fair is held in Oslo?", "The fair of kites."),
    record("name", "What does Ada Brown read?", "Ada Brown reads novels."),
    record("other", "What is copper?", "A metal."),
]


def test_shared_names_are_nearer_than_shared_wording():
    near = [record.id for record in neighbours(FORGET, RETAIN, 4)]
    # Two rare words in common, one rare word, "Where", nothing.
    assert near == ["name", "place", "wording", "other"]
    assert len(neighbours(FORGET, RETAIN, 2)) == 2


def test_records_about_the_same_person_are_neighbours():
    everybody = people(6)
    near = neighbours(everybody[:5], everybody[5:], 5)
    # The fifth may be somebody from the same town.
    assert [found.entity for found in near].count(everybody[0].entity) >= 4


def test_utility_is_the_harmonic_mean_of_means_over_the_neighbours():
    rows = [
        {"id": "a", "probability": 0.2, "rouge": 0.5, "truth_ratio": 0.5},
        {"id": "b", "probability": 0.4, "rouge": 0.7, "truth_ratio": 2.0},
        {"id": "far", "probability": 1.0, "rouge": 1.0, "truth_ratio": 0.0},
    ]
    # means 0.3, 0.6 and (0.5 + 0) / 2 = 0.25: 3 / (1/0.3 + 1/0.6 + 1/0.25) = 3 / 9 = 1/3
    summary = neighbour_utility(rows, {"a", "b"})
    assert (summary.value, summary.n) == (pytest.approx(1 / 3), 2)
    low, high = summary.ci95
    # Only b, whose truth ratio counts nothing, makes it 0; only a gives 3 / (5 + 2 + 2)
    assert (low, high) == (0.0, pytest.approx(1 / 3))


def test_without_truth_ratios_the_mean_has_two_parts():
    # 2 / (1/0.2 + 1/0.5) = 2/7
    assert neighbour_utility([{"id": "a", "probability": 0.2, "rouge": 0.5}], {"a"}).value == pytest.approx(2 / 7)


def test_utility_without_neighbours_is_an_error():
    with pytest.raises(ValueError):
        neighbour_utility([{"id": "a", "probability": 0.2, "rouge": 0.5}], {"b"})


def test_where_all_text_is_in_lower_case_all_words_count():
    forget = [record("f", "where does ana live?", "in cairo")]
    retain = [record("far", "who sings?", "tom"), record("near", "where does ana work?", "in a mill")]
    assert [record.id for record in neighbours(forget, retain, 1)] == ["near"]


def test_records_without_words_have_neighbours_too():
    retain = [record(str(i), "?", "!") for i in range(3)]
    assert neighbours([record("f", "??", "!!")], retain, 2) == retain[:2]


def test_shared_characters_make_neighbours_where_words_have_no_spaces():
    forget = [record("f", "李秀英住在哪里？", "李秀英住在成都。")]
    retain = [record("other", "什么是铜？", "一种金属。"), record("place", "成都有什么？", "有很多茶馆。")]
    assert [record.id for record in neighbours(forget, retain, 1)] == ["place"]
