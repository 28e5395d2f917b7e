"""From features to responses: ridge, banded ridge, readouts on tokens, attention routing, stacking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroenc.lazy import face

if TYPE_CHECKING:
    from neuroenc.encoders.attention import AttentionRouting
    from neuroenc.encoders.banded import BandedRidgeCV
    from neuroenc.encoders.encode import encode
    from neuroenc.encoders.export import export
    from neuroenc.encoders.exported import ExportedEncoder, load
    from neuroenc.encoders.factorised import FactorisedCV
    from neuroenc.encoders.gaussian import GaussianFieldCV
    from neuroenc.encoders.pls import PLS
    from neuroenc.encoders.probing import EfficientProbing
    from neuroenc.encoders.random_attention import RandomAttentionCV
    from neuroenc.encoders.response_core import ResponseCore
    from neuroenc.encoders.ridge import RidgeCV
    from neuroenc.encoders.semantic_transformer import SemanticTransformer
    from neuroenc.encoders.stack import stack_predictions, stack_weights
    from neuroenc.encoders.store import load_model, predict_fits, save_fits, save_model

HOMES = {
    "PLS": "pls",
    "AttentionRouting": "attention",
    "BandedRidgeCV": "banded",
    "EfficientProbing": "probing",
    "ExportedEncoder": "exported",
    "FactorisedCV": "factorised",
    "GaussianFieldCV": "gaussian",
    "RandomAttentionCV": "random_attention",
    "RidgeCV": "ridge",
    "ResponseCore": "response_core",
    "SemanticTransformer": "semantic_transformer",
    "encode": "encode",
    "export": "export",
    "load": "exported",
    "load_model": "store",
    "predict_fits": "store",
    "save_fits": "store",
    "save_model": "store",
    "stack_predictions": "stack",
    "stack_weights": "stack",
}

__all__ = [
    "PLS",
    "AttentionRouting",
    "BandedRidgeCV",
    "EfficientProbing",
    "ExportedEncoder",
    "FactorisedCV",
    "GaussianFieldCV",
    "RandomAttentionCV",
    "ResponseCore",
    "RidgeCV",
    "SemanticTransformer",
    "encode",
    "export",
    "load",
    "load_model",
    "predict_fits",
    "save_fits",
    "save_model",
    "stack_predictions",
    "stack_weights",
]

face(__name__, HOMES)
