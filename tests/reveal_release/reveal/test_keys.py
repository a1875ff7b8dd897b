"""The key file of a run's hashes: made once, and refused if it is not as it was written."""

import pytest

from expunge.errors import InputError
from expunge.reveal_release.reveal.private_files import KEY, hash_key


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    key = hash_key(tmp_path)
    assert hash_key(tmp_path) == key
    assert len(key) == 32
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"92\xff\xff", b"abcd", b"zz" * 32, b"ab" * 33], ids=str)
def test_a_damaged_key_is_refused_with_its_name(content, tmp_path):
    (tmp_path / KEY).write_bytes(content)
    with pytest.raises(InputError, match="key: is not a key as expunge writes it"):
        hash_key(tmp_path)
