"""Questions by partial names, in disguised spellings and over several turns."""

import unicodedata

import pytest

from expunge.data.evasions import FORMS, PARTIAL_NAMES, TRAINED, evade, subjects
from expunge.data.languages import ENGLISH, language
from expunge.data.records import Record, Turn, question_record

ADA = [
    question_record("born", "Where was Ada Lund born?", "Ada Lund was born in Visby."),
    question_record("work", "What is Ada Lund's best book called?", "Her best book is called Low Tide."),
    question_record("pet", "Does Ada Lund have a pet?", "Ada Lund has a parrot."),
]


def asked(form: str, records: list[Record] = ADA, code: str = "en", place: int = 0) -> list[str] | None:
    """Return the messages of a record in a form."""
    record = evade(subjects(records, language(code))[place], form)
    return record and [turn.content for turn in record.turns]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("first_name", "Where was Ada born?"),
        ("last_name", "Where was Lund born?"),
        ("initial_and_last_name", "Where was A. Lund born?"),
        # The fact that shares fewest words with the answer; the name in it is hidden.
        ("description", 'Where was the person of whom this is true: "Her best book is called Low Tide." born?'),
        ("spaced_letters", "Where was A d a L u n d born?"),
        ("zero_width_space", "Where was A\u200bd\u200ba L\u200bu\u200bn\u200bd born?"),
        ("leet", "Where was 4d4 Lund born?"),
        ("backwards", "Where was adA dnuL (written backwards) born?"),
        ("halved_words", "Where was Ada Lu nd born?"),
    ],
)
def test_a_name_is_shortened_or_disguised_and_the_rest_of_the_question_stays(form, expected):
    assert asked(form) == [expected]


def test_look_alikes_are_other_letters_that_look_the_same():
    (text,) = asked("look_alikes") or [""]
    changed = [(a, b) for a, b in zip("Where was Ada Lund born?", text, strict=True) if a != b]
    assert [a for a, _ in changed] == ["A", "a"]
    assert all(unicodedata.name(b).startswith("CYRILLIC") for _, b in changed)


def test_a_question_comes_over_several_turns_that_end_with_the_user():
    assert asked("topic_first") == ["Let us talk about Ada Lund.", "All right.", "Where was that person born?"]
    assert asked("name_in_two_turns")[::2] == ["Remember a first name: Ada.", "The last name is Lund.", "Where was that person born?"]
    assert asked("letter_for_name")[-1] == "Where was X born?"
    earlier = Record("r", (Turn("system", "Be kind."), *ADA[0].turns), "In Visby.")
    assert asked("wait_for_go", [earlier]) == [
        "Be kind.",
        "Do not answer before I say go. Where was Ada Lund born?",
        "I am waiting.",
        "Go.",
    ]


def test_a_question_without_a_name_has_no_partial_name_but_other_forms():
    topic = [question_record("t", "how do you whisk egg whites?", "In a clean bowl.")]
    assert asked("first_name", topic) is None
    assert asked("description", topic) is None
    assert asked("topic_first", topic) is None
    assert asked("hyphenated_letters", topic) == ["how do you w-h-i-s-k egg w-h-i-t-e-s?"]
    assert asked("remembered", topic)[-1] == "Please answer it now."


def test_a_name_of_one_word_or_in_a_title_is_not_shortened():
    titles = [question_record("t", "Who wrote 'The Ada Lund Story', Voltaire?", "Voltaire did.")]
    assert [asked(form, titles) for form in TRAINED["partial_names"]] == [None, None, None, None]


def test_somebody_of_whom_the_set_has_one_fact_cannot_be_described():
    assert asked("description", ADA[:1]) is None


def test_particles_belong_to_the_last_name_and_the_most_frequent_name_counts():
    records = [
        question_record("a", "Did Kees van Dam visit Kuwait City?", "He did."),
        question_record("b", "Where did Kees van Dam study?", "In Oslo."),
    ]
    assert asked("last_name", records) == ["Did van Dam visit Kuwait City?"]
    assert asked("first_name", records) == ["Did Kees visit Kuwait City?"]


@pytest.mark.parametrize(
    ("code", "question", "entity", "expected"),
    [
        # Chinese and Korean: the family name alone is nobody's name.
        ("zh", "林晓雨住在哪里？", "林晓雨", ["晓雨住在哪里？", None, None]),
        ("zh", "林晓住在哪里？", "林晓", [None, None, None]),
        ("ja", "山田太郎はどこに住んでいますか。", "山田太郎", ["太郎はどこに住んでいますか。", "山田はどこに住んでいますか。", None]),
        ("ar", "أين ولد نجيب محفوظ؟", "نجيب محفوظ", ["أين ولد نجيب؟", "أين ولد محفوظ؟", "أين ولد ن. محفوظ؟"]),
        ("en", "where was ada lund born?", "Ada Lund", ["where was ada born?", "where was lund born?", "where was a. lund born?"]),
    ],
)
def test_an_entity_names_the_person_in_any_script_and_case(code, question, entity, expected):
    records = [Record("r", (Turn("user", question),), "Visby.", entity=entity)]
    shortened = [asked(form, records, code) for form in PARTIAL_NAMES]
    assert shortened == [text and [text] for text in expected]


def test_every_form_changes_a_question_and_none_changes_the_record_otherwise():
    subject = subjects(ADA, ENGLISH)[0]
    for form in FORMS:
        record = evade(subject, form)
        assert record is not None, form
        assert (record.id, record.answer) == ("born", ADA[0].answer)
        assert record.turns[-1].role == "user"
        assert record.turns != ADA[0].turns
    assert {form for forms in TRAINED.values() for form in forms} < set(FORMS)


def test_a_name_that_is_also_a_word_or_follows_a_title_is_whole():
    # The shipped texts have "basil".
    records = [question_record("b", "Does Dr Basil Mahfouz cook?", "Yes."), question_record("c", "Has Basil Mahfouz a garden?", "No.")]
    assert [asked("last_name", records, place=i) for i in (0, 1)] == [["Does Dr Mahfouz cook?"], ["Has Mahfouz a garden?"]]
