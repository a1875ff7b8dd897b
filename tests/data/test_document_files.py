"""Documents: which sources are read as documents, in which order, and what is visible in a page."""

import gzip
import logging
from pathlib import Path

import pytest

from expunge.data.document_files import is_documents
from expunge.data.html_text import visible_text
from expunge.data.records import data_hash, read_records
from expunge.errors import InputError

PAGE = """<!doctype html><html><head><title>The mill</title><style>p { color: red }</style>
<script>var secret = "no";</script></head>
<body><h1>The   mill</h1><p>It <b>closed</b> in&nbsp;1931.<br>Nobody
waved.</p><div hidden>Draft <div>inner</div> text</div><p style="color:red; display: none">unclosed
<ul><li>one<li>two</ul><template><p>later</p></template><pre>a
  b</pre></body></html>"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_a_file_is_one_record_with_its_name(tmp_path):
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbfOnce,\r\nlong ago.\n\n")
    (record,) = read_records(tmp_path / "book.txt")
    assert (record.id, record.document, record.turns, record.answer, record.line) == ("book.txt", "book.txt", (), "Once,\nlong ago.", None)


def test_a_folder_is_read_in_the_order_of_its_names_without_hidden_files(tmp_path, caplog):
    write(tmp_path, b_txt="B", a__z_md="# Z", a__b_html="<p>AB</p>", _hidden_txt="no", cover_png="-")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("no")
    with caplog.at_level(logging.WARNING):
        assert [(record.id, record.answer) for record in read_records(tmp_path)] == [("a/b.html", "AB"), ("a/z.md", "# Z"), ("b.txt", "B")]
    assert "1 files are not read, because their names do not end in .txt, .md, .html, .htm: cover.png" in caplog.text


def test_packed_documents_are_read(tmp_path):
    (tmp_path / "book.txt.gz").write_bytes(gzip.compress(b"Once."))
    assert [record.answer for record in read_records(tmp_path / "book.txt.gz")] == ["Once."]


def test_a_folder_with_a_file_of_a_data_set_stays_a_data_set(tmp_path):
    assert is_documents(write(tmp_path / "docs", read_md="Hi"))
    assert not is_documents(write(tmp_path / "set", README_md="Card", data__train_jsonl='{"text": "a"}'))
    assert not is_documents(tmp_path / "none")
    assert not is_documents("owner/name")


def test_a_map_of_columns_does_not_concern_documents(tmp_path):
    (tmp_path / "a.txt").write_text("Once.")
    assert read_records(tmp_path / "a.txt", {"prompt": "query", "answer": "reply"})[0].answer == "Once."


def test_the_visible_text_of_a_page():
    # The end tag of a paragraph may be left out, so that nobody knows where a hidden one ends: its text is read.
    text = "The mill\n\nThe mill\n\nIt closed in\u00a01931.\nNobody waved.\n\nunclosed\n\none\ntwo\n\na\n  b"
    assert visible_text(PAGE) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a < b & c", "a < b & c"),
        ("<div hidden>a<p>b", "a\n\nb"),
        ("<script>x", ""),
        ("<p>a</b>b", "ab"),
        ("a <![foo[x]]> b", "a <![foo[x]]> b"),
    ],
)
def test_a_wrong_page_loses_no_text(html, text):
    assert visible_text(html) == text


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.txt", b" \n", "a.txt: there is no text in it; remove the file"),
        ("a.html", b"<script>x</script>", "a.html: there is no text in it; remove the file"),
        ("a.md", b"x" * (8 * 2**20 + 1), "a.md: the document is longer than 8388608 bytes; split it into several files"),
        ("a.txt", b"one\nna\xefve", "a.txt:2: bad UTF-8 in the line; save the file as UTF-8"),
        ("a.txt", b"\xff\xfeo\x00", "a.txt: the file is UTF-16; save it as UTF-8"),
    ],
)
def test_a_faulty_document_is_named(tmp_path, name, content, fault):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_records(tmp_path)
    assert str(error.value).startswith(str(tmp_path / fault))


def test_hashes_of_other_records_do_not_depend_on_documents(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "q", "prompt": "Who?", "answer": "Ada."}\n{"text": "Ada paints."}\n')
    # Computed before records had the fields prompt_chars and document.
    assert data_hash(read_records(tmp_path / "a.jsonl")) == "9bbd41bf3cebdf70c545c541eaf0fe021099ffb5423676863217db8d80335512"
