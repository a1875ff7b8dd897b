"""The storage layer under faults: a kill between any two steps, a full disk at any step, links and devices in the way."""

import errno
import os
import signal
import stat

import pytest

from expunge.errors import ExpungeError, InputError
from expunge.files import append_text, atomic_folder, is_leftover, remove_folder, remove_leftovers, storage_errors, write_text

CALLS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir")
"""The calls of the system through which the layer changes the disk."""


def faulty(monkeypatch, number, fault, suffix=""):
    """Make the call with a number, counted from 0 over all of `CALLS`, call `fault` instead; return the names of the calls so far."""
    made = []

    def wrap(name, call):
        def counted(*args, **kwargs):
            made.append(name)
            if len(made) - 1 == number:
                fault(name)
            return call(*args, **kwargs)

        return counted

    for name in CALLS:
        monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
    return made


def full(name):
    if name in ("open", "write", "fsync", "rename", "mkdir"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def replace_file(folder):
    write_text(folder / "a.json", "new")


def replace_folder(folder):
    with atomic_folder(folder / "edit") as fresh:
        write_text(fresh / "weights", "new")
        write_text(fresh / "manifest", "new")


def delete_folder(folder):
    remove_folder(folder / "edit")


WORK = {"file": replace_file, "folder": replace_folder, "deletion": delete_folder}


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "run"
    (folder / "edit").mkdir(parents=True)
    for name in ("a.json", "edit/weights", "edit/manifest"):
        (folder / name).write_text("old")
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def states(folder, work):
    """Return the content before and after the work."""
    before = contents(folder)
    after = {
        replace_file: {**before, "a.json": "new"},
        replace_folder: {**before, "edit/weights": "new", "edit/manifest": "new"},
        delete_folder: {"a.json": "old"},
    }[work]
    return before, after


def steps(work, tmp_path):
    """Return how many calls the work makes."""
    folder = tmp_path / "count"
    (folder / "edit").mkdir(parents=True)
    (folder / "edit" / "weights").write_text("old")
    with pytest.MonkeyPatch.context() as patch:
        made = faulty(patch, -1, full)
        work(folder)
    return len(made)


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_kill_between_any_two_steps_leaves_the_old_state_or_the_new_one(place, tmp_path, work):
    count, before_and_after, saved = steps(work, tmp_path), states(place, work), contents(place)
    assert count >= 5
    for number in range(count):
        process = os.fork()
        if process == 0:
            with pytest.MonkeyPatch.context() as patch:
                faulty(patch, number, lambda _: os.kill(os.getpid(), signal.SIGKILL))
                work(place)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
        remove_leftovers(place)
        assert contents(place) in before_and_after, number
        assert not [path for path in place.rglob("*") if is_leftover(path.name)]
        work(place)
        assert contents(place) == before_and_after[1]
        for name, text in saved.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(text)


def failure(work, place):
    """Return the error that the work ends with, if any."""
    try:
        work(place)
    except ExpungeError as error:
        return error
    return None


@pytest.mark.parametrize("work", [replace_file, replace_folder])
def test_a_full_disk_at_any_step_is_one_sentence_and_leaves_the_last_good_state(place, tmp_path, work):
    before, after = states(place, work)
    failed = 0
    for number in range(steps(work, tmp_path)):
        with pytest.MonkeyPatch.context() as patch:
            faulty(patch, number, full)
            error = failure(work, place)
        if error is not None:
            failed += 1
            assert error.exit_code == 1
            assert str(error).startswith(str(place))
            assert "no space left on device" in str(error)
            assert not is_leftover(str(error).partition(": ")[0].rpartition("/")[2])
        remove_leftovers(place)
        assert contents(place) in (before, after)
        assert not [path for path in place.rglob("*") if is_leftover(path.name)]
    assert failed >= 5


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "log"
    append_text(path, "first\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:3]) if len(data) > 3 else full("write"))
    with pytest.raises(ExpungeError, match="no space left"):
        append_text(path, "second")
    assert path.read_text() == "first\n"


def test_the_content_is_on_the_disk_before_its_name_and_the_folder_last(tmp_path, monkeypatch):
    made, fsync, rename = [], os.fsync, os.rename

    def record_fsync(handle):
        made.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", lambda *args: (made.append("rename"), rename(*args))[1])
    write_text(tmp_path / "a", "text")
    assert made == ["file", "rename", "folder"]
    made.clear()
    with atomic_folder(tmp_path / "b") as fresh:
        (fresh / "inner").mkdir()
        (fresh / "inner" / "x").touch()
    assert made == ["file", "folder", "folder", "rename", "folder"]


REASONS = {
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.ENAMETOOLONG: "file name too long",
    errno.EMFILE: "too many open files",
    errno.EIO: "input/output error",
}


@pytest.mark.parametrize(("number", "reason"), REASONS.items(), ids=REASONS.values())
def test_a_failure_of_the_system_is_one_sentence_with_exit_code_1(tmp_path, monkeypatch, number, reason):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(ExpungeError, match=reason) as error:
        write_text(tmp_path / "a", "text")
    assert error.value.exit_code == 1
    assert str(error.value).startswith(f"{tmp_path / 'a'}: cannot be written")


def test_files_of_the_user_with_similar_names_stay(tmp_path):
    names = ["X.part", "X.12.part", "a.expunge-part", "a.b.expunge-part", "a.1.expunge-parts", ".1.expunge-part"]
    for name in names:
        (tmp_path / name).write_text("the user's")
    (tmp_path / "X.12.expunge-part").write_text("left by a kill")
    with atomic_folder(tmp_path / "X") as fresh:
        (fresh / "a").touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "X"])


def test_what_a_running_process_writes_is_not_a_leftover(tmp_path):
    with atomic_folder(tmp_path / "X") as fresh:
        remove_leftovers(tmp_path)
        assert fresh.exists()
        with pytest.raises(ExpungeError, match="another expunge process is writing it"), atomic_folder(tmp_path / "X"):
            pass
    assert (tmp_path / "X").is_dir()


def test_a_folder_that_must_not_be_replaced_stays(tmp_path):
    (tmp_path / "X").mkdir()
    with pytest.raises(InputError, match="is there already"), atomic_folder(tmp_path / "X", replace=False):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "X"]


def test_a_plain_exception_of_a_library_in_rust_is_about_the_disk_if_it_has_an_error_number(tmp_path):
    with pytest.raises(ExpungeError, match=r"model: cannot be written \(no space left on device\)"), storage_errors(tmp_path / "model"):
        raise Exception("No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="os error 28"), storage_errors(tmp_path / "model"):
        raise RuntimeError("os error 28")


def test_an_error_that_names_a_file_without_its_folder_is_about_the_folder(tmp_path):
    refused = pytest.raises(ExpungeError, match=r"module: cannot be deleted \(read-only file system\)")
    with refused, storage_errors(tmp_path / "module", "deleted"):
        raise OSError(errno.EROFS, "Read-only file system", "weights.safetensors")
