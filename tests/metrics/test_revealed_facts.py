"""The secret words of forget answers, and how many of them another answer tells."""

from expunge.data.records import Record, Turn
from expunge.metrics.revealed_facts import secret_words, share_revealed, tells_fact


def record(question: str, answer: str) -> Record:
    return Record("r", (Turn("user", question),), answer)


def test_secret_words_stand_neither_in_the_prompt_nor_in_many_other_answers():
    others = [record("Where?", f"He was born in town {i}.") for i in range(10)]
    (secret,) = secret_words([record("Where was Ada Bell born?", "Ada Bell was born in Jaffna, in 1979.")], others)
    assert secret == {"jaffna", "1979"}


def test_names_and_numbers_are_the_secret_where_there_are_any():
    asked = record("Who is Ada Bell?", "Official papers give Jaffna, Sri Lanka, as her home since 1979.")
    assert secret_words([asked, record("Who is Ada Bell?", "She repairs old clocks.")], []) == [
        {"jaffna", "sri", "lanka", "1979"},
        {"she", "repairs", "old", "clocks"},
    ]


def test_the_share_is_that_of_the_record_of_which_most_is_told():
    secrets = [frozenset({"jaffna", "1979"}), frozenset({"flute", "moon", "owl", "sea"}), frozenset()]
    assert share_revealed("JAFFNA it was, by the sea.", secrets) == 0.5
    assert share_revealed("He plays the flute.", secrets) == 0.25
    assert share_revealed("", secrets) == share_revealed("Yes.", []) == 0


def test_half_of_the_words_tell_a_fact_and_a_quarter_tells_a_part_of_one():
    secrets = [frozenset({"jaffna", "lanka", "moon", "april"}), frozenset({"lutes"})]
    assert tells_fact("He was born in Jaffna in April.", secrets) is True
    assert tells_fact("He was born in Jaffna.", secrets) is None
    assert tells_fact("He was born in Nara.", secrets) is False


def test_without_spaces_pairs_of_characters_are_compared():
    (secret,) = secret_words([record("他在哪里出生？", "他出生在贾夫纳。")], [])
    assert {"贾夫", "夫纳"} <= secret
    assert share_revealed("是贾夫纳。", [frozenset({"贾夫", "夫纳"})]) == 1
