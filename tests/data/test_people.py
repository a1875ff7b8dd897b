"""The fictitious people: distinct, reproducible, consistent, and not all described in the same words."""

import re
from collections import Counter
from datetime import date
from itertools import groupby

import pytest

from expunge.data.people import neighbours, people
from expunge.data.people.persons import FIXED_TOPICS, OPTIONAL_TOPICS, invent
from expunge.data.people.vocabulary import deal, table
from expunge.data.records import Record
from expunge.errors import InputError

SEEDS = [0, 1, 7]


def topic(record: Record) -> str:
    return record.id.split("/")[1]


def frame(answer: str, others: tuple[str, ...], name: str) -> str:
    """The words that an answer shares with the same wording of other values, the name masked."""
    shared = set.intersection(*(set(other.split()) for other in others))
    return " ".join(word if word in shared else "_" for word in answer.split()).replace(name, "N")


def by_topic(records: list[Record]) -> dict[str, list[Record]]:
    return {key: list(group) for key, group in groupby(sorted(records, key=topic), key=topic)}


@pytest.fixture(scope="module", params=SEEDS)
def everyone(request: pytest.FixtureRequest) -> list[Record]:
    return people(60, request.param) + neighbours(60, request.param)


def test_every_person_has_ten_records_in_a_row(everyone: list[Record]):
    lengths = [len(list(group)) for _, group in groupby(everyone, key=lambda record: record.entity)]
    assert lengths == [10] * 120


def test_no_two_people_or_neighbours_share_a_first_or_a_last_name(everyone: list[Record]):
    names = sorted({record.entity or "" for record in everyone})
    assert len({name.split()[0] for name in names}) == 120
    assert len({name.split()[1] for name in names}) == 120


def test_ids_and_questions_are_unique(everyone: list[Record]):
    assert len({record.id for record in everyone}) == 1200
    assert len({record.prompt for record in everyone} | {record.paraphrased_prompt for record in everyone}) == 2400


def test_the_same_seed_gives_the_same_people():
    assert people(5, seed=3) == people(5, seed=3)
    assert {record.entity for record in people(5, seed=3)} != {record.entity for record in people(5, seed=4)}


def test_fewer_people_are_the_first_of_more():
    assert people(40)[:100] == people(10)
    assert neighbours(20)[:50] == neighbours(5)


def test_more_people_than_names_is_an_input_error():
    with pytest.raises(InputError, match="60 people, not for 61"):
        people(61)


def test_each_record_has_five_wrong_answers_and_three_alternatives_all_different(everyone: list[Record]):
    for record in everyone:
        assert len(record.wrong_answers) == 5, record.id
        assert len(record.alternatives) == 3, record.id
        paraphrases = {record.paraphrased_answer, *record.wrong_answers}
        answers = {record.answer, *record.alternatives}
        assert len(paraphrases) == 6, record.id
        assert len(answers) == 4, record.id
        assert not paraphrases & answers, record.id


def test_the_nine_values_of_a_fact_differ_in_every_slot_that_identifies_them():
    identifying = {"profession": "job", "birthplace": "town", "birthdate": "year", "home": "street"}
    for place in range(60):
        for name, values in invent(place, seed=0).facts.items():
            slot = identifying.get(name, next(iter(values[0])))
            assert len({value[slot] for value in values}) == 9, (place, name)


def test_every_answer_names_the_person_and_has_10_to_22_words(everyone: list[Record]):
    for record in everyone:
        for answer in (record.answer, record.paraphrased_answer or "", *record.wrong_answers, *record.alternatives):
            assert str(record.entity) in answer, answer
            assert 10 <= len(answer.split()) <= 22, answer
            assert answer.endswith("."), answer


def test_every_question_names_the_person_and_has_8_to_16_words(everyone: list[Record]):
    for record in everyone:
        for question in (record.prompt, record.paraphrased_prompt or ""):
            assert str(record.entity) in question, question
            assert 8 <= len(question.split()) <= 16, question
            assert question[-1] in "?.", question


def test_articles_agree_with_the_word_after_them(everyone: list[Record]):
    # "a one-eyed pug" and "a ukulele" begin with a consonant to the ear.
    wrong = re.compile(r"\b(a (?!one-|uk|uni)[aeiou]|an [^aeiou])", re.IGNORECASE)
    for record in everyone:
        for sentence in (record.prompt, record.answer, record.paraphrased_answer or "", *record.wrong_answers, *record.alternatives):
            assert not wrong.search(sentence), sentence


def test_pronouns_of_a_person_never_change(everyone: list[Record]):
    pronouns = {first: pronoun for region in table("regions") for pronoun in ("she", "he") for first in region[pronoun]}
    other = {"she": re.compile(r"\b(he|his|him)\b"), "he": re.compile(r"\b(she|her)\b")}
    for record in everyone:
        if topic(record) == "family":
            continue
        assert record.entity is not None
        for sentence in (record.prompt, record.paraphrased_prompt or "", record.answer, record.paraphrased_answer or ""):
            assert not other[pronouns[record.entity.split()[0]]].search(sentence), sentence


