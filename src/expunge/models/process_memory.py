"""Give memory back to the system: the pages of a mapped file, and what the C library holds after tensors are freed."""

import ctypes
import mmap
import sys
from pathlib import Path

from torch import Tensor

_MAPS = Path("/proc/self/maps")


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


def _mapped_files() -> list[tuple[int, int]]:
    """Return the address ranges that are mapped from files."""
    lines = [line.split(maxsplit=5) for line in _MAPS.read_text().splitlines()]
    ranges = [words[0].split("-") for words in lines if words[-1].startswith("/")]
    return [(int(start, 16), int(end, 16)) for start, end in ranges]
