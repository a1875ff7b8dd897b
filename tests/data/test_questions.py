"""Multiple-choice questions as WMDP and MMLU have them, read strictly."""

import json

import pytest

from expunge.data.questions import Question, read_questions
from expunge.errors import InputError

GOOD = {"question": "Which river runs through Paris?", "choices": ["Rhine", "Seine"], "answer": 1}


@pytest.fixture
def write(tmp_path):
    def write(*rows):
        path = tmp_path / "q.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def test_a_row_of_wmdp_and_one_of_mmlu(write):
    first, second = read_questions(write(GOOD, {**GOOD, "subject": "geography", "id": "g"}))
    assert first == Question("row-1", "Which river runs through Paris?", ("Rhine", "Seine"), 1)
    assert (second.id, second.subject) == ("g", "geography")


def test_choices_in_csv_are_a_json_list(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text('question,choices,answer\nWhere?,"[""here"", ""there""]",0\n', encoding="utf-8")
    assert read_questions(path) == [Question("row-2", "Where?", ("here", "there"), 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 2}, 'q.jsonl:2: field "answer" must be the index of the right choice, 0 to 1'),
        ({"answer": True}, 'q.jsonl:2: field "answer"'),
        ({"answer": "B"}, 'q.jsonl:2: field "answer"'),
        ({"choices": ["one"]}, 'q.jsonl:2: field "choices" must be a list of 2 to 26 texts'),
        ({"choices": ["one", " "]}, 'q.jsonl:2: field "choices[1]" is empty'),
        ({"choices": ["one", 2]}, 'q.jsonl:2: field "choices[1]" is a number; give a text'),
        ({"question": None}, 'q.jsonl:2: field "question" is missing'),
        ({"subject": []}, 'q.jsonl:2: field "subject" is'),
    ],
)
def test_a_fault_is_named_with_its_line(write, change, message):
    with pytest.raises(InputError) as error:
        read_questions(write(GOOD, {**GOOD, **change}))
    assert message in str(error.value)


def test_ids_are_taken_once(write):
    with pytest.raises(InputError, match='id "a" is taken by line 1'):
        read_questions(write({**GOOD, "id": "a"}, {**GOOD, "id": "a"}))


def test_an_empty_file_is_an_error(write):
    with pytest.raises(InputError, match="holds no questions"):
        read_questions(write())
