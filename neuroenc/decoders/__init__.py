"""From a response back to the picture; `from neuroenc.decoders import RidgeDecoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroenc.lazy import face

if TYPE_CHECKING:
    from neuroenc.decoders.classify import classify
    from neuroenc.decoders.decode import decode
    from neuroenc.decoders.index import Index
    from neuroenc.decoders.joint import JointDecoder
    from neuroenc.decoders.network import BrainNetwork
    from neuroenc.decoders.prior import DiffusionPrior
    from neuroenc.decoders.retrieve import retrieval
    from neuroenc.decoders.ridge import RidgeDecoder

HOMES = {
    "BrainNetwork": "network",
    "DiffusionPrior": "prior",
    "Index": "index",
    "JointDecoder": "joint",
    "RidgeDecoder": "ridge",
    "classify": "classify",
    "decode": "decode",
    "retrieval": "retrieve",
}

__all__ = [
    "BrainNetwork",
    "DiffusionPrior",
    "Index",
    "JointDecoder",
    "RidgeDecoder",
    "classify",
    "decode",
    "retrieval",
]

face(__name__, HOMES)
