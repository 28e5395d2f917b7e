"""Forecasts of the memory of stages, from the shapes of what they read: what jobs ask a cluster for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from neuroenc.arrays.contracts import REGION_PREFIX
from neuroenc.blocks import BLOCK_BYTES, CHUNK
from neuroenc.errors import InputError

START = 170  # MB of Python with the libraries of a stage without torch
START_TORCH = 700
READ = 200  # MB of the blocks that a fit reads and computes of at a time
TRAINED = ("attention", "semantic_transformer")
TOKENS = ("factorised", "gaussian", *TRAINED)


def megabytes(stage: str, inputs: Sequence[str | Path], options: Mapping[str, Any]) -> float:
    """Forecast the memory a stage takes at its peak, MB.

    Parameters
    ----------
    stage : str
        'encode fit', 'evaluate score', …; more may follow.
    inputs : sequence of path
        Responses, features, predictions, as the stage is given them.
    options : mapping
        Of its encoder or decoder.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    n_layers = 1
    for path in inputs:
        if Path(path).suffix == ".nc":
            found, layers = look(path)
            shapes |= found
            n_layers = max(n_layers, len(layers))
    if stage.startswith("encode fit"):
        return encode_fit(shapes, n_layers, options)
    if stage.startswith("evaluate score"):
        return score(shapes)
    if stage.startswith("decode match"):
        return match(shapes)
    if stage.startswith("features"):  # network, activations of a batch and its layers
        return 4000.0
    return 1000 + 8 * sum(Path(p).stat().st_size for p in inputs) / 1e6


def look(path: str | Path) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Return the shapes of the variables of a netCDF file, and its layers where it holds Features.

    Raises
    ------
    FileNotFoundError
        It is still to be made.
    InputError
        It is no netCDF.
    """
    import h5py

    try:
        with Path(path).open("rb") as raw, h5py.File(raw) as file:
            shapes = {name: v.shape for name, v in file.items() if isinstance(v, h5py.Dataset)}
            return shapes, str(file.attrs["layer"]).split(",") if "feature" in shapes else []
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error}. Delete it and make it again.") from None


def encode_fit(shapes: Mapping[str, tuple[int, ...]], n_layers: int, options: Mapping[str, Any]) -> float:
    """Forecast a fit: mean responses and predictions, the weights of all layers, and what solving takes."""
    n, n_targets = shapes["feature"][0], prod(shapes["response"][1:])
    name = options.get("name", "ridge")
    chunk = 2 * 4 * shapes["response"][0] * min(CHUNK, n_targets)
    held = 3 * 4 * n * n_targets + chunk
    if name in TOKENS:
        held += _readout(shapes, n_layers, options)
        return (START_TORCH if name in TRAINED else START) + READ + held / 1e6
    width = prod(shapes["feature"][1:]) // (1 if name == "banded" else n_layers)
    if width < n and name != "pls":
        held += 4 * n_layers * width * n_targets
    if name == "ridge":
        from neuroenc.encoders.solvers import forecast

        held += forecast(n, width, n_targets, n_alphas=15, n_folds=5, coef_in_memory=False)
    elif name == "pls":
        from neuroenc.encoders.pls_components import forecast as pls

        held += pls(n, width, n_targets, n_components=options.get("n_components", 25))
        held += 8 * n_layers * width * n_targets  # weights of the other layers, and of the fit without a fold
    else:  # decompose kernels whole in double precision
        held += 8 * n * n * (n_layers + 2) + 3 * 8 * n * n_targets
    return START + READ + held / 1e6


def _readout(shapes: Mapping[str, tuple[int, ...]], n_layers: int, options: Mapping[str, Any]) -> int:
    """Forecast a readout of tokens, bytes."""
    from neuroenc.encoders import memory

    n, n_tokens, n_channels = shapes["feature"]
    n_targets = prod(shapes["response"][1:])
    if options["name"] != "attention":
        readouts = {
            "factorised": memory.factorised, "gaussian": memory.gaussian,
            "semantic_transformer": memory.semantic_transformer,
        }  # fmt: skip
        return readouts[options["name"]](n, n_tokens, n_channels // n_layers, n_targets)
    regions = sum(name.startswith(REGION_PREFIX) for name in shapes)
    asking = {"all": 1, "voxel": n_targets, "hemisphere": 2 * regions + 1}
    n_queries = asking.get(options.get("queries", "region"), regions + 1)
    given = {k: options[k] for k in ("n_dimensions", "n_hidden", "batch_size") if k in options}
    return memory.attention(
        n, n_tokens, n_channels, n_targets, n_queries, n_layers=n_layers, **given,
        n_patterns=None if options.get("queries") == "voxel" else 2 * n_queries,
        solved=options.get("readout") != "gradient",
    )  # fmt: skip


def score(shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Forecast scoring: the mean response to each stimulus, the test rows beside their predictions.

    A bootstrap of 1,000 samples holds some nine arrays of a block.
    """
    n_targets, n_tested = prod(shapes["response"][1:]), shapes["prediction"][0]
    n_stimuli = shapes["training_stimulus_id"][0] + n_tested
    labels = 1600 * n_targets  # coordinates, and what there is one of per neuroid
    held = labels + 4 * (n_stimuli + 2 * n_tested) * n_targets + 2 * n_tested * n_targets
    chunk = 2 * 4 * shapes["response"][0] * min(CHUNK, n_targets)
    block = 9 * min(BLOCK_BYTES, 8 * max(1000, n_tested) * n_targets)
    return START + (held + chunk + block) / 1e6


def match(shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Forecast identification by likelihood: validation rows and their predictions, in double precision."""
    n_targets, n_tested = prod(shapes["response"][1:]), shapes["prediction"][0]
    n_training, n_held = shapes["training_stimulus_id"][0], shapes["validation"][0]
    single = 4 * (3 * n_training + 2 * n_tested + n_held) * n_targets
    return START + (single + 8 * (3 * n_held + 2 * n_tested) * n_targets) / 1e6
