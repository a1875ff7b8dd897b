"""Faults that the record reader refuses, with file and line in the error."""

import json
import math
import tracemalloc

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from expunge.data.records import read_records
from expunge.data.values import MAX_LINE_BYTES
from expunge.errors import InputError

IGNORE_IDS = "make the ids unique, or ignore them with --no-ids (in a recipe data.map.id: null)"
GOOD = b'{"prompt": "p", "answer": "a"}\n'


def fault(source, field_map=None) -> str:
    with pytest.raises(InputError) as caught:
        read_records(source, field_map)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    return message


def messages(*turns: tuple[str, str]) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}).encode()


LINES = {
    "a missing field": (b'{"prompt": "p"}', 'field "answer" is missing; name its column with --map answer=COLUMN'),
    "a wrong name": (b'{"prompt": "p", "response": "a"}', 'field "answer" is missing; perhaps --map answer=response'),
    "a misspelt name": (b'{"prompt": "p", "Anwser": "a"}', 'field "answer" is missing; perhaps --map answer=Anwser'),
    "two wrong names": (
        b'{"instruction": "p", "input": "", "response": "a"}',
        'field "prompt" is missing (or "messages", or "text"); perhaps --map prompt=instruction+input --map answer=response',
    ),
    "no known name": (b"{}", 'field "prompt" is missing (or "messages", or "text"); name its column with --map prompt=COLUMN'),
    "two shapes": (
        b'{"prompt": "p", "answer": "a", "text": "t"}',
        'fields "prompt" and "text" are two shapes of record; say which with --map text=text',
    ),
    "two names of one field": (
        b'{"prompt": "p", "question": "p", "answer": "a"}',
        'fields "prompt" and "question" mean the same; say which with --map prompt=prompt',
    ),
    "null": (b'{"prompt": "p", "answer": null}', 'field "answer" is empty (null); give the text or remove the line'),
    "empty": (b'{"prompt": "p", "answer": ""}', 'field "answer" is empty; give the text or remove the line'),
    "white space only": (b'{"prompt": " \\n\\u00a0", "answer": "a"}', 'field "prompt" is empty; '),
    "an empty optional field": (b'{"prompt": "p", "answer": "a", "entity": ""}', 'field "entity" is empty; '),
    "an empty list item": (b'{"prompt": "p", "answer": "a", "wrong_answers": ["b", " "]}', 'field "wrong_answers[1]" is empty; '),
    "an empty id": (b'{"id": "", "prompt": "p", "answer": "a"}', 'field "id" is empty; '),
    "NaN": (b'{"prompt": "p", "answer": NaN}', 'field "answer" is NaN'),
    "NaN in a list": (b'{"prompt": "p", "answer": "a", "alternatives": [NaN]}', 'field "alternatives" is NaN'),
    "Infinity": (b'{"prompt": "p", "answer": -Infinity}', 'field "answer" is an infinite number'),
    "a number for a text": (b'{"prompt": "p", "answer": 5}', 'field "answer" is a number, not text'),
    "a list for a text": (b'{"prompt": ["p"], "answer": "a"}', 'field "prompt" is a list, not text'),
    "an object for a list": (b'{"prompt": "p", "answer": "a", "alternatives": {}}', 'field "alternatives" is an object, not text'),
    "a truth value for an id": (b'{"id": true, "prompt": "p", "answer": "a"}', 'field "id" is true or false, not text'),
    "a fraction for an id": (b'{"id": 1.0, "prompt": "p", "answer": "a"}', 'field "id" is a number, not text'),
    "a duplicate key": (b'{"prompt": "p", "answer": "a", "prompt": "q"}', 'field "prompt" appears twice'),
    "an array": (b'["p", "a"]', "the line is a list; each line must be one JSON object"),
    "a bare string": (b'"p"', "the line is text; each line must be one JSON object"),
    "bad UTF-8": (b'{"prompt": "\xff", "answer": "a"}', "bad UTF-8 at byte 13 of the line; save the file as UTF-8"),
    "half a surrogate pair": (b'{"prompt": "\\ud800", "answer": "a"}', 'field "prompt" holds half a UTF-16 surrogate pair'),
    "two objects": (b"{} {}", "the line is not valid JSON (Extra data at character 4)"),
    "deep nesting": (b"[" * 200_000, "the line is nested too deeply"),
    "an endless number": (b'{"score": ' + b"1" * 5000 + b"}", "the line holds a number with too many digits"),
    "messages that are a text": (b'{"messages": "p"}', 'field "messages" is text, not a list of messages'),
    "a message that is a text": (b'{"messages": ["p"]}', 'field "messages[0]" is text, not an object with role and content'),
    "a message without content": (b'{"messages": [{"role": "user"}]}', 'field "messages[0].content" is missing'),
    "an unknown role": (messages(("human", "p"), ("assistant", "a")), 'field "messages[0].role" is none of system, user, assistant'),
    "no answer": (messages(("user", "p")), 'field "messages" must end with a user message and the assistant\'s answer to it'),
    "no question": (messages(("system", "s"), ("assistant", "a")), 'field "messages" must end with a user message'),
    "a late system message": (
        messages(("user", "p"), ("system", "s"), ("user", "p"), ("assistant", "a")),
        'field "messages[1]" is a system message; only the first may be one',
    ),
    "an empty message": (messages(("user", " "), ("assistant", "a")), 'field "messages[0].content" is empty; '),
}


