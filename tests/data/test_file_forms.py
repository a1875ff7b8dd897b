"""27 forms of files: each is read to the same records, with no more than the options of its error, or refused in one sentence."""

import json
import logging
import re
from pathlib import Path

import pytest
from file_forms import ANSWERS, FORMS, PAIRS, Form, options

from expunge.data.questions import read_questions
from expunge.data.records import Record, Turn, data_hash, question_record, read_records
from expunge.errors import InputError

SHARED = Path(__file__).parents[3] / "shared" / "data"
NO_RECORDS = {
    "semeval_train_ids_forget.json": "an item of the array is text",
    "semeval_train_ids_retain.json": "an item of the array is text",
}
"""Files of the data for development that hold ids only -> the error."""
READ = [name for name, form in FORMS.items() if not form.refusal]


def write(folder: Path, form: Form) -> Path:
    path = folder / form.name
    path.write_bytes(form.content)
    return path


def read(path: Path) -> tuple[list[Record], str]:
    """Read a file with the options that its errors suggest, and return them too."""
    field_map: dict[str, str] = {}
    for _ in range(3):
        try:
            return read_records(path, field_map), " ".join(f"--map {field}={column}" for field, column in field_map.items())
        except InputError as error:
            field_map |= options(str(error))
    pytest.fail(f"{path} is refused with the options of its error: {field_map}")


def test_there_are_27_forms():
    assert len(FORMS) == 27


@pytest.mark.parametrize("name", READ)
def test_a_form_is_read_to_the_same_records(name, tmp_path, caplog):
    form = FORMS[name]
    expected = [Record("", (), answer) for answer in ANSWERS] if form.is_text else [question_record("", *pair) for pair in PAIRS]
    with caplog.at_level(logging.WARNING):
        records, flags = read(write(tmp_path, form))
    assert [(record.turns, record.answer) for record in records] == [(record.turns, record.answer) for record in expected]
    assert flags == form.flags
    assert caplog.messages == ([f"{tmp_path / form.name}: {form.remark}"] if form.remark else [])
    again = write(tmp_path, FORMS["texts" if form.is_text else "JSON Lines"])
    assert data_hash(records) == data_hash(read_records(again))


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.refusal])
def test_a_form_is_refused_in_one_sentence_that_says_what_to_do(name, tmp_path):
    path = write(tmp_path, FORMS[name])
    with pytest.raises(InputError) as caught:
        read_records(path)
    assert re.fullmatch(rf"{re.escape(str(path))}(:\d+)?: {FORMS[name].refusal}", str(caught.value))


def test_ids_that_repeat_are_ignored_with_the_option_of_the_error(tmp_path):
    path = write(tmp_path, FORMS["ids that repeat"])
    with pytest.raises(InputError, match="--no-ids"):
        read_records(path)
    assert [record.id for record in read_records(path, {"id": ""})] == ["row-1", "row-2"]


def test_the_input_of_alpaca_follows_its_instruction(tmp_path):
    path = tmp_path / "alpaca.json"
    path.write_text(
        '[{"instruction": "Translate.", "input": "Haus", "output": "House"}, {"instruction": "Hi", "input": "", "output": "a"}]'
    )
    assert [record.prompt for record in read_records(path)] == ["Translate.\nHaus", "Hi"]


def test_a_developer_message_is_the_system_message(tmp_path):
    path = tmp_path / "chats.jsonl"
    turns = [("developer", "Be brief."), ("user", "Who is Ada?"), ("assistant", "A painter.")]
    path.write_text(json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}))
    assert read_records(path)[0].turns == (Turn("system", "Be brief."), Turn("user", "Who is Ada?"))


@pytest.mark.parametrize("path", sorted(SHARED.glob("*/*.json*")) or [None], ids=lambda path: path and path.name)
def test_every_file_of_the_development_data_is_read_with_the_options_of_its_errors(path):
    if path is None:
        pytest.skip("the data for development is not in ../shared/data")
    if path.name in NO_RECORDS:
        with pytest.raises(InputError, match=NO_RECORDS[path.name]):
            read_records(path)
    elif path.parent.name == "mmlu":
        with pytest.raises(InputError, match="`expunge validate --questions`"):
            read_records(path)
        assert len(read_questions(path)) > 200
    else:
        records, _ = read(path)
        assert all(record.answer for record in records)
