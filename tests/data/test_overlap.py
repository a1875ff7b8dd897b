"""Records in both sets: the same in another spelling, or nearly the same."""

import unicodedata

import pytest

from expunge.data.overlap import check_overlap, comparable, near_duplicates
from expunge.data.records import Record, Turn
from expunge.errors import InputError

SAME = {
    "case": ("Who is ADA LUND?", "who is Ada Lund?"),
    "white space": ("Who is\n Ada\u00a0Lund?", "Who is Ada Lund?"),
    "composed and decomposed": (unicodedata.normalize("NFC", "Où naît Zoé Müller?"), unicodedata.normalize("NFD", "Où naît Zoé Müller?")),
    "quotes": ("Who wrote “Ada’s Song”?", 'Who wrote "Ada\'s Song"?'),
    "other quotes": ("Wer schrieb „Adas Lied“?", "Wer schrieb «Adas Lied»?"),
    "punctuation": ("Who is Ada Lund?!", "Who is Ada Lund."),
    "commas": ("Who, then, is Ada?", "Who then is Ada?"),
    "hyphens": ("the well-known e-mail", "the well known email"),
    "sharp s": ("Wo liegt die Hauptstraße?", "WO LIEGT DIE HAUPTSTRASSE?"),
    "full-width signs": ("Ａｄａ　Ｌｕｎｄ？", "Ada Lund?"),
    "Chinese": ("张伟 住在哪里？", "张伟住在哪里?"),
    "Arabic vowel points and comma": ("مَنْ هُوَ، أَحْمَد؟", "من هو أحمد"),
    "digits": ("Was geschah १९७१?", "Was geschah 1971?"),
    "a date at the end": ("born in 1971.", "Born in 1971"),
    "a zero-width space": ("Ada\u200bLund", "AdaLund"),
    "Spanish": ("¿Quién es Ada?", "quién es Ada"),
}
DIFFERENT = {
    "arithmetic": ("What is 2+2?", "What is 2-2?"),
    "a product": ("What is 2*2?", "What is 22?"),
    "a fraction": ("What is 1/5?", "What is 1.5?"),
    "numbers": ("What is 1 2?", "What is 12?"),
    "a minus": ("Solve 2-x=5", "Solve 2x=5"),
    "a negative number": ("What is -5 + 3?", "What is 5 + 3?"),
    "languages": ("What is C?", "What is C#?"),
    "another language": ("What is C?", "What is C++?"),
    "less and more": ("Is a < b?", "Is a > b?"),
    "an accent": ("Wer ist Jose?", "Wer ist José?"),
    "only signs": ("?", "!"),
    "emoji": ("Who is 🙂?", "Who is 🙁?"),
}


def ask(question: str, line: int | None = None) -> Record:
    return Record(f"row-{line}", (Turn("user", question),), "Yes.", line=line)


@pytest.mark.parametrize("name", SAME)
def test_a_question_in_another_spelling_is_the_same(name):
    first, second = SAME[name]
    assert comparable(first) == comparable(second)
    with pytest.raises(InputError, match=r"^r:4: the same record as f:3; "):
        check_overlap([ask(first, 3)], [ask(second, 4)], "f", "r", allow=False)


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_question_with_another_meaning_is_not_the_same(name):
    first, second = DIFFERENT[name]
    assert comparable(first) != comparable(second)
    assert check_overlap([ask(first)], [ask(second)], "f", "r", allow=False) == 0


def test_the_share_of_a_near_duplicate_by_hand():
    # abcdefghijklmnopqrstuvwxyz has 22 sequences of 5 letters; with a changed last letter 21 are in both, of 23.
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    forget, retain = ask(alphabet, 3), ask(f"{alphabet[:-1]}ä", 4)
    (pair,) = near_duplicates([ask("Something else entirely", 1), forget], [ask("Who is Bo?", 1), retain])
    assert (pair.forget, pair.retain, pair.share) == (forget, retain, 21 / 23)


NEAR = {
    "English": ("Where was the painter Ada Lund born and raised?", "Where was the painter Ada Lund born and raised, then?"),
    "Chinese": ("请问画家张伟先生目前住在哪一座城市里面？", "请问画家张伟先生目前住在哪一座城市里？"),
    "Russian": ("Где родилась художница Анна Лунд и где она живёт?", "Где родилась художница Анна Лунд? И где она жила?"),
    "Thai": ("จิตรกรสมชายเกิดที่จังหวัดไหนและปีอะไร", "จิตรกรสมชายเกิดที่จังหวัดไหนและปีไหน"),
}


@pytest.mark.parametrize("name", NEAR)
def test_a_near_duplicate_is_found_in_every_script(name):
    forget, retain = (ask(text, line) for line, text in enumerate(NEAR[name], 1))
    (pair,) = near_duplicates([forget], [retain])
    assert 0.75 <= pair.share < 1


def test_the_same_question_and_another_person_are_no_near_duplicates():
    forget = [ask("Where was Ada Lund born?", 1)]
    assert near_duplicates(forget, [ask("where was ADA LUND born", 1), ask("Where was Bo Berg born?", 2)]) == []


def test_the_most_similar_pairs_come_first_each_with_the_most_similar_forget_record():
    first, second = "Where was the painter Ada Lund born and raised", "Where was the painter Ada Lund born and brought up"
    pairs = near_duplicates([ask(first, 1), ask(second, 2)], [ask(f"{second} in all", 1), ask(f"{first}, too", 2), ask(f"{first}, x", 3)])
    assert [(pair.forget.line, pair.retain.line) for pair in pairs] == [(1, 3), (1, 2), (2, 1)]


def test_texts_are_near_duplicates_by_their_text():
    text = "Ada Lund was born in Visby in 1971, and she paints boats."
    (pair,) = near_duplicates([Record("a", (), text)], [Record("b", (), text.replace("boats", "goats")), Record("c", (), "Bo bakes.")])
    assert pair.retain.id == "b"


def test_near_duplicates_of_hundreds_of_records_are_found_in_a_moment():
    forget = [ask(f"In which town does person number {i * 7919 % 1000} live, and since when?", i) for i in range(300)]
    retain = [ask(f"Tell me something about the river {i * 104729} and the mountain {i * 31}", i) for i in range(600)]
    assert near_duplicates(forget, retain) == []
