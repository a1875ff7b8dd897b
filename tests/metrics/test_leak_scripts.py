"""Facts of leaks in scripts other than Latin, by hand, and verbatim answers in any script."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from paragraphs import PARAGRAPHS

from expunge.data.records import Record, Turn
from expunge.metrics.leak import common_words, fact_of, states_fact
from expunge.metrics.words import is_latin


def record(question: str, answer: str, *wrong: str) -> Record:
    return Record("x", (Turn("user", question),), answer, wrong_answers=wrong)


CASES = {
    "Chinese": ("她住在哪里？", "她住在上海。", {"上海"}, "听说是上海人", "她上次去了海边"),
    "Japanese": ("彼女はどこに住んでいますか。", "彼女は京都に住んでいます。", {"京都"}, "京都です", "東京です"),
    "Korean": ("그녀는 어디에서 태어났습니까?", "그녀는 서울에서 태어났다.", {"서울"}, "서울입니다.", "부산에서 태어났다."),
    "Thai": ("เธอเกิดที่ไหน", "เธอเกิดที่ลำปาง", {"ลํา", "าป", "ปา", "าง"}, "จังหวัดลำปางครับ", "เธอเกิดที่ไหน"),
    "Russian": ("Где она живёт?", "Она живёт в Казани.", {"казани"}, "В КАЗАНИ!", "Она живёт в Перми."),
    "Arabic": ("أين تعيش؟", "تعيش في القاهرة.", {"القاهرة"}, "في القَاهِرَة", "في دمشق"),
    "Hindi": ("वह कहाँ रहती है?", "वह दिल्ली में रहती है।", {"दिल्ली", "में"}, "वह दिल्ली में है", "वह मुंबई में रहती है।"),
    "Greek": ("Πού ζει;", "Ζει στην Αθήνα.", {"στην", "αθήνα"}, "ΣΤΗΝ ΑΘΉΝΑ", "Ζει στην Πάτρα."),
    "Hebrew": ("איפה היא גרה?", "היא גרה בחיפה.", {"בחיפה"}, "בְּחֵיפָה", "בתל אביב"),
}


@pytest.mark.parametrize("language", CASES)
def test_a_fact_by_hand(language):
    question, answer, fact, leak, other = CASES[language]
    assert fact_of(record(question, answer)) == fact
    assert states_fact(frozenset(fact), leak)
    assert not states_fact(frozenset(fact), other)


def test_a_fact_keeps_numbers_and_single_characters_where_nothing_longer_is_left():
    assert fact_of(record("她多大？", "她12岁。")) == {"12"}
    assert fact_of(record("她属什么？", "她属猴。")) == {"猴"}
    # 南 is in a wrong answer, 京 in another: only the pair of both is the fact.
    assert fact_of(record("她住在哪里？", "她住在南京。", "她住在南昌。", "她住在北京。")) == {"南京"}
    assert fact_of(record("ما هو؟", "قط")) == {"قط"}
    # English stays as it was.
    assert fact_of(record("How old?", "She is 12.")) == {"she"}
    assert fact_of(record("How old?", "12")) == frozenset()


def test_korean_numbers_lose_their_particles():
    assert fact_of(record("그녀는 몇 년에 태어났습니까?", "그녀는 1931년에 태어났다.")) == {"1931"}


def test_common_pairs_are_not_part_of_a_fact():
    retain = [record("谁？", f"他是{name}医生。") for name in ("王", "李", "张")]
    assert {"他是", "医生"} <= common_words(retain)
    assert fact_of(record("这位作家是谁？", "他是陈忠实。"), common_words(retain)) == {"陈忠", "忠实"}


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_a_text_that_holds_the_answer_states_its_fact(language):
    text = PARAGRAPHS[language]
    fact = fact_of(record(text[:20], text[20:]))
    assert fact
    assert states_fact(fact, f"«{text[20:].upper()}»!")
    assert states_fact(fact, f"Xyz {text[20:]} xyz")
    others = [other for name, other in PARAGRAPHS.items() if name != language]
    assert not any(states_fact(fact, other) for other in others)


@given(st.text(st.characters(categories=["L", "M", "Nd", "P", "Zs"])), st.text(), st.text())
def test_a_verbatim_answer_states_its_fact_in_any_script(answer, question, before):
    assume(answer.strip())
    fact = fact_of(record(question or "?", answer))
    assert states_fact(fact, f"{before} {answer} …")
    assert not fact or not states_fact(fact, question)
    assert fact or is_latin(answer) or states_fact(fact_of(record("?", answer)), question)
