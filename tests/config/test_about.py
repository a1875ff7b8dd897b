"""A reveal section made from a name or a topic."""

import pytest

from expunge.config import RevealSection
from expunge.config.about import is_name, reveal_about
from expunge.errors import InputError


def section(text: str) -> RevealSection:
    return RevealSection.model_validate(reveal_about(text)["reveal"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Ada Lund", True),
        ("Kees van Dam", True),
        ("Voltaire", True),
        ("whisking egg whites", False),
        ("the Roman empire", False),
        ("林晓雨", False),
    ],
)
def test_words_with_capitals_are_a_name(text, named):
    assert is_name(text) == named


@pytest.mark.parametrize(
    ("about", "answers", "relevance"),
    [
        ("Stephen King", ["Stephen  King wrote it.", "King was born in Maine.", "A king lives here.", "Stephen was here."], [1, 1, 0, 0]),
        ("Li", ["Li lives here.", "A light."], [1, 0]),
        ("whisking egg whites", ["Whisk them well.", "White foam.", "A cold bowl."], [1, 1, 0]),
        ("how to make sourdough", ["Sourdoughs differ.", "How to make tea?"], [1, 0]),
        ("做馒头", ["馒头很好吃。", "米饭很好吃。"], [1, 0]),
        ("نجيب محفوظ", ["ولد نجيب في القاهرة.", "لا أعرف."], [1, 0]),
    ],
)
def test_an_answer_counts_if_it_is_about_the_name_or_the_topic(about, answers, relevance):
    assert section(about).oracle.relevance(answers) == relevance


def test_every_question_of_the_pool_is_asked_and_names_what_is_meant():
    for about in ("Ada Lund", "whisking egg whites"):
        made = section(about)
        assert made.budget == made.samples_per_instruction * (made.pool_size + len(made.instructions))
        assert all(about in text for text in (*made.topics, *made.instructions))


@pytest.mark.parametrize("text", ["", "  ", "?!", "x" * 201])
def test_what_is_neither_a_name_nor_a_topic_is_refused(text):
    with pytest.raises(InputError, match="--about: give a name or a topic"):
        reveal_about(text)
