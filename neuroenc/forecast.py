"""Forecasts of the memory of stages, from the shapes of what they read: what jobs ask a cluster for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.arrays.contracts import REGION_PREFIX
from neuroenc.blocks import BLOCK_BYTES, CHUNK
from neuroenc.errors import InputError
from neuroenc.splits import Sizes, sizes

START = 150  # MB of Python with the libraries of a stage without torch
START_TORCH = 500
LABELS = 1600  # bytes of coordinates, and of what there is one of, for a neuroid
QUERIES = {"probing": 8, "random_attention": 32}  # as the sections of encoders have them
N_CONDITIONS = 11  # of reconstructed pictures
LANGUAGE = 1000  # MB of a captioner, and of a network that looks at pictures
TRAINED = ("attention", "probing", "semantic_transformer", "response_core")


class Inputs(NamedTuple):
    """What is known of the files that a stage reads."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of their variables"""
    n_layers: int
    n_models: int
    """Files of them, whose columns stand side by side"""
    first: tuple[int, ...]
    """Shape of the features of the first of them"""
    n: int
    """Stimuli with responses"""
    split: Sizes | None
    """Of these"""
    n_predictions: int
    """Files of them"""
    alike: NDArray[np.int64]
    """Neuroids of each combination of regions"""

    @property
    def n_targets(self) -> int:
        """Neuroids times time bins."""
        return prod(self.shapes["response"][1:])

    @property
    def averaging(self) -> int:
        """Bytes that averaging repeats takes: the mean, and a chunk of neuroids as it is read."""
        each = min(CHUNK * (self.n_targets // self.shapes["response"][1]), self.n_targets)
        return 4 * self.n * self.n_targets + 4 * self.shapes["response"][0] * each + 3 * BLOCK_BYTES


def megabytes(
    stage: str, inputs: Sequence[str | Path], options: Mapping[str, Any], n_threads: int = 1
) -> float:
    """Forecast the memory a stage takes at its peak, MB.

    Parameters
    ----------
    stage : str
        'encode fit', 'evaluate score', …; more may follow.
    inputs : sequence of path
        Responses, features, split, predictions, as the stage is given them.
    options : mapping
        Of its encoder or decoder.
    n_threads : int
        Of the matrix library.

    Raises
    ------
    FileNotFoundError
        An input is still to be made.
    InputError
        One is no netCDF.
    """
    forecasts = {
        "encode fit": encode_fit, "encode stack": stack, "evaluate score": score, "decode match": match,
        "decode fit": decode_fit, "decode contributions": contributions, "evaluate compare": compare,
        "decode reconstruct": reconstruct,
    }  # fmt: skip
    for name, forecast in forecasts.items():
        if stage.startswith(name):
            return forecast(look(inputs), options, n_threads)
    if stage.startswith("features"):  # network, activations of a batch and its layers
        return 4000.0
    return START + 8 * sum(Path(p).stat().st_size for p in inputs) / 1e6


def look(paths: Sequence[str | Path]) -> Inputs:
    """Read the shapes of variables, and how a split parts the stimuli that have responses.

    A run of many fits asks this of the same few files for each: what a file says is read once, until it
    changes.

    Raises
    ------
    FileNotFoundError
        A file is still to be made.
    InputError
        It is no netCDF.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    n_layers, n_predictions, features = 0, 0, []
    responses, divided = None, None
    for path in paths:
        if Path(path).suffix != ".nc":
            continue
        known = Path(path).stat()
        version = str(path), known.st_mtime_ns, known.st_size
        head = _head(version)
        widest = {"basis": prod(shapes["basis"])} if "basis" in shapes else {}
        shapes |= {k: v for k, v in head.shapes.items() if prod(v) >= widest.get(k, 0)}
        n_layers += head.n_layers
        if "feature" in head.shapes:
            features.append(head.shapes["feature"])
        n_predictions += "prediction" in head.shapes
        if "response" in head.shapes:
            responses = version
        if "side" in head.shapes:
            divided = version
    shown = _head(responses).shown if responses else np.zeros(0, str)
    alike = _head(responses).alike if responses else np.zeros(0, int)
    split = _parts(responses, divided) if divided else None
    if len(features) > 1:
        shapes["feature"] = len(shown), sum(prod(shape[1:]) for shape in features)
    first = features[0] if features else ()
    return Inputs(shapes, max(1, n_layers), len(features), first, len(shown), split, n_predictions, alike)


class Head(NamedTuple):
    """What a file says of itself."""

    shapes: Mapping[str, tuple[int, ...]]
    n_layers: int
    shown: NDArray[np.str_]
    """Stimuli of responses"""
    alike: NDArray[np.int64]
    """Neuroids of each combination of regions"""


Version = tuple[str, int, int]
"""A file: path, and when it was written and its size, which change with it"""


@lru_cache(maxsize=1024)
def _head(version: Version) -> Head:
    """Read the shapes in one file, and of responses the names of stimuli and the regions."""
    import h5py

    path = version[0]
    shown, alike, n_layers = np.zeros(0, str), np.zeros(0, int), 0
    try:
        with Path(path).open("rb") as raw, h5py.File(raw) as file:
            shapes = {name: v.shape for name, v in file.items() if isinstance(v, h5py.Dataset)}
            if "feature" in file:
                n_layers = len(str(file.attrs["layer"]).split(","))
            if "response" in file:
                shown = np.unique(file["stimulus_id"].asstr()[:].astype(str))
                masks = [v[:] for k, v in file.items() if k.startswith(REGION_PREFIX)]
                masks.append(np.zeros(file["response"].shape[1], bool))
                alike = np.unique(np.array(masks), axis=1, return_counts=True)[1]
    except FileNotFoundError:
        raise
    except (OSError, KeyError) as error:
        raise _unreadable(path, error) from None
    return Head(shapes, n_layers, shown, alike)


@lru_cache(maxsize=1024)
def _parts(responses: Version | None, divided: Version) -> Sizes:
    """Count how a split parts the stimuli that have responses."""
    import h5py

    path = divided[0]
    try:
        with Path(path).open("rb") as raw, h5py.File(raw) as file:
            names = file["stimulus_id"].asstr()[:].astype(str)
            side, inner = file["side"][:], file["inner"][:]
    except FileNotFoundError:
        raise
    except (OSError, KeyError) as error:
        raise _unreadable(path, error) from None
    known = np.isin(names, _head(responses).shown if responses else names)
    return sizes(side[:, known], inner[:, known])


def _unreadable(path: str, error: Exception) -> InputError:
    return InputError(f"Cannot read {path}: {error}. Delete it and make it again.")


def encode_fit(of: Inputs, options: Mapping[str, Any], n_threads: int) -> float:
    """Forecast a fit: what is held of each target, what solving takes, and what joins the predictions."""
    from neuroenc.config.encoders import ALONE, TOGETHER
    from neuroenc.encoders.in_blocks import BLOCK_OF_NEUROIDS
    from neuroenc.encoders.memory import bytes_of_target

    name = options.get("name", "ridge")
    if of.n_models > 1 and name not in TOGETHER:  # one member reads all layers
        of = of._replace(n_layers=1)
    assert of.split is not None
    n_times = of.n_targets // of.shapes["response"][1]
    n_queries = options.get("n_queries", QUERIES.get(name, 0))
    each = bytes_of_target(
        name, of.n, of.split, of.shapes["feature"], of.n_layers, options.get("delays", []), n_queries
    )
    n_targets = of.n_targets
    if name in ALONE:
        n_targets = min(n_targets, n_times * max(1, BLOCK_OF_NEUROIDS // (each * n_times)))
    n_members = 1 if name in TOGETHER else of.n_layers
    held = 4 * (of.n + of.split.n_train) * n_targets
    # the last member is fitted beside what is kept of those before it
    kept = (n_targets * each - held) * (1 - 1 / (n_members * of.split.n_folds))
    solving = held + kept + _solving(of, name, n_targets, options, n_threads)
    n_shown = of.split.n_test - (-of.split.n_train // of.split.n_inner)
    predictions = 4 * n_shown * of.split.n_folds * of.n_targets
    before = predictions if n_targets < of.n_targets else 0
    peak = max(of.averaging * n_targets // of.n_targets, solving) + before
    joined = predictions + (predictions if before else 0)
    labels = LABELS * of.shapes["response"][1]
    start = START_TORCH if name in TRAINED else START
    return start + (labels + max(peak, joined)) / 1e6


def _solving(of: Inputs, name: str, n_targets: int, options: Mapping[str, Any], n_threads: int) -> int:
    """Forecast what a fit takes over what is held of each target, bytes."""
    from neuroenc.config.encoders import ROUTED
    from neuroenc.encoders import memory, pls_components, solvers

    assert of.split is not None
    n, n_folds = of.split.n_train, of.split.n_inner
    shape, n_fitted = of.shapes["feature"], n - n // n_folds
    if name in ("ridge", "banded", "pls"):
        width = prod(shape[1:]) * max(1, len(options.get("delays", [])))
        n_alphas = options.get("alphas", (-1, 6, 15))[2]
        itemsize = 8 if options.get("dtype") == "float64" else 4
        if name == "banded":
            return memory.banded(
                n, width, n_targets, of.n_layers, n_alphas, n_folds=n_folds,
                n_candidates=options.get("n_candidates", 20) if of.n_layers > 1 else 1, itemsize=itemsize,
            )  # fmt: skip
        width //= of.n_layers
        if name == "pls":
            fit = pls_components.forecast(
                n, width, n_targets, n_components=options.get("n_components", 25), n_folds=n_folds
            )
            # beside it the fit without the validation rows: its responses and weights
            return fit + 4 * n_fitted * n_targets + 8 * width * n_targets
        fit = solvers.forecast(
            n, width, n_targets, n_alphas, n_folds, itemsize=itemsize, n_threads=n_threads,
        )  # fmt: skip
        again = 4 * n_targets * (n_fitted + min(width, n_fitted))
        return max(fit, again + solvers.forecast(n_fitted, width, 64, 1, n_folds, coef_in_memory=False))
    n_tokens, n_channels = (1, *shape[1:])[-2:]
    if name in ROUTED:
        return _routed(of, options, n_threads)
    n_channels //= of.n_layers
    if name == "random_attention":
        return memory.random_attention(
            n, n_channels, n_targets, n_queries=options.get("n_queries", QUERIES[name]),
            n_alphas=options.get("alphas", (-1, 6, 15))[2], n_folds=n_folds, n_threads=n_threads,
        )  # fmt: skip
    if name == "gaussian":
        n_fields = options.get("n_positions", 8) ** 2 * len(options.get("sizes", (0, 0, 0))) + 1
        n_alphas = options.get("alphas", (-1, 5, 7))[2]
        return memory.gaussian(
            n, n_tokens, n_channels, n_targets, n_fields=n_fields, n_alphas=n_alphas, n_folds=n_folds,
            n_threads=n_threads,
        )  # fmt: skip
    if name == "factorised":
        return memory.factorised(n, n_tokens, n_channels, n_targets, n_folds=n_folds)
    if name == "response_core":
        keys = ("readout", "n_filters", "n_blocks", "n_rotations", "n_hidden", "batch_size")
        given = {k: options[k] for k in keys if k in options}
        return memory.response_core(n, n_tokens, n_channels, n_targets, n_folds=n_folds, **given)
    given = {k: options[k] for k in ("n_hidden", "batch_size") if k in options}
    return memory.semantic_transformer(n, n_tokens, n_channels, n_targets, n_folds=n_folds, **given)


def _routed(of: Inputs, options: Mapping[str, Any], n_threads: int) -> int:
    """Forecast what routes tokens to regions, bytes: each region, hemisphere or target asks."""
    from neuroenc.encoders import memory

    assert of.split is not None
    n_tokens, n_channels = (1, *of.shapes["feature"][1:])[-2:]
    regions = sum(name.startswith(REGION_PREFIX) for name in of.shapes)
    asking = {"all": 1, "voxel": of.n_targets, "hemisphere": 2 * regions + 1}
    queries = options.get("queries", "region")
    n_queries = asking.get(queries, regions + 1)
    patterns = {"n_patterns": len(of.alike), "n_alike": int(of.alike.max())}
    if queries == "all":
        patterns = {"n_patterns": 1, "n_alike": of.n_targets}
    probing = options["name"] == "probing"
    own = ("n_queries", "values") if probing else ("n_hidden",)
    given = {k: options[k] for k in ("n_dimensions", "batch_size", *own) if k in options}
    given |= {} if queries == "voxel" else patterns
    given |= {} if probing else {"n_layers": of.n_layers}
    return (memory.probing if probing else memory.attention)(
        of.split.n_train, n_tokens, n_channels, of.n_targets, n_queries, n_folds=of.split.n_inner,
        solved=options.get("readout") != "gradient", n_threads=n_threads, **given,
    )  # fmt: skip


def stack(of: Inputs, options: Mapping[str, Any], n_threads: int) -> float:  # noqa: ARG001
    """Forecast a mixture of members: their predictions, those of a fold again, and the errors of a block."""
    shown = of.shapes["prediction"][0] + of.shapes["validation"][0]
    members = 4 * of.n_predictions * shown * of.n_targets
    held = 4 * (of.n + 3 * shown) * of.n_targets  # with the mixture and the training rows
    return START + (2 * members + held + LABELS * of.shapes["response"][1] + 8 * BLOCK_BYTES) / 1e6


def decode_fit(of: Inputs, options: Mapping[str, Any], n_threads: int) -> float:
    """Forecast a decoder of embeddings: the mean responses, the space of components, and the fit."""
    from neuroenc.decoders.target import WHOLE_BYTES
    from neuroenc.encoders import memory
    from neuroenc.encoders.solvers import forecast

    assert of.split is not None
    n, n_folds = of.split.n_train, of.split.n_inner
    layers = options.get("layers")
    width = prod(of.first[1:])  # beside them may stand what an encoder reads
    if layers and of.n_models == 1:
        width = width * len(layers) // of.n_layers
    n_components = min(n, width, options.get("n_components", 100) or n)
    rank = min(n, width)
    components = 4 * (n + of.n) * n_components + 8 * 2 * n_components * width
    if 8 * n * width <= WHOLE_BYTES:  # decomposed at once: copies, and work space of four squares
        space = 8 * (4 * n * width + 6 * rank**2)
    else:
        space = 8 * 3 * rank**2 + 3 * BLOCK_BYTES
    n_repetitions = 1
    if options.get("repeats") == "random":
        n_repetitions = -(-of.shapes["response"][0] // of.n)
    held = 4 * of.n * of.n_targets * (1 if n_repetitions == 1 else 1 + 2 * n_repetitions)
    if made := options.get("augment"):  # pairs, and both kinds one behind the other
        share = made.get("share", 0.5)
        n = round(n / (1 - share))
        held += 8 * n * (of.n_targets + width)
    if options.get("name", "ridge") == "ridge":
        n_alphas = options.get("alphas", (0, 6, 13))[2]
        fit = forecast(n, of.n_targets, n_components, n_alphas, n_folds, n_threads=n_threads)
        start = START
    else:
        given = {k: options[k] for k in ("n_hidden", "n_blocks", "batch_size") if k in options}
        fit = memory.network(n - n // n_folds, of.n_targets, n_components, n_threads=n_threads, **given)
        start = START_TORCH
    peak = max(of.averaging, held + components + max(space, fit))
    return start + (peak + LABELS * of.shapes["response"][1]) / 1e6


def reconstruct(of: Inputs, options: Mapping[str, Any], n_threads: int) -> float:  # noqa: ARG001
    """Forecast drawing: the generator, which passes the host's memory, spaces of components, the pictures."""
    from neuroenc.decoders.generator_memory import GENERATORS

    assert of.split is not None
    n_folds, n_components, width = of.shapes["basis"]
    generator = options.get("generator", "nano")
    drawn, looking, each = GENERATORS[generator]
    n_tested = min(of.split.n_test, options.get("n_test") or of.split.n_test)
    spaces = 4 * n_components * width * (2 * n_folds + 1) + 2 * BLOCK_BYTES
    known = of.split.n_train * (4 * n_components + 16 * of.split.n_test)
    pictures = n_tested * n_folds * 3 * options.get("side", 256) ** 2 * 2 * N_CONDITIONS
    held = 4 * (drawn + looking) + each * 1e9 * options.get("batch_size", 1)
    return START_TORCH + LANGUAGE + (held + spaces + known + pictures) / 1e6


def contributions(of: Inputs, options: Mapping[str, Any], n_threads: int) -> float:
    """Forecast contributions of regions: a decoder, what it reads, and as much without a region."""
    return decode_fit(of, options, n_threads) + 3 * 4 * of.n * of.n_targets / 1e6


def score(of: Inputs, options: Mapping[str, Any], n_threads: int) -> float:  # noqa: ARG001
    """Forecast scoring: the mean response to each stimulus, the test rows beside their predictions.

    A bootstrap of 1,000 samples holds some nine arrays of a block.
    """
    shapes = of.shapes
    n_targets, n_tested = prod(shapes["response"][1:]), shapes["prediction"][0]
    labels = 1600 * n_targets  # coordinates, and what there is one of per neuroid
    held = labels + 4 * (of.n + 2 * n_tested) * n_targets + 2 * n_tested * n_targets
    chunk = 2 * 4 * shapes["response"][0] * min(CHUNK, n_targets)
    block = 9 * min(BLOCK_BYTES, 8 * max(1000, n_tested) * n_targets)
    return START + (held + chunk + block) / 1e6


def compare(of: Inputs, options: Mapping[str, Any], n_threads: int) -> float:
    """Forecast paired tests: as scoring, with the predictions of all fits, and what is kept of each pair.

    Draws of a block, of the null and of the bootstrap, are some sixteen arrays of it.
    """
    shapes = of.shapes
    n_targets, n_tested = of.n_targets, shapes["prediction"][0]
    pairs = (
        8 * 16 * (of.n_predictions - 1) * n_targets + 4 * n_tested * (2 * of.n_predictions - 2) * n_targets
    )
    block = 7 * min(BLOCK_BYTES, 8 * max(1000, n_tested) * n_targets)
    drawn = 8 * 1000 * shapes["response"][1] * (n_targets > shapes["response"][1])  # largest over time bins
    return score(of, options, n_threads) + (pairs + block + drawn) / 1e6


def match(of: Inputs, options: Mapping[str, Any], n_threads: int) -> float:  # noqa: ARG001
    """Forecast identification by likelihood: the mean responses twice, and double precision from there.

    Of test rows responses and predictions, of validation rows these and what is left, both again without the
    neuroids that say nothing; then the directions of the residuals, and of folds that choose the shrinkage
    the rows, scaled ones, and what their decomposition copies and returns.
    """
    n_tested, n_held = of.shapes["prediction"][0], of.shapes["validation"][0]
    rest = n_held - n_held // 5
    double = 8 * (4 * n_tested + 5 * n_held + 6 * rest) * of.n_targets + 8 * 6 * rest**2
    labels = LABELS * of.shapes["response"][1]
    return START + (labels + 4 * 2 * of.n * of.n_targets + double) / 1e6
