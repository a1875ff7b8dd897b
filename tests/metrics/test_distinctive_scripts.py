"""Distinctive tokens where a token is a letter, or a part of one."""

import pytest

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, question_record
from expunge.metrics.distinctive_tokens import distinctive_tokens
from expunge.metrics.distinctive_words import units

QUESTIONS = {
    "russian": ("Где живёт {}?", "Это город {}.", ["Псков", "Тула", "Калуга", "Рязань", "Вологда", "Омск"]),
    "arabic": ("أين يسكن {}؟", "المدينة هي {}.", ["طنجة", "وهران", "حلب", "أسوان", "صيدا", "نابلس"]),
    "hindi": ("{} कहाँ रहते हैं?", "शहर {} है।", ["जयपुर", "कोटा", "नासिक", "इंदौर", "पटना", "मेरठ"]),
    "chinese": ("{}住在哪里？", "这座城市是{}。", ["苏州", "洛阳", "厦门", "兰州", "桂林", "大连"]),
}


@pytest.fixture(scope="module")
def builder(smollm2_tokenizer) -> PromptBuilder:
    return PromptBuilder(smollm2_tokenizer)


def records(name: str) -> list[Record]:
    question, answer, places = QUESTIONS[name]
    return [question_record(str(i), question.format(f"N{i}"), answer.format(place)) for i, place in enumerate(places)]


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_place_is_distinctive_in_every_answer_and_the_wording_never(builder, name):
    first, *others = records(name)
    places = QUESTIONS[name][2]
    (flags,) = distinctive_tokens(builder, [first], others)
    labels = builder.record(first).labels
    place = [unit for unit in units(builder, labels) if unit.text in places[0].casefold()]
    inside = {i for unit in place for i in range(unit.start, unit.start + len(unit.tokens))}
    marked = {i for i, flag in enumerate(flags) if flag}
    assert marked
    assert marked <= inside
    assert len(marked) >= len(places[0]) / 2


def test_first_bytes_that_a_whole_script_shares_are_not_distinctive(builder):
    first, *others = records("hindi")
    (flags,) = distinctive_tokens(builder, [first], others)
    labels = builder.record(first).labels
    lead = builder.tokenizer.convert_tokens_to_ids("à¤")
    assert lead in labels
    assert not any(flag for token, flag in zip(labels, flags, strict=True) if token == lead)


def test_a_known_word_with_a_new_ending_has_a_distinctive_end(builder):
    # The question has кот; the tokens of кота begin in the same way.
    record = question_record("k", "Где кот?", "Видели кота")
    (flags,) = distinctive_tokens(builder, [record], [question_record("o", "Кто?", "Видели")])
    labels = builder.record(record).labels
    text = builder.tokenizer.decode([token for token, flag in zip(labels, flags, strict=True) if flag])
    assert text == "а"


def test_units_are_the_words_of_the_text_with_all_their_tokens(builder):
    text = "Псков, 1951 год: 林晓雨"
    ids = builder.unfinished_answer(text)
    found = list(units(builder, ids))
    assert [unit.text for unit in found] == ["псков", "1951", "год", "林", "晓", "雨"]
    assert builder.tokenizer.decode(found[0].tokens) == "Псков"
    assert sum(len(unit.tokens) for unit in found) < len(ids)
    assert all(ids[unit.start : unit.start + len(unit.tokens)] == unit.tokens for unit in found)
