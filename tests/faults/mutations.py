"""Hypothesis strategies that damage valid files: their structure (JSON, YAML, CSV) or their bytes."""

import copy
import json
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

DEEP = 3000
Draw = Callable[[st.SearchStrategy], Any]
NASTY: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 10**18, 10**400, -(10**25), 0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf")),
    *("", " ", "x", "\x00", "\x1b[31m", "\u202e", "null", "nan", "1e999", "../../../etc/passwd", "/dev/zero", "/dev/stdin", "/", ".", ".."),
    *("runs/other", "a" * 5000, "é" * 300, "漢字", "\U0001f600", "{prompt}", "{0.__class__}", "{{ 7 * 7 }}"),
    *("(a+)+$", "[", "-", "2026-13-45"),
    *([], {}, [[]], [None], {"": None}, {"name": None}, [1, "a", {}], list(range(300)), {str(i): i for i in range(300)}),
]
"""Values that a field does not expect."""


@st.composite
def mutated(draw: Draw, valid: bytes, form: str) -> bytes:
    """Draw a damaged version of a file.

    Args:
        valid: the intact content.
        form: `json`, `jsonl`, `yaml` or `binary`.
    """
    kinds = {"json": (document, raw_text, flipped), "jsonl": (lines, raw_text, flipped), "yaml": (document, raw_text, flipped)}
    damage = draw(st.sampled_from(kinds.get(form, (flipped, header))))
    return draw(damage(valid, form))


@st.composite
def document(draw: Draw, valid: bytes, form: str) -> bytes:
    """Draw a document in which fields are missing, renamed, doubled or of another type."""
    value = yaml.safe_load(valid) if form == "yaml" else json.loads(valid)
    for _ in range(draw(st.integers(1, 3))):
        value = draw(changed(value))
    if form == "yaml":
        text = yaml.safe_dump(value, allow_unicode=True)
    else:
        text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    return draw(encoded(text))


@st.composite
def lines(draw: Draw, valid: bytes, form: str) -> bytes:
    """Draw lines of JSON of which one is damaged, dropped, doubled or moved."""
    rows = valid.splitlines() or [b"{}"]
    index = draw(st.integers(0, len(rows) - 1))
    what = draw(st.sampled_from(("change", "drop", "double", "empty")))
    new = {"drop": [], "double": [rows[index]] * 2, "empty": [b""]}.get(what)
    if new is None:
        new = [draw(document(rows[index], "json")).replace(b"\n", b" ")]
    return b"\n".join([*rows[:index], *new, *rows[index + 1 :]]) + draw(st.sampled_from([b"\n", b"", b"\r\n", b"\n\n\n"]))


@st.composite
def changed(draw: Draw, value: Any) -> Any:
    """Draw a value in which one node is dropped, renamed, doubled, or replaced by a nasty value or by another node."""
    paths = list(_paths(value))
    path = draw(st.sampled_from(paths))
    if not path:
        return draw(st.sampled_from(NASTY))
    value = copy.deepcopy(value)
    parent = _at(value, path[:-1])
    what = draw(st.sampled_from(("replace", "replace", "drop", "rename", "other", "wrap")))
    node, key = parent[path[-1]], path[-1]
    if what == "drop":
        del parent[key]
    elif what == "rename" and isinstance(parent, dict):
        parent[draw(st.sampled_from(["", "x", f"{key} ", str(key).upper(), "__class__", "a.b"]))] = parent.pop(key)
    elif what == "other":
        parent[key] = copy.deepcopy(_at(value, draw(st.sampled_from(paths))))
    elif what == "wrap":
        parent[key] = draw(st.sampled_from([[node], {"name": node}, [node, node], str(node)]))
    else:
        parent[key] = draw(st.sampled_from(NASTY) | st.integers() | st.floats() | st.text(max_size=20))
    return value


@st.composite
def raw_text(draw: Draw, valid: bytes, form: str) -> bytes:
    """Draw a text that only a careless parser survives: deep, long, doubled, cut, or in another encoding."""
    text = valid.decode("utf-8", errors="replace")
    at = draw(st.integers(0, len(text)))
    deep = draw(st.sampled_from(["[", '{"a":', "- ", "{a: ", "&a [*a, ", "? "])) * DEEP
    number = "9" * draw(st.sampled_from([20, 400, 5000]))
    bomb = "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9 if i else ['1'] * 9)}]" for i in range(12))
    odd = ["\x00", "\ufeff", "\ud800", "!!python/object:os.system ", "\t", "<<: *x", "%"]
    inserted = draw(st.sampled_from([deep, number, f"-{number}e{number}", bomb, *odd]))
    whole = draw(st.booleans())
    return draw(encoded(inserted if whole else text[:at] + inserted + text[at:]))


@st.composite
def encoded(draw: Draw, text: str) -> bytes:
    """Draw the bytes of a text, mostly in UTF-8."""
    codec = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32", "latin-1"]))
    errors = "surrogatepass" if codec.startswith("utf") else "replace"
    return text.encode(codec, errors=errors)


@st.composite
def flipped(draw: Draw, valid: bytes, form: str) -> bytes:
    """Draw bytes with flipped bits, or a range that is cut, doubled, zeroed or replaced; or any bytes at all."""
    content = bytearray(valid)
    start = draw(st.integers(0, max(0, len(content) - 1)))
    stop = min(len(content), start + draw(st.sampled_from([1, 2, 8, 64, 4096])))
    what = draw(st.sampled_from(("flip", "flip", "cut", "remove", "double", "zero", "ones", "random", "empty")))
    if what == "flip":
        for index in draw(st.lists(st.integers(0, max(0, len(content) - 1)), min_size=1, max_size=8)):
            content[index : index + 1] = bytes(byte ^ (1 << draw(st.integers(0, 7))) for byte in content[index : index + 1])
        return bytes(content)
    new = {
        "cut": content[:start],
        "remove": content[:start] + content[stop:],
        "double": content[:stop] + content[start:],
        "zero": content[:start] + bytes(stop - start) + content[stop:],
        "ones": content[:start] + b"\xff" * (stop - start) + content[stop:],
        "empty": b"",
    }
    return bytes(new[what]) if what in new else draw(st.binary(max_size=200))


@st.composite
def header(draw: Draw, valid: bytes, form: str) -> bytes:
    """Draw a file of tensors whose header, or the length of it, is wrong."""
    length = int.from_bytes(valid[:8], "little")
    try:
        names = json.loads(valid[8 : 8 + length])
    except ValueError:
        return draw(flipped(valid, form))
    if draw(st.booleans()):
        wrong = draw(st.sampled_from([0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1]))
        return wrong.to_bytes(8, "little") + valid[8:]
    new = json.dumps(draw(changed(names))).encode()
    return len(new).to_bytes(8, "little") + new + valid[8 + length :]


def _paths(value: Any, before: tuple = ()) -> Any:
    yield before
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*before, key))


def _at(value: Any, path: tuple) -> Any:
    for key in path:
        value = value[key]
    return value