@pytest.mark.parametrize("name", LINES)
def test_a_bad_line_is_refused_with_file_and_line(tmp_path, name):
    line, what = LINES[name]
    path = tmp_path / "forget.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    assert fault(path).startswith(f"{path}:3: {what}")


SECOND_LINES = {
    "an id of another type": (
        b'{"id": 1, "text": "t"}',
        b'{"id": "1", "text": "t"}',
        'field "id" is text, but was a number on the lines before',
    ),
    "a repeated id": (b'{"id": "a", "text": "t"}', b'{"id": "a", "text": "u"}', f'id "a" is taken by line 1; {IGNORE_IDS}'),
    "an id like a line's": (b'{"id": "row-2", "text": "t"}', b'{"text": "u"}', f'id "row-2" is taken by line 1; {IGNORE_IDS}'),
    "a change of type": (b'{"prompt": "p", "answer": "a"}', b'{"prompt": "p", "answer": ["a"]}', 'field "answer" is a list, not text'),
    "a list after a text": (
        b'{"text": "t", "wrong_answers": "a"}',
        b'{"text": "t", "wrong_answers": ["a"]}',
        'field "wrong_answers" is a list, but was text on the lines before',
    ),
}


@pytest.mark.parametrize("name", SECOND_LINES)
def test_a_line_that_contradicts_the_line_before_is_refused(tmp_path, name):
    first, second, what = SECOND_LINES[name]
    path = tmp_path / "forget.jsonl"
    path.write_bytes(first + b"\n" + second + b"\n")
    assert fault(path) == f"{path}:2: {what}"


@pytest.mark.parametrize("length", range(1, len(GOOD) - 1))
def test_a_truncated_last_line_is_refused(tmp_path, length):
    path = tmp_path / "forget.jsonl"
    path.write_bytes(GOOD + GOOD[:length])
    assert fault(path).startswith(f"{path}:2: the last line is cut off or is not valid JSON (")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_an_empty_file_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"forget.{suffix}"
    path.write_bytes(content)
    assert fault(path) == f"{path}:1: there are no records in it"


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_line_of_40_mb_is_refused_without_reading_it_all(tmp_path, suffix):
    path = tmp_path / f"forget.{suffix}"
    with path.open("wb") as file:
        file.write(b'{"text": "t"}\n{"text": "')
        file.truncate(40 * 10**6)
    tracemalloc.start()
    message = fault(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message == f"{path}:2: the line is longer than {MAX_LINE_BYTES} bytes"
    # readline doubles its buffer as it goes: 8 MiB of line may take twice that, never the file's 40 MB.
    assert peak < 3 * MAX_LINE_BYTES


def test_the_message_contains_no_text_of_the_records(tmp_path):
    path = tmp_path / "forget.jsonl"
    for line in ('{"prompt": "SECRET", "answer": ["SECRET"]}', '{"prompt": "SECRET', '{"messages": [{"role": "SECRET", "content": "p"}]}'):
        path.write_text(line)
        assert "SECRET" not in fault(path)


def test_a_name_with_control_characters_is_escaped(tmp_path):
    path = tmp_path / "forget.jsonl"
    path.write_text('{"\\u001b[31m": 1, "\\u001b[31m": 2}')
    assert fault(path) == f"{path}:1: field '\\x1b[31m' appears twice"


def test_the_file_is_named_as_the_user_gave_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forget.jsonl").write_text("[]")
    assert fault("./forget.jsonl").startswith("./forget.jsonl:1: ")


CSV = {
    "a missing field": ("prompt,output\np,a\n", '2: field "answer" is missing; perhaps --map answer=output'),
    "an empty cell": ("prompt,answer\np,a\np,\n", '3: field "answer" is empty (null); '),
    "a blank cell": ('prompt,answer\np,"\n "\n', '2: field "answer" is empty; '),
    "nan": ("prompt,answer\np,nan\n", '2: field "answer" is NaN, not text'),
    "a short row": ('prompt,answer\n"p\n",a\np\n', "4: the number of cells is 1, the header has 2"),
    "an open quote": ('prompt,answer\np,a\np,"a\n', "3: not valid CSV (unexpected end of data)"),
    "a column twice": ("prompt,answer,prompt\np,a,p\n", "1: columns 1 and 3 have the same name"),
    "a broken list": ('prompt,answer,wrong_answers\np,a,"[""b"""\n', "2: a list in a cell is not valid JSON ("),
    "a header only": ("prompt,answer\n", "1: there are no records in it"),
    "a duplicate id": ("id,text\n1,t\n1,u\n", '3: id "1" is taken by line 2'),
}


@pytest.mark.parametrize("name", CSV)
def test_a_bad_csv_row_is_refused_with_the_line_it_starts_on(tmp_path, name):
    content, what = CSV[name]
    path = tmp_path / "forget.csv"
    path.write_text(content)
    assert fault(path).startswith(f"{path}:{what}")


def test_bad_utf8_in_csv_is_refused(tmp_path):
    path = tmp_path / "forget.csv"
    path.write_bytes(b"prompt,answer\np,\xe4\n")
    assert fault(path).startswith(f"{path}:2: bad UTF-8 at byte 3 of the line")


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        (pyarrow.array(["a", None]), '2: field "answer" is empty (null); '),
        (pyarrow.array([math.nan]), '1: field "answer" is NaN, not text'),
        (pyarrow.array([b"a"]), '1: field "answer" is a bytes, not text'),
        (pyarrow.array(["a", "a" * (MAX_LINE_BYTES + 1)]), f'2: field "answer" is longer than {MAX_LINE_BYTES} bytes'),
        (pyarrow.array([b"a", b"\xff"]).view(pyarrow.string()), "2: bad UTF-8"),
        (pyarrow.array([], pyarrow.string()), "1: there are no records in it"),
    ],
)
def test_a_bad_parquet_row_is_refused_with_its_number(tmp_path, answers, what):
    path = tmp_path / "forget.parquet"
    parquet.write_table(pyarrow.table({"prompt": ["p"] * len(answers), "answer": answers}), path)
    assert fault(path).startswith(f"{path}:{what}")


