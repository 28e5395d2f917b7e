"""A run as pages that a browser opens from disk; `from neuroenc.explorer import write_explorer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroenc.lazy import face

if TYPE_CHECKING:
    from neuroenc.explorer.write import write_explorer

HOMES = {"write_explorer": "write"}

__all__ = ["write_explorer"]

face(__name__, HOMES)
