"""Records: what the reader accepts, overlap, hashes and the summary."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from expunge.data.overlap import check_overlap
from expunge.data.records import Record, Turn, data_hash, read_records, summary, write_records
from expunge.errors import InputError

TOFU = Path(__file__).parents[3] / "shared" / "data" / "tofu"
FULL = {
    "id": "a1",
    "prompt": "Who is Ada?",
    "answer": "A painter.",
    "paraphrased_prompt": "What does Ada do?",
    "paraphrased_answer": "Ada paints.",
    "wrong_answers": ["A baker.", "A nurse."],
    "alternatives": ["I do not know."],
    "entity": "Ada",
}
FULL_RECORD = Record(
    id="a1",
    turns=(Turn("user", "Who is Ada?"),),
    answer="A painter.",
    paraphrased_prompt="What does Ada do?",
    paraphrased_answer="Ada paints.",
    wrong_answers=("A baker.", "A nurse."),
    alternatives=("I do not know.",),
    entity="Ada",
    line=1,
)


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(question: str, answer: str = "Yes.", line: int | None = None, system: str | None = None) -> Record:
    turns = (Turn("user", question),) if system is None else (Turn("system", system), Turn("user", question))
    return Record(id=f"row-{line}", turns=turns, answer=answer, line=line)


def test_every_field_is_read(tmp_path):
    assert read_records(write(tmp_path / "a.jsonl", FULL)) == [FULL_RECORD]


def test_the_names_of_tofu_are_read_as_ours(tmp_path):
    theirs = {"prompt": "question", "paraphrased_prompt": "paraphrased_question", "wrong_answers": "perturbed_answer"}
    row = {theirs.get(field, field): value for field, value in FULL.items()}
    assert read_records(write(tmp_path / "a.jsonl", row)) == [FULL_RECORD]


def test_messages_are_turns_and_an_answer(tmp_path):
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Who is Ada?"), ("assistant", "A painter.")]
    row = {"messages": [{"role": role, "content": content, "name": None} for role, content in turns]}
    turns = (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello."), Turn("user", "Who is Ada?"))
    assert read_records(write(tmp_path / "a.jsonl", row)) == [Record("row-1", turns, "A painter.", line=1)]


def test_a_text_has_no_turns(tmp_path):
    assert read_records(write(tmp_path / "a.jsonl", {"text": "Ada paints."})) == [Record("row-1", (), "Ada paints.", line=1)]


def test_questions_and_texts_are_written_as_they_are_read(tmp_path):
    records = [replace(FULL_RECORD, line=1), Record("t", (), "Ada was a painter.", line=2)]
    write_records(tmp_path / "r.jsonl", records)
    assert read_records(tmp_path / "r.jsonl") == records


def test_a_number_is_an_id_and_a_single_wrong_answer_a_list_of_one(tmp_path):
    row = {"id": 7, "prompt": "p", "answer": "a", "wrong_answers": "b"}
    (record,) = read_records(write(tmp_path / "a.jsonl", row))
    assert (record.id, record.wrong_answers) == ("7", ("b",))


def test_an_optional_field_that_is_null_or_an_empty_list_is_absent(tmp_path):
    row = {"prompt": "p", "answer": "a", "id": None, "entity": None, "wrong_answers": None, "alternatives": []}
    assert read_records(write(tmp_path / "a.jsonl", row)) == [ask("p", "a", line=1)]


def test_bom_blank_lines_extra_fields_crlf_and_a_missing_last_newline_are_fine(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf\r\n{"prompt": "p", "answer": "a", "score": 1.5}\r\n \n\n{"prompt": "q", "answer": "a"}')
    assert read_records(str(path)) == [ask("p", "a", line=2), ask("q", "a", line=5)]


def test_a_map_renames_columns_and_chooses_the_shape(tmp_path):
    path = write(tmp_path / "a.jsonl", {"instruction": "p", "output": "a", "text": "p a", "prompt": "template"})
    assert read_records(path, {"prompt": "instruction", "answer": "output"}) == [ask("p", "a", line=1)]
    assert read_records(path, {"text": "text"}) == [Record("row-1", (), "p a", line=1)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.csv"])
def test_an_id_column_that_is_not_unique_can_be_ignored(tmp_path, name):
    path, rows = tmp_path / name, [{"id": "x", "prompt": "p", "answer": "a"}, {"id": "x", "prompt": "q", "answer": "a"}]
    if name.endswith("jsonl"):
        write(path, *rows)
    elif name.endswith("csv"):
        path.write_text("id,prompt,answer\nx,p,a\nx,q,a\n")
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(InputError, match='id "x" is taken by line'):
        read_records(path)
    first, second = read_records(path, {"id": ""})
    assert (first.id, second.id) == (f"row-{first.line}", f"row-{second.line}")
    assert (first.prompt, second.prompt) == ("p", "q")


def test_any_optional_field_can_be_ignored(tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "p", "answer": "a", "entity": 7, "perturbed_answer": ["b"]})
    assert read_records(path, {"entity": "", "wrong_answers": ""}) == [ask("p", "a", line=1)]


def test_csv_reads_back_with_lists_and_lines_where_records_start(tmp_path):
    row = {**FULL, "wrong_answers": json.dumps(FULL["wrong_answers"]), "alternatives": "I do not know.", "note": "nan"}
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow({**row, "answer": "A painter,\nof boats."})
        file.write("\r\n")
        writer.writerow({"prompt": "q", "answer": "[sic] a"})
    first, second = read_records(tmp_path / "a.csv")
    # Line 1 is the header, the first record's answer spans lines 2 and 3, line 4 is blank.
    assert (first.line, first.answer, first.wrong_answers) == (2, "A painter,\nof boats.", ("A baker.", "A nurse."))
    assert first.alternatives == ("I do not know.",)
    assert second == ask("q", "[sic] a", line=5)


def test_parquet_reads_back(tmp_path):
    empty = {**dict.fromkeys(FULL), "prompt": "q", "answer": "a"}
    parquet.write_table(pyarrow.Table.from_pylist([FULL, empty]), tmp_path / "a.parquet")
    assert read_records(tmp_path / "a.parquet") == [FULL_RECORD, ask("q", "a", line=2)]


def test_messages_read_back_from_parquet(tmp_path):
    row = {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    assert read_records(tmp_path / "a.parquet") == [ask("p", "a", line=1)]


def test_a_dataset_folder_is_read_by_split(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "people"
    folder.mkdir()
    write(folder / "train.jsonl", FULL)
    write(folder / "test.jsonl", {"prompt": "q", "answer": "a"})
    assert read_records(str(folder)) == [FULL_RECORD]
    assert read_records(folder, split="test") == [ask("q", "a", line=1)]


def test_the_tofu_files_are_read_whole():
    if not TOFU.is_dir():
        pytest.skip("the TOFU files are not in ../shared/data/tofu")
    records = read_records(TOFU / "forget05_perturbed.jsonl")
    assert summary(records) == {"rows": 200, "paraphrases": 200, "wrong_answers": 200, "shape": "prompt"}
    assert records[-1].line == 200
    assert len(read_records(TOFU / "full.jsonl")) == 4000


def test_an_overlap_names_both_lines():
    forget = [ask("x", line=2), ask("Who is Ada?", "A painter.", line=3)]
    retain = [ask("y", line=16), ask("who  is ADA? ", "a painter.", line=17)]
    with pytest.raises(InputError, match=r"^retain\.jsonl:17: the same record as forget\.jsonl:3; .*--allow-overlap"):
        check_overlap(forget, retain, "forget.jsonl", "retain.jsonl", allow=False)


def test_the_same_question_overlaps_whatever_its_answer_and_system_message():
    forget = [ask("Who is Ada?", "A painter.", line=3)]
    retain = [ask("Who is Ada?", "A baker.", line=1, system="Be brief.")]
    with pytest.raises(InputError, match=r"^r:1: the same question as f:3; "):
        check_overlap(forget, retain, "f", "r", allow=False)


def test_texts_overlap_by_their_text_only():
    forget = [Record("a", (), "Ada paints.")]
    assert check_overlap(forget, [ask("Ada paints."), Record("b", (), "Bo bakes.")], "f", "r", allow=False) == 0
    with pytest.raises(InputError, match=r'^r, record "b": the same record as f, record "a"; '):
        check_overlap(forget, [Record("b", (), "ada\npaints.")], "f", "r", allow=False)


def test_the_error_about_several_overlaps_counts_them():
    with pytest.raises(InputError, match=r"^r:1: the same record as f:3; remove the 2 retain records that are in both, or allow them with"):
        check_overlap([ask("p", line=3)], [ask("p", line=1), ask("P?", line=2)], "f", "r", allow=False)


def test_allowed_overlaps_are_counted():
    assert check_overlap([ask("p"), ask("q")], [ask("p"), ask("p"), ask("z")], "f", "r", allow=True) == 2


def test_the_hash_ignores_lines_and_the_ids_made_of_them():
    assert data_hash([ask("p", line=1)]) == data_hash([ask("p", line=9)])
    assert data_hash([ask("p", line=1)]) != data_hash([ask("p", "No.", line=1)])
    assert data_hash([Record("a", (), "t")]) != data_hash([Record("b", (), "t")])
    assert data_hash([ask("p"), ask("q")]) != data_hash([ask("q"), ask("p")])


def test_the_summary_names_the_shape():
    assert summary([ask("p"), Record("t", (), "t")]) == {"rows": 2, "paraphrases": 0, "wrong_answers": 0, "shape": "mixed"}
    assert summary([ask("p", system="s")])["shape"] == "messages"
    assert summary([Record("t", (), "t")])["shape"] == "text"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
SAID = st.builds(
    lambda system, earlier, question: (*system, *earlier, Turn("user", question)),
    st.just(()) | WORDS.map(lambda content: (Turn("system", content),)),
    st.just(()) | st.tuples(st.builds(Turn, st.just("user"), WORDS), st.builds(Turn, st.just("assistant"), WORDS)),
    WORDS,
)
RECORDS = st.lists(
    st.builds(
        Record,
        id=WORDS,
        turns=st.just(()) | WORDS.map(lambda content: (Turn("user", content),)) | SAID,
        answer=WORDS,
        paraphrased_prompt=st.none() | WORDS,
        paraphrased_answer=st.none() | WORDS,
        wrong_answers=st.lists(WORDS, max_size=2).map(tuple),
        alternatives=st.lists(WORDS, max_size=2).map(tuple),
        entity=st.none() | WORDS,
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda record: record.id,
)
OPTIONAL = ("id", "paraphrased_prompt", "paraphrased_answer", "wrong_answers", "alternatives", "entity")


def as_row(record: Record) -> dict:
    row = {field: getattr(record, field) for field in OPTIONAL}
    if not record.turns:
        return {**row, "text": record.answer}
    if len(record.turns) == 1:
        return {**row, "prompt": record.prompt, "answer": record.answer}
    turns = [*record.turns, Turn("assistant", record.answer)]
    return {**row, "messages": [{"role": turn.role, "content": turn.content} for turn in turns]}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(records=RECORDS, ascii_only=st.booleans())
def test_any_records_written_as_jsonl_read_back_equal(tmp_path, records, ascii_only):
    lines = [json.dumps(as_row(record), ensure_ascii=ascii_only) for record in records]
    (tmp_path / "a.jsonl").write_bytes("\n".join(lines).encode())
    read = read_records(tmp_path / "a.jsonl")
    assert [record.line for record in read] == list(range(1, len(records) + 1))
    assert [as_row(record) for record in read] == [as_row(record) for record in records]
    assert data_hash(read) == data_hash(records)
