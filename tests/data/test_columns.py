"""Columns of a map: names, paths and joined columns; and the columns that an error suggests."""

import json
import re

import pytest
from file_forms import options

from expunge.data.columns import MISSING, lookup
from expunge.data.fields import RETAIN_OPTIONS
from expunge.data.records import read_records
from expunge.data.suggestions import suggest
from expunge.errors import InputError

ROW = {
    "a": "A",
    "b": "B",
    "none": None,
    "empty": "",
    "list": ["x", "y"],
    "object": {"text": ["t"], "deep": {"er": "d"}, "n": 1},
    "meta.id": "exact",
    "a+b": "joined name",
    "c[0]": "c",
}
VALUES = {
    "a": "A",
    "none": None,
    "meta.id": "exact",
    "a+b": "joined name",
    "c[0]": "c",
    "list[1]": "y",
    "list[2]": None,
    "object.text[0]": "t",
    "object.deep.er": "d",
    "object.n": 1,
    "b+a": "B\nA",
    "a+none+empty+b": "A\nB",
    "a+nothing": "A",
    "none+empty": None,
    "a+list": ["x", "y"],
    "a+list[0]": "A\nx",
    "nothing": MISSING,
    "nothing+nowhere": MISSING,
    "a[0]": MISSING,
    "a.b": MISSING,
    "list.a": MISSING,
    "object[0]": MISSING,
    "list[": MISSING,
    "list[-1]": MISSING,
    "list[99999999999]": MISSING,
    ".": MISSING,
    "": MISSING,
    "a+": "A",
}


@pytest.mark.parametrize("column", VALUES)
def test_a_column_is_looked_up(column):
    assert lookup(ROW, column) == VALUES[column]


def test_a_part_that_no_row_has_is_refused(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"instruction": "p", "input": "i", "output": "a"}\n')
    with pytest.raises(InputError, match='no row has the column "inptu" that --map gives for prompt'):
        read_records(path, {"prompt": "instruction+inptu", "answer": "output"})


def test_a_part_that_only_some_rows_have_is_read_where_it_is(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"q": "p", "answer": "a"}\n{"q": "p", "context": "c", "answer": "a"}\n')
    assert [record.prompt for record in read_records(path, {"prompt": "context+q"})] == ["p", "c\np"]


TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
SUGGESTED = {
    "names of other data sets": ({"query": "q", "reply": "r"}, {"prompt": "query", "answer": "reply"}),
    "a word of a name": ({"user_input": "q", "model_output": "r", "n": 1}, {"prompt": "user_input", "answer": "model_output"}),
    "the rest of the prompt": (
        {"instruction": "i", "context": "c", "response": "r", "category": "x"},
        {"prompt": "instruction+context", "answer": "response"},
    ),
    "the first of a list": ({"question": "q", "answers": ["r", "s"]}, {"answer": "answers[0]"}),
    "a list in an object": ({"question": "q", "answers": {"text": ["r"], "answer_start": [3]}}, {"answer": "answers.text[0]"}),
    "one column of text": ({"body": "t", "n": 1}, {"text": "body"}),
    "one column of text with any name": ({"words": "t", "n": 1}, {"text": "words"}),
    "two columns with any names": ({"left": "q", "right": "r"}, {"prompt": "left", "answer": "right"}),
    "one field that is missing": ({"prompt": "p", "left": "q"}, {"answer": "left"}),
    "a conversation": ({"conversation": TURNS}, {"messages": "conversation"}),
    "a question and its answer": ({"text": "q", "labels": "r"}, {"prompt": "text", "answer": "labels"}),
    "a name with a space": ({"answer": "r", "user query": "q"}, {"prompt": "user query"}),
}


@pytest.mark.parametrize("name", SUGGESTED)
def test_the_error_suggests_the_options_with_which_the_file_is_read(tmp_path, name):
    row, expected = SUGGESTED[name]
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(InputError) as caught:
        read_records(path)
    assert options(str(caught.value)) == expected
    assert len(read_records(path, expected)) == 1


def test_the_error_about_one_file_of_two_suggests_the_option_of_that_file(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"query": "q", "answer": "a"}')
    with pytest.raises(InputError, match=re.escape("perhaps --retain-map prompt=query")):
        read_records(path, options=RETAIN_OPTIONS)


def test_a_column_whose_name_may_be_a_text_to_forget_is_not_suggested():
    # The first row of a CSV file without a header.
    row = {"Who is Ada Lund?": "Who is Bo?", "Ada Lund is a painter.": "A cook."}
    assert suggest(["prompt", "answer", "messages", "text"], row, list(row)) == {}


def test_a_text_with_a_label_that_is_no_text_is_a_text(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"text": "t", "label": 1}\n')
    assert read_records(path)[0].answer == "t"
