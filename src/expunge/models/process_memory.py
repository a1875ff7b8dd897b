"""Give memory back to the system: the pages of a mapped file, and what the C library holds after tensors are freed."""

import ctypes
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

_MAPS = Path("/proc/self/maps")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""
_KEEP, _LARGEST_OF_GLIBC = 2**30, 2**25
"""Bytes: no piece of memory of the size of a weight goes back to the system; the largest that glibc chooses by itself."""


def drop_mapped_pages(weight: Tensor) -> None:
    """Take the pages of a weight that is mapped from a file out of memory; they are read again when they are used.

    safetensors maps a whole file, so its pages stay in memory as long as one of its tensors is in use. Elsewhere than on Linux this does
    nothing.

    Args:
        weight: equal to what the file holds: a change that was only made in memory would be lost.
    """
    if not sys.platform.startswith("linux") or weight.device.type != "cpu":
        return
    address = weight.data_ptr()
    # Other tensors may begin or end in the first and the last page.
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (address + weight.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if size > 0 and any(start <= first and first + size <= end for start, end in _mapped_files()):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), ctypes.c_int(mmap.MADV_DONTNEED))


def return_free_memory() -> None:
    """Return the free memory of the C library to the system.

    After hundreds of generated answers it can hold hundreds of megabytes in pieces. Only glibc has a function for this.
    """
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@contextmanager
def keep_free_memory() -> Iterator[None]:
    """Let the C library keep freed memory in this context, where each step allocates the gradients of many weights anew.

    To get their pages from the system again takes a part of every step's time.
    """
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(_M_TRIM_THRESHOLD, _KEEP)
    libc.mallopt(_M_MMAP_THRESHOLD, _KEEP)
    try:
        yield
    finally:
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_OF_GLIBC)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_OF_GLIBC)
        return_free_memory()


def _mapped_files() -> list[tuple[int, int]]:
    """Return the address ranges that are mapped from files."""
    lines = [line.split(maxsplit=5) for line in _MAPS.read_text().splitlines()]
    ranges = [words[0].split("-") for words in lines if words[-1].startswith("/")]
    return [(int(start, 16), int(end, 16)) for start, end in ranges]
