"""The storage layer: everything that expunge writes, deletes, locks or opens for hashing goes through this package.

A file or folder gets a temporary name beside its final one, is flushed to the disk, and is renamed last: a reader sees the old content or
the new one, never a part of it. Nothing is written through a symbolic link, and a failure of the disk is one sentence.
"""

import time

from expunge.files.cache import cache_dir, read_cached, write_cached
from expunge.files.faults import storage_errors
from expunge.files.folders import atomic_folder, make_folder, remove_file, remove_folder, sync_folder
from expunge.files.leftovers import find_leftovers, is_leftover, remove_leftovers
from expunge.files.locks import lock_file
from expunge.files.regular import MAX_DOCUMENT_BYTES, file_sha256, folder_sha256, open_regular, refuse_links
from expunge.files.scratch import scratch_memory
from expunge.files.write import PRIVATE, PRIVATE_FOLDER, append_text, atomic_file, read_parquet, write_bytes, write_parquet, write_text

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "PRIVATE",
    "PRIVATE_FOLDER",
    "append_text",
    "atomic_file",
    "atomic_folder",
    "cache_dir",
    "file_sha256",
    "find_leftovers",
    "folder_sha256",
    "is_leftover",
    "lock_file",
    "make_folder",
    "open_regular",
    "read_cached",
    "read_parquet",
    "refuse_links",
    "remove_file",
    "remove_folder",
    "remove_leftovers",
    "scratch_memory",
    "storage_errors",
    "sync_folder",
    "utc_now",
    "write_bytes",
    "write_cached",
    "write_parquet",
    "write_text",
]


def utc_now() -> str:
    """Return the current time in UTC as ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
