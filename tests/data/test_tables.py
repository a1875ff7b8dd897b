"""CSV files: which separator they have, empty columns, and long cells."""

import logging

import pytest

from expunge.data.records import read_records
from expunge.data.values import MAX_LINE_BYTES
from expunge.errors import InputError


def read(path, content: str, field_map: dict[str, str] | None = None) -> list[tuple[str, str]]:
    path.write_text(content)
    return [(record.prompt, record.answer) for record in read_records(path, field_map)]


@pytest.mark.parametrize(
    ("name", "content", "remark"),
    [
        ("a.csv", "prompt,answer\np;|,a\n", ""),
        ("a.csv", '"prompt","answer; in one sentence"\np;|,a\n', ""),
        ("a.csv", "prompt;answer\np;a\n", "semicolons"),
        ("a.csv", "prompt\tanswer\np\ta\n", "tabs"),
        ("a.tsv", "prompt\tanswer\np\ta\n", ""),
        ("a.tsv", "prompt,answer\np,a\n", "commas"),
        ("a.csv", "\n \nprompt|answer\np|a\n", "pipes"),
        ("a.csv", "sep=;\nprompt;answer\np;a\n", "semicolons"),
        ("a.csv", '"sep=|"\r\nprompt|answer\r\np|a\r\n', "pipes"),
        ("a.csv", "SEP=,\nprompt,answer\np,a\n", ""),
    ],
)
def test_the_header_decides_on_the_separator_and_a_surprising_one_is_reported_once(tmp_path, caplog, name, content, remark):
    (tmp_path / name).write_text(content)
    field_map = {"answer": "answer; in one sentence"} if "sentence" in content else {}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert [record.answer for record in read_records(tmp_path / name, field_map)] == ["a"]
    assert caplog.messages == ([f"{tmp_path / name}: the columns are separated by {remark}"] if remark else [])


def test_a_separator_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv:1: the separator of a sep= line must be one of commas, tabs, semicolons, pipes"):
        read(tmp_path / "a.csv", "sep=x\npromptxanswer\n")


def test_lines_are_counted_from_the_top_of_the_file(tmp_path):
    path = tmp_path / "a.csv"
    assert read(path, '\nsep=;\n\nprompt;answer\n"p\nq";a\n\np;b\n') == [("p\nq", "a"), ("p", "b")]
    assert [record.line for record in read_records(path)] == [5, 8]


def test_empty_columns_at_the_end_and_empty_rows_are_not_read(tmp_path):
    assert read(tmp_path / "a.csv", "prompt,answer,,\np,a,,\nq,b\n,,,\nr,c,\n") == [("p", "a"), ("q", "b"), ("r", "c")]


def test_a_cell_beyond_the_last_column_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv:2: the number of cells is 4, the header has 2"):
        read(tmp_path / "a.csv", "prompt,answer,,\np,a,,note\n")


def test_a_column_without_a_name_may_come_first(tmp_path):
    # pandas writes its index so.
    assert read(tmp_path / "a.csv", ",prompt,answer\n0,p,a\n1,q,b\n") == [("p", "a"), ("q", "b")]


def test_a_cell_may_be_as_long_as_a_line(tmp_path):
    text = "x" * (MAX_LINE_BYTES // 2) + "\n"
    assert read(tmp_path / "a.csv", f'prompt,answer\np,"{text}y"\n') == [("p", f"{text}y")]
    with pytest.raises(InputError, match=r"a\.csv:2: not valid CSV \(field larger than field limit \(8388608\)\)"):
        read(tmp_path / "a.csv", f'prompt,answer\np,"{text * 3}"\n')


def test_a_path_leads_into_a_list_in_a_cell(tmp_path):
    assert read(tmp_path / "a.csv", 'question,answers\np,"[""a"", ""b""]"\n', {"answer": "answers[0]"}) == [("p", "a")]
