"""Links, pipes, sockets and devices: never written through, never waited for, refused with a sentence."""

import os
import socket

import pytest

from expunge.errors import ExpungeError, InputError
from expunge.files import (
    PRIVATE,
    append_text,
    atomic_folder,
    lock_file,
    make_folder,
    open_regular,
    refuse_links,
    remove_file,
    remove_folder,
    write_parquet,
    write_text,
)


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("the user's")
    return folder


def link_to_file(path, outside):
    path.symlink_to(outside / "file")


def dangling_link(path, outside):
    path.symlink_to(outside / "nothing")


def link_to_folder(path, outside):
    path.symlink_to(outside)


def pipe(path, outside):
    os.mkfifo(path)


def socket_file(path, outside):
    with socket.socket(socket.AF_UNIX) as server:
        # The name of a socket may have about 100 characters.
        before = os.getcwd()
        os.chdir(path.parent)
        server.bind(path.name)
        os.chdir(before)


KINDS = (link_to_file, dangling_link, link_to_folder, pipe, socket_file)


def fill(folder):
    with atomic_folder(folder) as fresh:
        (fresh / "a").touch()


WRITES = {
    "write": lambda path: write_text(path, "new"),
    "parquet": lambda path: write_parquet(path, [{"a": 1}]),
    "append": lambda path: append_text(path, "new"),
    "folder": fill,
    "make_folder": make_folder,
    "remove_folder": remove_folder,
    "read": lambda path: open_regular(path).close(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_nothing_is_written_read_or_deleted_through_it(tmp_path, outside, kind, write):
    path = tmp_path / "run" / "name"
    path.parent.mkdir()
    kind(path, outside)
    with pytest.raises(InputError, match=str(path)):
        write(path)
    assert {inner.name: inner.read_text() for inner in outside.iterdir()} == {"file": "the user's"}
    assert os.path.lexists(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["name", "deep/inside/name"])
def test_a_run_folder_with_one_is_refused(tmp_path, outside, kind, place):
    path = tmp_path / "run" / place
    path.parent.mkdir(parents=True)
    refuse_links(tmp_path / "run")
    kind(path, outside)
    with pytest.raises(InputError, match=f"{path}: is a "):
        refuse_links(tmp_path / "run")


def test_a_run_folder_that_is_a_link_is_refused(tmp_path, outside):
    (tmp_path / "run").symlink_to(outside)
    with pytest.raises(InputError, match="is a symbolic link"):
        refuse_links(tmp_path / "run")


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_is_neither_written_nor_read(device):
    from pathlib import Path

    path = Path(device)
    for work in (lambda: write_text(path, "new"), lambda: append_text(path, "new"), lambda: open_regular(path, follow=True)):
        with pytest.raises(InputError, match=f"{device}: is .*a device"):
            work()
    assert path.is_char_device()


def test_a_file_of_the_system_is_not_read():
    from pathlib import Path

    with pytest.raises(InputError, match="one of the system's"):
        open_regular(Path("/proc/self/maps"))


def test_a_hard_link_to_a_file_outside_is_replaced_and_not_written_through(tmp_path, outside):
    for name, write in (("a", lambda path: write_text(path, "new")), ("b", lambda path: append_text(path, ", new"))):
        os.link(outside / "file", tmp_path / name)
        write(tmp_path / name)
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("new", "the user's, new")
    assert (outside / "file").read_text() == "the user's"


def test_a_lock_empties_no_file_and_follows_no_link(tmp_path, outside):
    os.link(outside / "file", tmp_path / "hard")
    with lock_file(tmp_path / "hard", "busy"):
        pass
    (tmp_path / "soft").symlink_to(outside / "new")
    with pytest.raises(ExpungeError, match="soft: cannot be locked"), lock_file(tmp_path / "soft", "busy"):
        pass
    assert {inner.name: inner.read_text() for inner in outside.iterdir()} == {"file": "the user's"}


def test_the_second_process_that_locks_gets_its_sentence(tmp_path):
    with (
        lock_file(tmp_path / "lock", "first"),
        pytest.raises(ExpungeError, match="the second waits") as error,
        lock_file(tmp_path / "lock", "the second waits"),
    ):
        pass
    assert error.value.exit_code == 1
    with lock_file(tmp_path / "lock", "free again"):
        pass


def test_deleting_a_link_leaves_its_target(tmp_path, outside):
    (tmp_path / "link").symlink_to(outside / "file")
    assert remove_file(tmp_path / "link")
    assert not remove_file(tmp_path / "link")
    assert (outside / "file").exists()


def test_a_folder_is_deleted_without_what_its_links_point_to(tmp_path, outside):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "link").symlink_to(outside)
    remove_folder(tmp_path / "checkpoints")
    assert (outside / "file").exists()


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with open_regular(tmp_path / "a", limit=5) as file:
        assert file.read() == b"12345"
    with pytest.raises(InputError, match="has 5 bytes; at most 4 are read"):
        open_regular(tmp_path / "a", limit=4)


def test_a_link_of_the_user_to_a_file_can_be_read(tmp_path, outside):
    (tmp_path / "link").symlink_to(outside / "file")
    with open_regular(tmp_path / "link", follow=True) as file:
        assert file.read() == b"the user's"


def test_modes_do_not_depend_on_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_text(tmp_path / "a", "secret", PRIVATE)
        write_parquet(tmp_path / "b", [{"answer": "secret"}], PRIVATE)
        append_text(tmp_path / "c", "secret", PRIVATE)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {PRIVATE}
