"""YAML and JSON from strangers: limits, one sentence for each fault, and nothing but plain values."""

import json
import os
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from expunge.documents import check_yaml, checked, parse_json, parse_yaml, read_json, read_yaml, yaml_text
from expunge.documents.text_files import MAX_DEPTH
from expunge.documents.yaml_files import MAX_NODES, MAX_YAML_BYTES
from expunge.errors import InputError

REFUSED_YAML = {
    "an alias": ("a: &x [1]\nb: *x\n", r"line 2.*aliases such as \*x are not read"),
    "lists that multiply": ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "aliases such as"),
    "a list inside itself": ("a: &a [*a]", "aliases such as"),
    "a merge key": ("a: {<<: {b: 1}}", "merge keys"),
    "a Python object": ("!!python/object/apply:os.getcwd []", "the tag !!python/object/apply:os.getcwd is not read"),
    "binary data": ("a: !!binary aGVsbG8=", "the tag !!binary"),
    "a set": ("a: !!set {b}", "the tag !!set"),
    "an ordered map": ("a: !!omap [b: 1]", "the tag !!omap"),
    "a tag of its own": ("a: !mine b", "the tag !mine"),
    "a name twice": ("a: 1\nb: 2\na: 3", 'line 3.*the name "a" appears twice'),
    "a number as a name": ("1: a", "a name is not a text; put it in quotes"),
    "a truth value as a name": ("no: a", "a name is not a text"),
    "nothing as a name": ("~: a", "a name is not a text"),
    "a list as a name": ("? [a]\n: b", "a name is not a text"),
    "a day that does not exist": ("a: 2026-13-45", '"2026-13-45" is not a valid date'),
    "an hour that does not exist": ("a: 2026-01-01 25:00:00", "is not a valid date"),
    "text with the tag of a number": ("a: !!int five", '"five" is not a valid int'),
    "text with the tag of a truth value": ("a: !!bool maybe", "is not a valid bool"),
    "text with the tag of a date": ("a: !!timestamp today", "is not a valid date"),
    "a binary number without digits": ("a: 0b_", "is not a valid int"),
    "5,000 digits": (f"a: {'9' * 5000}", "a number has too many digits"),
    "a long hexadecimal number": (f"a: 0x{'f' * 5000}", "a number has too many digits"),
    "a number beyond 64 bits": (f"a: {10**19}", "a number has too many digits"),
    "a number in base 60": (f"a: 1{':59' * 5000}", "a number has too many digits"),
    "deep lists": ("[" * 5000, "nested too deeply"),
    "deep mappings": ("\n".join(f"{' ' * depth}a:" for depth in range(500)), "nested too deeply"),
    "many values": ("a: [" + "1," * MAX_NODES + "]", f"more than {MAX_NODES} values"),
    "half a surrogate pair": (r'a: "\ud800"', "half a UTF-16 surrogate pair"),
    "half a surrogate pair as a name": (r'"\udc00": 1', "half a UTF-16 surrogate pair"),
    "a control character": ("a: \x00", "not valid YAML"),
    "a second document": ("a: 1\n---\nb: 2", "single document"),
    "an open quote": ('a: "b', "not valid YAML"),
}


@pytest.mark.parametrize("case", REFUSED_YAML)
def test_yaml_that_is_refused_is_one_sentence_with_its_file(case):
    text, problem = REFUSED_YAML[case]
    with pytest.raises(InputError, match=problem) as error:
        parse_yaml(text, "f.yaml")
    assert str(error.value).startswith("f.yaml: ")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


