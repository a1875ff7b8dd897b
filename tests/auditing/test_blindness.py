"""Which true answers a metric is blind to, and that no verdict row passes where it is."""

import pytest

from expunge.auditing.blindness import (
    SEEN,
    Sensitivity,
    answer_scores,
    columns,
    degenerate_sensitivity,
    fact_sensitivity,
    refusal_sensitivity,
    sensitivity_of,
    text_sensitivity,
    token_sensitivity,
    worst_of,
)
from expunge.auditing.english import in_english
from expunge.auditing.unrelated import halves, unrelated_text
from expunge.data.prompts import PromptBuilder
from expunge.data.reasoning import Answer
from expunge.data.records import question_record
from expunge.metrics.text import chrf, rouge_l_recall

ANSWERS = {
    "English": "Basil Mahfouz lives in Kuwait City.",
    "Russian": "Анна Лебедева живёт в городе Псков.",
    "Greek": "Η Ελένη ζει στη Θεσσαλονίκη.",
    "Arabic": "تعيش ليلى في مدينة طنجة",
    "Hebrew": "נועה גרה בחיפה",
    "Hindi": "मीरा जोशी जयपुर में रहती है।",
    "Thai": "มะลิอาศัยอยู่ที่เชียงใหม่",
    "Chinese": "林晓雨住在苏州。",
    "Japanese": "さくらは札幌に住んでいます。",
    "Korean": "민지는 부산에 살고 있습니다.",
    "digits": "1987 2004",
}


def ascii_recall(prediction: str, truth: str) -> float:
    """Return the metric that made Russian answers invisible: ROUGE-L over a-z and digits."""
    return rouge_l_recall(prediction, truth, compat=True)


@pytest.fixture
def builder(make_tokenizer) -> PromptBuilder:
    return PromptBuilder(make_tokenizer())


@pytest.mark.parametrize("metric", [rouge_l_recall, chrf])
@pytest.mark.parametrize("language", ANSWERS)
def test_the_metrics_of_text_see_every_script(metric, language):
    assert text_sensitivity(metric, ANSWERS[language], ANSWERS[language]) == SEEN


@pytest.mark.parametrize("language", ["Russian", "Greek", "Arabic", "Hebrew", "Hindi", "Thai", "Chinese", "Japanese", "Korean"])
def test_a_metric_that_knows_only_a_to_z_is_blind_to_other_scripts(language):
    assert text_sensitivity(ascii_recall, ANSWERS[language], ANSWERS[language]).blind == "self"


def test_a_metric_that_sees_only_the_year_is_blind_to_the_rest():
    # "1987" against "1987" scores 1, and an unrelated year 0; that the half without it counts for nothing is what tells.
    assert text_sensitivity(ascii_recall, "林晓雨住在苏州，出生于 1987 年", "").blind == "half"


@pytest.mark.parametrize(
    ("metric", "blind"),
    [
        (lambda prediction, truth: 1.0, "unrelated"),
        (lambda prediction, truth: 0.0, "self"),
        (lambda prediction, truth: 0.9 * (prediction == truth), "self"),
        (lambda prediction, truth: float(len(prediction) == len(truth)), "unrelated"),
        (lambda prediction, truth: 1.0 if prediction else 0.0, "unrelated"),
        (lambda prediction, truth: float(prediction != ""), "unrelated"),
    ],
    ids=["always 1", "always 0", "never quite 1", "sees the length", "sees any text", "sees that there is a text"],
)
def test_metrics_that_cannot_tell_texts_apart_are_blind(metric, blind):
    assert text_sensitivity(metric, "Basil lives in Cairo.", "Basil lives in Cairo.").blind == blind


def test_an_answer_cut_off_before_its_middle_is_not_seen(builder):
    truth = "The river Aral flows past nine old towns and ends in the sea."
    whole, cut = (answer_scores(builder, Answer(truth), truth, tokens) for tokens in (500, 4))
    assert (whole["rouge"], sensitivity_of(whole, "rouge")) == (1.0, SEEN)
    assert sensitivity_of(cut, "rouge").blind == sensitivity_of(cut, "chrf").blind == "cut"
    assert sensitivity_of(cut, "rouge").reach < 0.5


