"""Atomic writes: the old content or the new one, and nothing left beside it."""

import re

import pyarrow.parquet as pq
import pytest

from expunge.errors import InputError
from expunge.files import PRIVATE, atomic_file, atomic_folder, read_parquet, utc_now, write_parquet, write_text


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_private_while_another_library_writes_it(tmp_path):
    with atomic_file(tmp_path / "a", PRIVATE) as fresh:
        fresh.write_bytes(b"secret")
        assert fresh.stat().st_mode & 0o777 == PRIVATE
    assert (tmp_path / "a").stat().st_mode & 0o777 == PRIVATE


def test_a_column_that_a_row_lacks_is_null_in_parquet(tmp_path):
    write_parquet(tmp_path / "a.parquet", [{"a": 1}, {"b": 2.5}])
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": 2.5}]


def interrupted(folder, name):
    """Puts a file into a folder that can be resumed and is interrupted before it is complete."""
    writing = atomic_folder(folder, resume=True)
    (writing.__enter__() / name).touch()
    writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def test_a_folder_takes_the_place_of_the_earlier_one_only_when_it_is_complete(tmp_path):
    folder = tmp_path / "edit"
    with atomic_folder(folder) as fresh:
        (fresh / "old").touch()
    interrupted(folder, "new")
    assert [path.name for path in folder.iterdir()] == ["old"]
    with atomic_folder(folder, resume=True) as fresh:
        assert [path.name for path in fresh.iterdir()] == ["new"]
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_an_interrupted_folder_is_made_afresh_unless_it_is_resumed(tmp_path):
    interrupted(tmp_path / "a", "left")
    with atomic_folder(tmp_path / "a") as fresh:
        assert not list(fresh.iterdir())


def test_an_interrupted_folder_that_cannot_be_resumed_leaves_nothing(tmp_path):
    writing = atomic_folder(tmp_path / "a")
    (writing.__enter__() / "left").touch()
    writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not list(tmp_path.iterdir())


def test_the_time_is_utc_to_the_second():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", utc_now())


def test_rows_of_a_parquet_file_are_read_back_and_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    write_parquet(path, [{"a": 1, "b": "x"}, {"a": 2}])
    assert read_parquet(path, ("a", "b")) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    with pytest.raises(InputError, match=r"rows\.parquet: has no column \"c\""):
        read_parquet(path, ("a", "c"))
    for content in (b"", path.read_bytes()[:-20], path.read_bytes()[20:], b"PAR1" * 9):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"rows\.parquet: not a Parquet file, or a damaged one"):
            read_parquet(path, ())