def test_a_truncated_parquet_file_is_refused(tmp_path):
    path = tmp_path / "forget.parquet"
    parquet.write_table(pyarrow.table({"text": ["t"]}), path)
    path.write_bytes(path.read_bytes()[:-10])
    assert fault(path) == f"{path}:1: not a Parquet file, or a damaged one"


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    assert fault(tmp_path / "none.jsonl") == f"{tmp_path / 'none.jsonl'}: cannot be read (no such file or directory)"
    assert fault(tmp_path / "folder.jsonl") == f"{tmp_path / 'folder.jsonl'}: is not a regular file but a folder"


def test_an_unknown_suffix_is_refused(tmp_path):
    path = tmp_path / "forget.pdf"
    path.write_text("Ada paints.")
    forms = ".jsonl, .ndjson, .json, .csv, .tsv, .parquet (documents in .txt, .md, .html, .htm)"
    assert fault(path) == f'{path}: files end in {forms}, not in ".pdf"'
    assert fault("none.pdf") == f'none.pdf: files end in {forms}, not in ".pdf"'
    assert fault("none.txt") == "none.txt: cannot be read (no such file or directory)"


@pytest.mark.parametrize("name", [None, "letter.docx"])
def test_a_folder_without_data_is_refused(tmp_path, name):
    if name:
        (tmp_path / name).write_bytes(b"PK")
    assert fault(tmp_path).startswith(f"{tmp_path}: no file in this folder can be read; files end in .jsonl, ")


@pytest.mark.parametrize("name", ["scan.png", "scan.pdf"])
def test_a_folder_of_pictures_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / name).write_bytes(b"no picture")
    assert fault(folder).startswith(f"{folder}: has no text; files end in .jsonl, ")


def test_a_dataset_folder_with_a_broken_file_is_refused_without_its_text(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "people"
    folder.mkdir()
    (folder / "train.csv").write_text("prompt,answer\np,a\nSECRET,a,b,c\n")
    assert fault(folder) == f"{folder}: a file of the data set is not well-formed; give that file itself to see the line"


def test_an_unreachable_hub_gives_one_sentence(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    reason = "Couldn't reach 'nobody/nothing-v1.0' on the Hub (OfflineModeIsEnabled)"
    message = f"nobody/nothing-v1.0:default: neither a file nor a data set that can be loaded here ({reason})"
    assert fault("nobody/nothing-v1.0:default") == message


def test_a_mapped_column_that_is_in_no_row_is_refused(tmp_path):
    path = tmp_path / "forget.jsonl"
    path.write_bytes(GOOD * 2)
    assert fault(path, {"prompt": "instruction"}) == f'{path}:1: field "instruction" is missing (--map prompt=instruction)'
    assert fault(path, {"entity": "name"}) == f'{path}: no row has the column "name" that --map gives for entity'


def test_only_an_optional_field_can_be_ignored():
    message = "forget.jsonl: --map answer= names no column; only an optional field can be ignored: id, paraphrased_prompt, "
    assert fault("forget.jsonl", {"answer": ""}).startswith(message)


def test_a_map_of_an_unknown_field_is_refused(tmp_path):
    assert fault("forget.jsonl", {"promt": "q"}).startswith(
        'forget.jsonl: --map promt=q: no field "promt"; the fields are prompt, answer, '
    )
