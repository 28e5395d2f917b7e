"""neuroenc: encoding models and decoders of brains looking at pictures and films."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroenc.lazy import face

if TYPE_CHECKING:
    from neuroenc.encoders.exported import load

HOMES = {"load": "encoders.exported"}

__all__ = ["__version__", "load"]
__version__ = "0.2.0"

face(__name__, HOMES)
