"""Memory with a file behind it, which the system may move to the disk."""

import mmap
import tempfile

from expunge.files.cache import cache_dir
from expunge.files.faults import storage_errors
from expunge.files.folders import make_folder

BLOCK = bytes(2**20)


def scratch_memory(size: int) -> mmap.mmap:
    """Return memory of so many bytes, zeros at first, in a file without a name in the user's cache: it is gone with the process.

    Raises:
        ExpungeError: the disk has no room for it.
    """
    folder = cache_dir()
    make_folder(folder)
    with storage_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
        # A file that is only made longer takes its blocks when they are first used, and a full disk would then end the process.
        for start in range(0, size, len(BLOCK)):
            file.write(BLOCK[: size - start])
        file.flush()
        return mmap.mmap(file.fileno(), size)
