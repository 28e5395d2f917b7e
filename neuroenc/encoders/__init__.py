"""From features to responses: ridge, banded ridge, readouts on tokens, attention routing, stacking."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuroenc.encoders.attention import AttentionRouting
    from neuroenc.encoders.banded import BandedRidgeCV
    from neuroenc.encoders.factorised import FactorisedCV
    from neuroenc.encoders.gaussian import GaussianFieldCV
    from neuroenc.encoders.pls import PLS
    from neuroenc.encoders.ridge import RidgeCV
    from neuroenc.encoders.semantic_transformer import SemanticTransformer
    from neuroenc.encoders.stack import stack_weights
    from neuroenc.encoders.store import load_model, save_model

_HOMES = {
    "AttentionRouting": "attention", "BandedRidgeCV": "banded", "FactorisedCV": "factorised",
    "GaussianFieldCV": "gaussian", "PLS": "pls", "RidgeCV": "ridge",
    "SemanticTransformer": "semantic_transformer", "load_model": "store", "save_model": "store",
    "stack_weights": "stack",
}  # fmt: skip

__all__ = [
    "PLS",
    "AttentionRouting",
    "BandedRidgeCV",
    "FactorisedCV",
    "GaussianFieldCV",
    "RidgeCV",
    "SemanticTransformer",
    "load_model",
    "save_model",
    "stack_weights",
]


def __getattr__(name: str) -> Any:
    """Import an encoder where it is first used, so that the package itself stays quick."""
    if name in _HOMES:
        return getattr(import_module(f"neuroenc.encoders.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'neuroenc.encoders' has no attribute {name!r}")