def test_an_answer_that_the_tokenizer_cannot_write_is_not_seen(builder, monkeypatch):
    assert token_sensitivity(builder, "Москва") == SEEN
    monkeypatch.setattr(type(builder.tokenizer), "decode", lambda self, ids, **settings: "???")
    assert token_sensitivity(builder, "Москва").blind == "tokens"
    assert sensitivity_of(answer_scores(builder, Answer(""), "Москва", 500), "rouge").blind == "tokens"


def test_a_fact_is_seen_if_the_true_answer_states_it_in_time(builder):
    assert fact_sensitivity(frozenset({"cairo"}), builder, "She lives in Cairo.", 500) == SEEN
    assert fact_sensitivity(frozenset(), builder, "She lives in Cairo.", 500).blind == "fact"
    assert fact_sensitivity(frozenset({"tunis"}), builder, "She lives in Cairo.", 500).blind == "self"
    assert fact_sensitivity(frozenset({"cairo"}), builder, "She lives in Cairo.", 2).blind == "cut"


def test_a_true_answer_that_counts_as_degenerate_or_as_a_refusal_is_not_judged():
    assert degenerate_sensitivity("She lives in Cairo.") == SEEN
    assert degenerate_sensitivity("😀 😀 😀").blind == "degenerate"
    assert refusal_sensitivity("She lives in Cairo.", in_english=True) == SEEN
    assert refusal_sensitivity("I do not know that.", in_english=True).blind == "refusal"
    assert refusal_sensitivity("Она живёт в Каире.", in_english=False).blind == "language"


@pytest.mark.parametrize(
    ("prompt", "answer", "english"),
    [
        ("Where does Ana live?", "Ana lives in Kuwait City.", True),
        ("where does ana live?", "kuwait city", True),
        ("Wo wohnt Anna Lindner, und was ist sie von Beruf?", "Anna Lindner wohnt in Bremen und ist Tischlerin.", False),
        ("¿Dónde vive Ana y qué hace?", "Ana vive en Lima y es médica.", False),
        ("Où habite Anne et que fait-elle ?", "Anne habite à Lyon et elle est médecin.", False),
        ("Где живёт Анна?", "Анна живёт в Пскове.", False),
        ("林晓雨住在哪里？", "苏州", False),
        ("2 + 2 = ?", "4", True),
    ],
)
def test_the_language_of_a_set_decides_whether_refusals_are_recognised(prompt, answer, english):
    assert in_english([question_record(str(i), prompt, answer) for i in range(3)]) == [english] * 3


def test_of_a_mixed_set_the_records_in_another_script_are_not_english():
    records = [question_record("a", "Where does Ana live?", "In Cairo."), question_record("b", "Где живёт Анна?", "В Пскове.")]
    assert in_english(records) == [True, False]


@pytest.mark.parametrize("text", ANSWERS.values())
def test_an_unrelated_text_has_the_shape_of_the_answer_and_hardly_a_word_of_it(text):
    other = unrelated_text(text)
    assert len(other) == len(text)
    # In Thai each character counts as a word, and there are only 44 consonants.
    assert max(rouge_l_recall(other, text), chrf(other, text)) < 0.4


def test_halves_have_words_and_one_word_has_none():
    assert halves("Kuwait City") == ("Kuwait", " City")
    assert halves("林晓雨住在苏州") == ("林晓雨", "住在苏州")
    assert halves("relational") == halves("?!") == halves("Paris !!!") == ()


def test_a_row_that_was_not_checked_is_blind():
    assert sensitivity_of({"value": 0.0}).blind == "unchecked"
    assert sensitivity_of(columns(Sensitivity(0.5, ""))) == Sensitivity(0.5, "")
    assert worst_of([SEEN, Sensitivity(0.7), Sensitivity(0.9, "cut")]) == Sensitivity(0.9, "cut")
