"""Large arrays in parts, so that what is computed of them takes little memory."""

from __future__ import annotations

GIVEN_BACK = 4 * 2**20  # bytes of an array from which on its memory is the system's again when it is freed
BLOCK_BYTES = 32 * 2**20  # of an array held at a time
CHUNK = 1024  # neuroids that lie together in a file


def blocks(n: int, size: int) -> list[slice]:
    """Cut range(n) into slices of at most `size`."""
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def columns(n_rows: int, n_columns: int) -> list[slice]:
    """Cut the columns of a table so that a part in double precision takes `BLOCK_BYTES`, or one column."""
    return blocks(n_columns, max(1, BLOCK_BYTES // (8 * max(1, n_rows))))


def give_back() -> None:
    """Have the memory of large arrays given back when they are freed, whichever thread frees them.

    The C library of Linux keeps freed memory below a size that it raises to 32 MiB as it goes, apart for each
    thread: what a process takes is then up to twice what it holds, and depends on its threads. Giving
    it back takes an eighth of the time of drawing pictures: it is for stages whose memory is forecast.
    """
    import ctypes

    m_mmap_threshold = -3  # of malloc.h
    if hasattr(ctypes.CDLL(None), "mallopt"):  # elsewhere memory is given back otherwise
        ctypes.CDLL(None).mallopt(m_mmap_threshold, GIVEN_BACK)
