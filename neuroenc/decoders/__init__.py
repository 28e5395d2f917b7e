"""From a response back to the picture; `from neuroenc.decoders import RidgeDecoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuroenc.decoders.index import Index
    from neuroenc.decoders.network import BrainNetwork
    from neuroenc.decoders.prior import DiffusionPrior
    from neuroenc.decoders.ridge import RidgeDecoder

__all__ = ["BrainNetwork", "DiffusionPrior", "Index", "RidgeDecoder"]
HOMES = {"Index": "index", "RidgeDecoder": "ridge", "BrainNetwork": "network", "DiffusionPrior": "prior"}


def __getattr__(name: str) -> Any:
    """Import on first use, so that retrieval needs no torch."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
