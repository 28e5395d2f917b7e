"""What networks and classical models make of the stimuli; `from neuroenc.features import describe`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroenc.lazy import face

if TYPE_CHECKING:
    from neuroenc.features.extract import describe, extract
    from neuroenc.features.given import from_arrays
    from neuroenc.features.networks import embed_texts

HOMES = {
    "describe": "extract",
    "embed_texts": "networks",
    "extract": "extract",
    "from_arrays": "given",
}

__all__ = [
    "describe",
    "embed_texts",
    "extract",
    "from_arrays",
]

face(__name__, HOMES)
