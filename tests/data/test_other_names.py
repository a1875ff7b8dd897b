"""Questions with other names."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.data.other_names import rename, with_other_names
from expunge.data.people.vocabulary import table
from expunge.data.records import Record, Turn

SETTLED = "The author lives in a small house."


def record(prompt: str, answer: str = SETTLED, name: str = "r", **fields) -> Record:
    return Record(name, (Turn("user", prompt),), answer, **fields)


def renamed(*records: Record, seed: int = 0) -> list[Record | None]:
    return with_other_names(records, np.random.default_rng(seed))


def test_a_name_is_replaced_by_the_same_other_name_everywhere():
    one, two = renamed(
        record("Where was Ada Lundgren-Moe born?", "Ada was born in Visby.", paraphrased_prompt="What is Ada Lundgren-Moe's birthplace?"),
        record("Who taught Lundgren-Moe?", "Ada Lundgren-Moe's father did.", wrong_answers=("Lundgren-Moe herself.",)),
    )
    first, last = one.prompt.split()[2:4]
    assert {first, last}.isdisjoint({"Ada", "Lundgren-Moe"})
    assert one.prompt == f"Where was {first} {last} born?"
    assert one.paraphrased_prompt == f"What is {first} {last}'s birthplace?"
    # Visby is the answer to the first question, and Ada is not in the second question
    assert one.answer == f"{first} was born in Visby."
    assert two.prompt == f"Who taught {last}?"
    assert two.answer == f"Ada {last}'s father did."
    assert two.wrong_answers == (f"{last} herself.",)


def test_words_that_appear_in_lower_case_elsewhere_are_not_names():
    assert renamed(record("What does the author like?", "What the author likes is Leadership.")) == [None]
    (other,) = renamed(record("Has Ada written 'The Small House'?"))
    assert "Small" not in other.prompt
    assert "Ada" not in other.prompt


def test_digits_are_replaced_only_together_with_a_name():
    assert renamed(record("What is COVID-19?", "A virus."), record("Which books of the 1990s did she write?", "Some.")) == [None, None]
    (other,) = renamed(record("Who flew the Boeing-747 first?", "Ada did."))
    assert "Boeing" not in other.prompt


def test_names_in_earlier_turns_are_replaced_too():
    turns = (Turn("user", "Tell me about Ada Lund."), Turn("assistant", "Ada Lund is an author."), Turn("user", "What did she write?"))
    (other,) = renamed(Record("r", turns, "Nothing yet."))
    assert not any(name in turn.content for turn in other.turns for name in ("Ada", "Lund"))


def test_there_are_names_even_if_the_records_contain_all_of_them():
    regions = table("regions")
    firsts, lasts = [name for r in regions for p in ("she", "he") for name in r[p]], [name for r in regions for name in r["last"]]
    records = [record(f"Where does {first} {last} live?", name=first) for first, last in zip(firsts, lasts, strict=True)]
    assert all(with_other_names(records, np.random.default_rng(0)))


def test_with_similar_names_another_year_alone_is_not_enough():
    question = record("What did Ada Lund write in 1991?", "Ada wrote in 1991.")
    for seed in range(50):
        (other,) = with_other_names([question], np.random.default_rng(seed), similar=True)
        assert "Ada Lund " not in other.prompt


def test_a_number_becomes_another_of_its_length_and_first_digit():
    (other,) = renamed(record("Who in Visby was born on 05/11/1991?", "In 1991 Ada was."), seed=3)
    year = other.prompt[-5:-1]
    assert year[0] == "1"
    assert year != "1991"
    assert other.answer == f"In {year} Ada was."


def test_a_plain_text_contains_no_names_to_replace():
    assert renamed(Record("text", (), "Ada Lundgren lives in Visby.")) == [None]


def test_a_similar_name_is_like_the_original_but_different():
    records = [record(f"Where does Adaline Lundgren{i} live?".replace(str(i), "a" * (i + 1)), name=f"r{i}") for i in range(12)]
    others = [other.prompt.split()[2:4] for other in with_other_names(records, np.random.default_rng(0), similar=True)]
    real = [r.prompt.split()[2:4] for r in records]
    assert all(other != name for other, name in zip(others, real, strict=True))
    alike = [other[0][0] == "A" or other[1][0] == "L" for other in others]
    assert sum(alike) >= 6


names = st.from_regex(r"[A-Z][a-z]{3,8}( [A-Z][a-z]{3,8})?", fullmatch=True)


@settings(max_examples=50)
@given(st.lists(names, min_size=1, max_size=4), st.integers(0, 999))
def test_the_other_name_is_never_a_name_of_the_records(people, seed):
    records = [record(f"Where does {name} live?", f"{name} lives in a house.", f"r{i}") for i, name in enumerate(people)]
    known = {word.lower() for r in records for word in (r.prompt + " " + r.answer).split()}
    for name, other in zip(people, with_other_names(records, np.random.default_rng(seed)), strict=True):
        if other is not None:
            name_there = other.prompt.removeprefix("Where does ").removesuffix(" live?")
            assert len(name_there.split()) == len(name.split())
            assert other.answer == f"{name_there} lives in a house."
            assert any(word.lower() not in known for word in name_there.split())
    assert with_other_names(records, np.random.default_rng(seed)) == with_other_names(records, np.random.default_rng(seed))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_original_names_can_be_restored(seed, near):
    records = [
        record("Where was Ada Lundgren-Moe born in 1951?", "Ada Lundgren-Moe was born in Visby."),
        record("Who taught Lundgren-Moe to paint 'The Red Door'?", "Lundgren-Moe's father did."),
    ]
    for original, other in zip(records, rename(records, np.random.default_rng(seed), near), strict=True):
        assert other.restore(other.record.prompt) == original.prompt
        assert other.restore(other.record.answer) == original.answer


def test_a_decomposed_name_is_replaced_whole():
    (other,) = renamed(record("Where was Jose\u0301 Lund born?", "In Visby."))
    assert "\u0301" not in other.prompt
