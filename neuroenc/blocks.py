"""Large arrays in parts, so that what is computed of them takes little memory."""

from __future__ import annotations

BLOCK_BYTES = 32 * 2**20  # of an array held at a time
CHUNK = 1024  # neuroids that lie together in a file


def blocks(n: int, size: int) -> list[slice]:
    """Cut range(n) into slices of at most `size`."""
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def columns(n_rows: int, n_columns: int) -> list[slice]:
    """Cut the columns of a table so that a part in double precision takes `BLOCK_BYTES`, or one column."""
    return blocks(n_columns, max(1, BLOCK_BYTES // (8 * max(1, n_rows))))