def test_yaml_of_plain_values_is_read(tmp_path):
    (tmp_path / "a.yaml").write_bytes('\ufeffa: [1, 2.5, true, null, text]\nb: {"1": 2026-03-01}\nc: &unused 1\nd: .inf\n'.encode())
    assert read_yaml(tmp_path / "a.yaml") == {
        "a": [1, 2.5, True, None, "text"],
        "b": {"1": date(2026, 3, 1)},
        "c": 1,
        "d": float("inf"),
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "~"])
def test_an_empty_yaml_file_is_an_empty_mapping(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(tmp_path / "a.yaml") == {}


@pytest.mark.parametrize("text", ["[]", "0", "''", "false"])
def test_a_yaml_file_of_something_else_is_not_an_empty_mapping(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match="must be a mapping"):
        read_yaml(tmp_path / "a.yaml")


def test_a_file_for_another_library_may_have_its_tags_but_no_aliases(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text("process: !function utils.process\n")
    check_yaml(path, frozenset({"!function"}))
    with pytest.raises(InputError, match="the tag !function is not read"):
        check_yaml(path, frozenset())
    path.write_text("a: &a [x]\nb: *a\n")
    with pytest.raises(InputError, match="aliases such as"):
        check_yaml(path, frozenset({"!function"}))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_any_plain_value_survives_yaml(value):
    assert parse_yaml(yaml_text(value), "f") == value


def test_a_value_that_occurs_twice_is_written_twice():
    one = ["a"]
    assert parse_yaml(yaml_text({"b": one, "c": one}), "f") == {"b": ["a"], "c": ["a"]}


@given(values)
def test_any_plain_value_survives_json(value):
    assert parse_json(json.dumps(value), "f") == value


@pytest.mark.parametrize("kind", ["folder", "pipe", "UTF-16", "other bytes", "too large", "none", "null byte"])
def test_what_is_not_a_text_file_is_one_sentence(tmp_path, kind):
    path = tmp_path / "a.yaml"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "UTF-16":
            path.write_text("a: 1", encoding="utf-16")
        case "other bytes":
            path.write_bytes(b"a: \xff")
        case "too large":
            path.write_text(" " * (MAX_YAML_BYTES + 1))
        case "null byte":
            path = tmp_path / "a\0.yaml"
    with pytest.raises(InputError, match=r"cannot be read|is not a regular file|at most \d+ are read") as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: ")


REFUSED_JSON = {
    "cut off": ('{"a": [1', "the file is not valid JSON"),
    "empty": ("", "the file is not valid JSON"),
    "two values": ("{} {}", "the file is not valid JSON"),
    "NaN": ('{"a": {"b": [NaN]}}', 'field "b" is NaN'),
    "Infinity": ('{"a": -Infinity}', 'field "a" is an infinite number'),
    "an overflow": ('{"a": 1e999}', 'field "a" is an infinite number'),
    "an overflow without an exponent": ('{"a": 1' + "0" * 400 + ".0}", 'field "a" is an infinite number'),
    "an overflow alone": ("1e999", "the file is an infinite number"),
    "half a surrogate pair": (r'{"a": "\ud800"}', 'field "a" holds half a UTF-16 surrogate pair'),
    "half a surrogate pair as a name": (r'{"a": {"\uDFFF": 1}}', "half a UTF-16 surrogate pair"),
    "a name twice": ('{"a": {"b": 1, "c": 2, "b": 3}}', 'field "b" appears twice'),
    "deeper than Python reads": ("[" * 100_000, "nested too deeply"),
    "deeper than the limit": ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested too deeply"),
    "5,000 digits": ('{"a": ' + "9" * 5000 + "}", "a number with too many digits"),
    "a number beyond 64 bits": (f'{{"a": -{10**19}}}', "a number with too many digits"),
}


@pytest.mark.parametrize("case", REFUSED_JSON)
def test_json_that_is_refused_is_one_sentence_with_its_file(tmp_path, case):
    text, problem = REFUSED_JSON[case]
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=problem) as error:
        read_json(tmp_path / "a.json")
    assert str(error.value).startswith(f"{tmp_path / 'a.json'}: ")
    assert str(error.value).isprintable()


def test_json_at_the_limits_is_read():
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deep, "f")) == deep
    assert parse_json("[-999999999999999999, 1e308]", "f") == [-(10**18 - 1), 1e308]
    assert parse_json(r'"\ud83d\ude00 NaN 1e999"', "f") == "\U0001f600 NaN 1e999"


class Point(BaseModel):
    """A schema."""

    model_config = ConfigDict(extra="forbid")

    x: int
    names: dict[str, float] = {}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"x": "a"}, "x"),
        ({}, "x"),
        ({"x": 1, "y": 2}, "y"),
        ({"x": 1, "names": {"n": "m"}}, r"names\.n"),
        ([], "all of it"),
        (5, "all of it"),
    ],
)
def test_a_value_that_does_not_fit_its_schema_is_named_with_its_field(value, field):
    with pytest.raises(InputError, match=f"^f: {field}: "):
        checked(value, Point, "f")


def test_json_with_a_schema_is_an_instance_of_it(tmp_path):
    (tmp_path / "a.json").write_text('{"x": 1, "names": {"n": 0.5}}')
    assert read_json(tmp_path / "a.json", Point) == Point(x=1, names={"n": 0.5})
    assert read_json(tmp_path / "a.json", dict[str, object]) == {"x": 1, "names": {"n": 0.5}}