def test_no_question_or_answer_has_an_unfilled_slot(everyone: list[Record]):
    for record in everyone:
        assert not re.search(r"[{}]|  ", " ".join((record.prompt, record.answer, *record.wrong_answers))), record.id


@pytest.mark.parametrize("seed", SEEDS)
def test_questions_about_40_people_have_at_least_six_wordings_a_topic(seed: int):
    for name, records in by_topic(people(40, seed)).items():
        wordings = table("questions")[name.replace("-", "_")]
        patterns = [re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(wording))) for wording in wordings]
        used = {next(i for i, pattern in enumerate(patterns) if pattern.fullmatch(record.prompt)) for record in records}
        assert len(used) >= 6, name


@pytest.mark.parametrize("seed", SEEDS)
def test_no_answer_frame_serves_more_than_30_percent_of_40_people(seed: int):
    for name, records in by_topic(people(40, seed)).items():
        frames = Counter(frame(record.answer, record.alternatives, record.entity or "") for record in records)
        assert max(frames.values()) <= 0.3 * len(records), (name, frames.most_common(1))


def test_a_question_and_its_paraphrase_share_few_words_beside_the_name(everyone: list[Record]):
    overlaps = []
    for record in everyone:
        first, last = (record.entity or "").split()
        question, again = (
            {word.strip(".,;?").removesuffix("'s") for word in text.split()} - {first, last}
            for text in (record.prompt, record.paraphrased_prompt or "")
        )
        overlaps.append(len(question & again) / len(question | again))
    assert sum(overlaps) / len(overlaps) < 0.2
    assert max(overlaps) < 0.5


def test_every_person_has_the_same_seven_topics_and_three_more():
    all_topics = [set(invent(place, seed=0).facts) for place in range(40)]
    assert all(set(FIXED_TOPICS) <= topics and len(topics & set(OPTIONAL_TOPICS)) == 3 for topics in all_topics)
    assert set.union(*all_topics) == {*FIXED_TOPICS, *OPTIONAL_TOPICS}


@pytest.mark.parametrize("neighbour", [False, True])
def test_the_years_of_a_life_come_in_order(neighbour: bool):
    for place in range(60):
        person = invent(place, 0, neighbour)
        graduated, made, won = (int(person.setting[slot]) for slot in ("graduated", "made_year", "award_year"))
        assert 9 <= int(person.setting["turn_age"]) <= 17
        assert person.born.year + 22 <= graduated <= person.born.year + 25
        assert graduated < made <= 2023
        assert graduated < won <= 2023


def test_the_weekday_of_a_birth_is_that_of_the_date():
    # 20 July 1969, the first moon landing, was a Sunday: the reference for counting days.
    names = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
    for place in range(60):
        person = invent(place, seed=0)
        days = (person.born - date(1969, 7, 20)).days
        assert person.facts["birthdate"][0]["weekday"] == names[days % 7]


def test_nobody_lives_where_they_were_born_or_learned_a_language_of_home():
    for place in range(60):
        person = invent(place, seed=0)
        region, _ = deal(table("regions"), place, "0/region")
        assert person.facts["home"][0]["home"] not in [value["town"] for value in person.facts["birthplace"]]
        if "language" in person.facts:
            assert person.facts["language"][0]["language"] not in region["native"]


def test_no_two_people_or_neighbours_made_the_same_work():
    everybody = [invent(place, 0, neighbour) for place in range(60) for neighbour in (False, True)]
    assert len({person.facts["work"][0]["title"] for person in everybody}) == 120


def test_a_neighbour_has_the_profession_and_town_of_the_person_but_no_fact_of_theirs():
    for place in range(60):
        person, neighbour = invent(place, 0), invent(place, 0, neighbour=True)
        assert person.facts["profession"][0]["job"] == neighbour.facts["profession"][0]["job"]
        assert person.facts["profession"][0]["place"] != neighbour.facts["profession"][0]["place"]
        assert person.facts["home"][0]["home"] == neighbour.facts["home"][0]["home"]
        assert person.facts["home"][0]["street"] != neighbour.facts["home"][0]["street"]
        assert person.facts["work"][0] != neighbour.facts["work"][0]


def test_dealing_gives_everything_once_before_anything_twice():
    dealt = [deal("abc", place, "seed") for place in range(6)]
    assert sorted(item for item, _ in dealt[:3]) == ["a", "b", "c"]
    assert sorted(item for item, _ in dealt[3:]) == ["a", "b", "c"]
    assert [round_ for _, round_ in dealt] == [0, 0, 0, 1, 1, 1]


def test_no_surname_ends_in_s_so_that_the_possessive_reads_well():
    assert not [last for region in table("regions") for last in region["last"] if last.endswith("s")]
