"""Files packed with gzip or zstd, and files whose name does not say what they are."""

import gzip

import pyarrow
import pytest

from expunge.data import text_lines
from expunge.data.records import read_records
from expunge.errors import InputError

LINE = b'{"prompt": "p", "answer": "a"}\n'


def pack(kind: str, content: bytes) -> bytes:
    return gzip.compress(content) if kind == "gz" else pyarrow.compress(content, "zstd", asbytes=True)


def fault(path) -> str:
    with pytest.raises(InputError) as caught:
        read_records(path)
    return str(caught.value).removeprefix(f"{path}")


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("form", ["csv", "tsv", "ndjson", "json"])
def test_any_file_of_text_may_be_packed_in_several_parts(tmp_path, kind, form):
    separator = "\t" if form == "tsv" else ","
    table = separator in ",\t" and form.endswith("sv")
    parts = (f"text{separator}note\n".encode(), f"t{separator}n\n".encode()) if table else (b'{"text": "t"}\n', b'{"text": "t"}\n')
    path = tmp_path / f"a.{form}.{kind}"
    path.write_bytes(b"".join(pack(kind, part) for part in parts))
    assert [record.answer for record in read_records(path)] == ["t"] * (1 if table else 2)


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_damaged_packed_file_is_refused_in_one_sentence(tmp_path, kind):
    path = tmp_path / f"a.jsonl.{kind}"
    name = {"gz": "gzip", "zst": "zstd"}[kind]
    # Lines that differ, so that a cut is inside the packed text.
    packed = pack(kind, b"".join(b'{"text": "%d"}\n' % i for i in range(100)))
    for content in (packed[:-1], packed[: len(packed) // 2], packed[:3], LINE, packed + b"more"):
        path.write_bytes(content)
        assert fault(path) == f": the file is damaged, cut off or not packed by {name}; pack it again"


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_flipped_byte_is_refused_or_changes_nothing(tmp_path, kind):
    path, packed = tmp_path / f"a.jsonl.{kind}", pack(kind, LINE)
    refused = 0
    for i in range(len(packed)):
        path.write_bytes(packed[:i] + bytes([packed[i] ^ 0x55]) + packed[i + 1 :])
        try:
            records = read_records(path)
        except InputError:
            refused += 1
        else:
            # A header of gzip also holds a time and a system.
            assert [record.answer for record in records] == ["a"] or kind == "zst"
    assert refused > len(packed) // 3


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_an_empty_packed_file_has_no_records(tmp_path, kind):
    path = tmp_path / f"a.jsonl.{kind}"
    path.write_bytes(pack(kind, b""))
    assert fault(path) == ":1: there are no records in it"


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path, kind):
    path = tmp_path / f"a.jsonl.{kind}"
    path.write_bytes(pack(kind, b" " * 40 * 10**6))
    assert path.stat().st_size < 10**5
    assert fault(path) == ":1: the line is longer than 8388608 bytes"


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_file_that_unpacks_to_more_than_the_limit_is_refused(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(text_lines, "MAX_UNPACKED_BYTES", 10**5)
    path = tmp_path / f"a.jsonl.{kind}"
    path.write_bytes(pack(kind, LINE + b"\n" * 10**5))
    assert fault(path) == ": the file unpacks to more than 100000 bytes; unpack it, and give that file"


NAMES = {
    "gzip": ("a.jsonl", gzip.compress(LINE), 'packed by gzip; let its name end in ".gz"'),
    "zstd": ("a.csv", pyarrow.compress(LINE, "zstd", asbytes=True), 'packed by zstd; let its name end in ".zst"'),
    "an Excel workbook": ("a.csv", b"PK\x03\x04rest", "a zip archive or an Excel workbook; save it as CSV UTF-8"),
    "Parquet": ("a.json", b"PAR1rest", 'Parquet; let its name end in ".parquet"'),
    "UTF-16 with a mark": ("a.jsonl", LINE.decode().encode("utf-16"), "UTF-16; save it as UTF-8, or convert it with `iconv "),
    "UTF-16 without a mark": ("a.jsonl", LINE.decode().encode("utf-16-le"), "UTF-16; save it as UTF-8, or convert it with `iconv "),
    "UTF-16 in a packed file": ("a.jsonl.gz", gzip.compress(LINE.decode().encode("utf-16-be")), "UTF-16; save it as UTF-8, or convert it"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_kind_than_its_name_says_is_named(tmp_path, name):
    end, content, what = NAMES[name]
    (tmp_path / end).write_bytes(content)
    assert fault(tmp_path / end).startswith(f": the file is {what}")


def test_a_packed_parquet_file_is_no_form(tmp_path):
    (tmp_path / "a.parquet.gz").write_bytes(b"")
    assert fault(tmp_path / "a.parquet.gz").startswith(": files end in .jsonl, ")
