"""Turn a failure of the disk or of the file system into one sentence that names the path and says what to do."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from expunge.errors import ExpungeError
from expunge.files.names import final_path

ADVICE = {
    errno.ENOSPC: "free some space, then repeat the command",
    errno.EDQUOT: "free some space, then repeat the command",
    errno.EROFS: "choose a folder that you may write to",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit with `ulimit -n`, then repeat the command",
    errno.ENFILE: "close other programs, then repeat the command",
}
"""What the user can do, by error number."""
OTHER_ADVICE = "repeat the command once this is repaired"
OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust, safetensors and tokenizers, name the error number."""


@contextmanager
def storage_errors(path: Path, action: str = "written") -> Iterator[None]:
    """Raise `ExpungeError` with one sentence where the body fails to write, rename, lock or delete.

    Args:
        path: the file or folder that is written; an error that names another one is about that one.
        action: what cannot be done with it, as a participle.
    """
    try:
        yield
    # The library `tokenizers` raises a plain Exception; what has no error number is raised again.
    except Exception as error:
        number = _number(error)
        # An error without a number, or of the network, is not about the disk.
        if number is None or isinstance(error, ConnectionError | TimeoutError):
            raise
        named = os.fsdecode(getattr(error, "filename", None) or path)
        # Where a folder is deleted, the error has the name of a file without its folder.
        named = Path(named) if os.path.dirname(named) else path
        raise ExpungeError(sentence(final_path(named), number, action)) from error


def sentence(path: Path, number: int, action: str = "written") -> str:
    """Return the sentence for an error number."""
    return f"{path}: cannot be {action} ({os.strerror(number).lower()}); {ADVICE.get(number, OTHER_ADVICE)}"


def _number(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    from_rust = isinstance(error, SafetensorError) or type(error) is Exception
    match = OS_ERROR.search(str(error)) if from_rust else None
    return int(match[1]) if match else None
