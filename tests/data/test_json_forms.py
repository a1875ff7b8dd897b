"""Arrays of objects and objects over several lines: where records stand, faults, and limits."""

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expunge.data import text_lines
from expunge.data.readers import read_rows
from expunge.data.values import MAX_LINE_BYTES
from expunge.errors import InputError

ROWS = [{"prompt": "Wer?", "answer": '[Ada], "die" {1}\\'}, {"prompt": "张伟", "answer": "b\n]"}]


def read(path) -> list[tuple[int, dict]]:
    return list(read_rows(path, "", set()))


def fault(path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        ("[{}, {}, {}]", [1, 2, 3]),
        ("[\n{},\n{}\n]\n", [2, 3]),
        ("\n\n[{}, {},\n\n\n{}]", [3, 4, 6]),
        ('[\n {\n  "a": 1\n },\n {\n  "a": 2\n }\n]', [2, 5]),
        ('{\n "a": 1\n}\n{\n "a": 2\n}\n', [1, 4]),
        (" [ ] ", []),
    ],
)
def test_a_record_has_the_line_on_which_it_starts_or_the_next_free_number(tmp_path, content, numbers):
    (tmp_path / "a.json").write_text(content)
    assert [number for number, _ in read(tmp_path / "a.json")] == numbers


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(TEXTS, TEXTS | NUMBERS | st.none(), max_size=3), max_size=5),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
    size=st.integers(1, 9),
)
def test_any_objects_are_read_back_from_an_array_whatever_the_blocks(tmp_path, rows, indent, ascii_only, size):
    (tmp_path / "a.json").write_bytes(json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode())
    before, text_lines.BLOCK_BYTES = text_lines.BLOCK_BYTES, size
    try:
        assert [row for _, row in read(tmp_path / "a.json")] == rows
    finally:
        text_lines.BLOCK_BYTES = before


FORMS = {
    "one line": json.dumps(ROWS),
    "several lines": json.dumps(ROWS, indent=1, ensure_ascii=False),
    "one after another": "\n".join(json.dumps(row, indent=1) for row in ROWS),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path, name):
    whole, path = FORMS[name].encode(), tmp_path / "a.json"
    for length in range(2, len(whole)):
        path.write_bytes(whole[:length])
        if name == "one after another" and whole[:length].strip().endswith(b"\n}"):
            # Between two objects that stand one after another nothing is missing.
            assert [row for _, row in read(path)] == ROWS[:1]
        else:
            with pytest.raises(InputError, match=rf"^{path}:"):
                read(path)


FAULTS = {
    "an item that is a text": ('[{},\n"p"]', ":2: an item of the array is text; each item must be one JSON object"),
    "an item that is a number": ("[12]", ":1: an item of the array is a number; each item must be one JSON object"),
    "no comma": ("[{}\n{}]", ":2: the array is not valid JSON (no ',' where it must be)"),
    "a comma too many": ("[{},\n]", ":2: the last object is cut off or is not valid JSON (Expecting value)"),
    "no end": ("[{}\n", ":2: the array is cut off (no ',' where it must be)"),
    "text after the end": ("[{}]\n{}", ":2: more text follows the end of the array; remove it"),
    "a fault inside": ('[{"a": 1,\n "b" 2}, {"a": "' + "x" * 100 + '"}]', ":2: the object is not valid JSON (Expecting ':' delimiter)"),
    "a field twice": ('[{"a": 1, "a": 2}]', ':1: field "a" appears twice'),
    "deep nesting": ("[" + '{"a":' * 100_000, ":1: the object is nested too deeply"),
    "many digits": ('[{"a": ' + "1" * 5000 + "}]", ":1: the object holds a number with too many digits"),
    "bad UTF-8": (b'[\n{"a": "\xff"}]', ":2: bad UTF-8 in the line; save the file as UTF-8 (if it is Windows-1252, "),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_array_is_refused_with_its_line(tmp_path, name):
    content, message = FAULTS[name]
    assert fault(tmp_path / "a.json", content).startswith(message)


def test_an_object_longer_than_the_limit_is_refused_without_reading_it_all(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.write(b'[{"text": "t"}, {"text": "')
        file.truncate(60 * 10**6)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.json:1: the object is not valid JSON|longer than"):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * MAX_LINE_BYTES
    path.write_text(f'[{{"text": "{"x" * MAX_LINE_BYTES}"}}]')
    with pytest.raises(InputError, match=r"a\.json:1: the object is longer than 8388608 bytes"):
        read(path)


def test_an_array_larger_than_the_limit_of_a_line_is_read_a_record_at_a_time(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f"[{', '.join([json.dumps({'text': 'x' * 10**6})] * 12)}]")
    tracemalloc.start()
    count = sum(1 for _ in read_rows(path, "", set()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, peak < 8 * 10**6) == (12, True)
