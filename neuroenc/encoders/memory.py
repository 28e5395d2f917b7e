"""Forecasts of the memory that readouts of tokens take, from shapes alone: bytes, over what y occupies.

X is on disk; of an X in memory nothing is copied but what is read of it at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuroenc import splits
from neuroenc.blocks import BLOCK_BYTES
from neuroenc.config.encoders import TOGETHER, TOKENS
from neuroenc.encoders.factorise import runs
from neuroenc.encoders.solvers import LIBRARY_BYTES
from neuroenc.encoders.solvers import forecast as ridge

ROUTED_BYTES = 256 * 2**20  # of routed tokens held while the readout is solved
TARGETS_BYTES = 512 * 2**20  # of normal equations of a factorised readout held at a time
ROWS_BYTES = 32 * 2**20  # of rows of X that a factorised readout holds at a time
LEAST_ROWS = 128  # of them: fewer cost more to add up than to multiply
AT_ONCE_BYTES = 2**24  # of features under masks, or of tokens read, that it holds at a time
POOLED_BYTES = 256 * 2**20  # of features under fields held at a time


def attention(
    n: int, n_tokens: int, n_channels: int, n_targets: int, n_queries: int, *, n_patterns: int | None = None,
    n_alike: int | None = None, n_threads: int = 1, n_layers: int = 1, n_folds: int = 5,
    n_dimensions: int = 128, n_hidden: int = 256, batch_size: int = 32, solved: bool = True,
) -> int:  # fmt: skip
    """Forecast `AttentionRouting`.

    Parameters
    ----------
    n, n_tokens, n_channels, n_targets, n_queries : int
        n_channels of all layers together.
    n_patterns : int, optional
        Combinations of regions; None: a query for each target.
    n_alike : int, optional
        Targets of the most frequent combination; None: as many as of the others.
    n_threads, n_layers, n_folds, n_dimensions, n_hidden, batch_size : int
    solved : bool
        Whether the readout is solved by ridge too.
    """
    d = n_dimensions
    groups = n_targets if n_patterns is None else n_patterns
    weights = d * (n_queries + 4 * d + 2 * n_channels + 2 * n_hidden + n_targets) + n_targets
    tokens = batch_size * n_tokens * n_layers
    seen = batch_size * n_queries * (16 * d + 5 * n_hidden)
    step = 4 * (4.6 * weights + tokens * 4 * d + seen + 3.5 * batch_size * n_targets)
    kept = min(max(ROUTED_BYTES, 4 * n * d), 4 * n * d * groups)
    batches = _batches(batch_size * n_tokens * n_channels)
    routing = 4 * (2 * weights + tokens * 3 * d) + batches
    # the targets of a combination are taken out of all
    alike = n_alike or -(-n_targets // groups)
    solved_at_once = 8 * n * d + 4 * n * alike + ridge(n, d, alike, 13, n_folds, n_threads=n_threads)
    solving = kept + max(routing, solved_at_once)
    after = solving if solved else 0
    return _trained(n, n_tokens, n_channels, n_targets, n_folds, weights, step + batches, after)


def semantic_transformer(
    n: int, n_tokens: int, n_channels: int, n_targets: int, *, n_folds: int = 5, n_hidden: int = 32,
    batch_size: int = 32,
) -> int:  # fmt: skip
    """Forecast `SemanticTransformer`."""
    at_once = min(256, n_targets)
    weights = n_targets * (6 * n_hidden + 7 + n_tokens + n_channels) + 6 * n_channels * n_hidden
    warped = batch_size * n_tokens * (6 * n_channels + 6 * n_targets)
    # of four bytes a number, and what the allocator leaves between them
    step = 5 * (4.6 * weights + warped + batch_size * at_once * n_tokens * 4)
    step += _batches(batch_size * n_tokens * n_channels)
    return _trained(n, n_tokens, n_channels, n_targets, n_folds, weights, step, 0)


def response_core(
    n: int, n_tokens: int, n_channels: int, n_targets: int, *, n_folds: int = 5, readout: str = "factorised",
    n_filters: int = 32, n_blocks: int = 3, n_rotations: int = 1, n_hidden: int = 32, batch_size: int = 32,
) -> int:  # fmt: skip
    """Forecast `ResponseCore`."""
    width, last = n_filters * n_rotations, n_tokens // 4 ** (n_blocks - 1)
    core = n_filters * (25 * n_channels + 9 * (n_blocks - 1) * width)
    # maps of each block before and after its elu, with their gradients
    maps = batch_size * width * sum(n_tokens // 4**k for k in range(n_blocks)) * 4.6
    if readout == "semantic_transformer":
        weights = n_targets * (6 * n_hidden + 7 + last + width) + 6 * width * n_hidden
        read = batch_size * last * (6 * width + 6 * n_targets + 4 * min(256, n_targets))
    else:
        weights = n_targets * ((3 if readout == "gaussian" else last) + width + 1)
        read = 4.8 * batch_size * n_targets * width + 6 * n_targets * last
    step = 4 * (4.6 * (core + weights) + maps + read) + _batches(batch_size * n_tokens * n_channels)
    return _trained(n, n_tokens, n_channels, n_targets, n_folds, core + weights, step, 0)


def probing(
    n: int, n_tokens: int, n_channels: int, n_targets: int, n_asking: int, *, n_patterns: int | None = None,
    n_alike: int | None = None, n_threads: int = 1, n_folds: int = 5, n_queries: int = 8,
    values: str = "split", n_dimensions: int = 128, batch_size: int = 32, solved: bool = True,
) -> int:  # fmt: skip
    """Forecast `EfficientProbing`: `n_asking` regions have `n_queries` each, else as `attention`."""
    width = {"whole": n_queries * n_channels, "linear": n_dimensions}.get(values, n_channels)
    groups = n_targets if n_patterns is None else n_patterns
    asked = n_asking * n_queries
    linear = n_channels * n_dimensions if values == "linear" else 0
    weights = asked * (n_channels + 32) + linear + n_targets * (width + 1)
    seen = batch_size * (asked * n_tokens * 3 + (2 * n_asking + 2 * groups) * width)
    batches = _batches(batch_size * n_tokens * n_channels)
    step = 4 * (4.6 * weights + seen + 3.5 * batch_size * n_targets) + batches
    kept = min(max(ROUTED_BYTES, 4 * n * width), 4 * n * width * groups)
    alike = n_alike or -(-n_targets // groups)
    solved_at_once = 8 * n * width + 4 * n * alike + ridge(n, width, alike, 13, n_folds, n_threads=n_threads)
    routing = 4 * (2 * weights + seen) + batches
    after = kept + max(routing, solved_at_once) if solved else 0
    return _trained(n, n_tokens, n_channels, n_targets, n_folds, weights, step, after)


def random_attention(
    n: int, n_channels: int, n_targets: int, *, n_queries: int = 32, n_alphas: int = 15, n_folds: int = 5,
    n_threads: int = 1,
) -> int:  # fmt: skip
    """Forecast `RandomAttentionCV`."""
    width = n_queries * n_channels
    routed, weights = 4 * n * width, 4 * n_targets * width
    # what reading takes is given back before ridge begins
    fitting = ridge(n, width, n_targets, n_alphas, n_folds, n_threads=n_threads)
    return round(routed + weights + max(fitting, LIBRARY_BYTES + 3 * BLOCK_BYTES))


def _batches(size: int) -> int:
    """Bytes of the batch of a step, and of the next as it is read, converted and scaled."""
    return 14 * size


def _trained(
    n: int, n_tokens: int, n_channels: int, n_targets: int, n_folds: int, weights: int, step: float,
    after: float,
) -> int:  # fmt: skip
    """Add to a training step what stands around it: scaling, validation rows, scores."""
    held = -(-n // n_folds)
    scaling = 5 * min(BLOCK_BYTES, 4 * (n - held) * n_tokens * n_channels)
    standardising = 5 * min(BLOCK_BYTES, 8 * n * n_targets)
    shown = 4 * held * n_targets
    scoring = 4 * weights + 4 * shown + 5 * min(BLOCK_BYTES, 2 * shown)
    peak = max(scaling, standardising, step, after + 2 * shown, scoring)
    return round(LIBRARY_BYTES + 4 * n * n_targets + peak)


def factorised(n: int, n_tokens: int, n_channels: int, n_targets: int, *, n_folds: int = 5) -> int:
    """Forecast `FactorisedCV`."""
    p, n_train = n_tokens * n_channels, n - n // n_folds
    rank = min(n, p)
    rows = 3 * min(max(ROWS_BYTES, 4 * LEAST_ROWS * p), 4 * n * p)  # read, converted, centred
    factors = 4 * n * rank + 8 * (rank * p if p < n else 0)
    decomposing = 5 * 8 * rank**2 + 3 * min(BLOCK_BYTES, 8 * n * p)
    starting = 4 * n * rank + ridge(n, rank, n_targets, 6, 2)
    coef = min(max(TARGETS_BYTES // 2, 4 * p), 4 * n_targets * p)
    spreading = 4 * n_targets * n_train + 2 * coef + rows
    largest = 4 * max(n_tokens, n_channels) ** 2
    each = min(max(TARGETS_BYTES, largest), n_targets * largest) + AT_ONCE_BYTES
    alternating = each + rows + 12 * n * n_targets + 8 * n_targets * (n_tokens + n_channels)
    return round(LIBRARY_BYTES + factors + max(decomposing, starting, spreading, alternating))


def gaussian(
    n: int, n_tokens: int, n_channels: int, n_targets: int, *, n_fields: int = 193, n_alphas: int = 7,
    n_folds: int = 5, itemsize: int = 4, n_threads: int = 1,
) -> int:  # fmt: skip
    """Forecast `GaussianFieldCV`."""
    one = itemsize * n * n_channels
    pooled = min(max(POOLED_BYTES, one), n_fields * one)
    pooling = 3 * min(BLOCK_BYTES, itemsize * n * n_tokens * n_channels) // 2
    weights = 4 * itemsize * n_targets * n_channels
    # of many fits, of which the first alone takes what libraries keep
    solving = ridge(n, n_channels, n_targets, n_alphas, n_folds, n_threads=n_threads) - LIBRARY_BYTES
    return round(pooled + weights + max(pooling, solving))


def banded(
    n: int, p: int, n_targets: int, n_bands: int, n_alphas: int, *, n_candidates: int = 20, n_folds: int = 5,
    itemsize: int = 4,
) -> int:  # fmt: skip
    """Forecast `BandedRidgeCV` and its refit to the training rows of the first fold."""
    n_held = -(-n // n_folds)
    n_fit = n - n_held
    centred = itemsize * n * n_targets
    scores = 4 * n_candidates * n_alphas * n_targets
    operators = itemsize * 3 * len(runs(min(p, n_fit))) * n_held * min(p, n_fit)
    if p <= n_fit:  # products of the columns
        shared = itemsize * (2 * n * p + (n_folds + 1) * p * n_targets) + scores
        fold = 8 * (n * p + 4 * p**2) + operators
        solved = itemsize * n * p + 8 * (n * p + 5 * p**2) + itemsize * n * p + itemsize * 2 * p * n_targets
        return round(LIBRARY_BYTES + centred + max(shared + fold, solved) + 2 * BLOCK_BYTES)
    kernels = 8 * n_bands * n**2
    decomposing = 8 * max(n**2 + n_fit**2 + n_held * n_fit, 3 * n_fit**2 + n_held * n_fit)
    scoring = (8 + itemsize) * (n_fit**2 + n_held * n_fit) + operators
    searching = kernels + scores + max(decomposing, scoring)
    weights, dual = itemsize * p * n_targets, itemsize * n * n_targets
    solving = kernels + dual + 8 * 3 * n**2 if p > n else 0
    # the refit has rows and centred rows of its own, beside the weights of the first fit
    again = itemsize * 2 * n_fit * n_targets + weights
    refitting = max(8 * (n_bands + 3) * n_fit**2 + itemsize * n_fit * n_targets, weights)
    peak = max(centred + max(searching, solving, dual + weights), again + refitting)
    return round(LIBRARY_BYTES + peak + 2 * BLOCK_BYTES)


def network(
    n: int, n_neuroids: int, n_out: int, *, weights: int | None = None, n_hidden: int = 512,
    n_blocks: int = 2, batch_size: int = 64, n_threads: int = 1,
) -> int:  # fmt: skip
    """Forecast the training of `decoders.BrainNetwork` on n fitted rows.

    Weights stand 5.6 times as measured (gradient, two moments, those of the best epoch), a batch's hidden
    values four times a block. Before that the linear path starts at the ridge of the fitted rows.
    """
    if weights is None:  # of one subject whose first layer is linear
        shared = n_blocks * 2 * n_hidden * (n_hidden + 2) + (n_hidden + 1) * n_out
        weights = shared + (n_neuroids + 1) * (n_hidden + n_out)
    hidden = batch_size * n_hidden * (4 * n_blocks + 3)
    starting = 4 * weights + ridge(n, n_neuroids, n_out, 13, 5, n_threads=n_threads)
    training = 4 * (5.6 * weights + 6 * batch_size * n_neuroids + hidden) + 60 * 2**20
    return round(max(starting, training))


def bytes_of_target(
    name: str, n: int, size: splits.Sizes, shape: Sequence[int], n_layers: int, delays: Sequence[int],
    n_queries: int = 0,
) -> int:  # fmt: skip
    """Count what is held of a target while all layers and folds are fitted.

    Its mean responses to n stimuli, those of the training stimuli beside them, and of each member and fold
    its predictions and weights.

    Parameters
    ----------
    name : str
        Of the encoder.
    n : int
        Stimuli with responses.
    size : Sizes
        Of the split.
    shape : sequence of int
        Of the features of all layers, (n, n_features) or (n, n_tokens, n_channels).
    n_layers : int
    delays : sequence of int
    n_queries : int
        Of readouts that pool tokens by some; 0: another.
    """
    n_members = 1 if name in TOGETHER else n_layers
    if n_queries and len(shape) == 3:
        n_weights = n_queries * shape[2] // n_members
    elif name in TOKENS and len(shape) == 3:
        n_weights = shape[1] + shape[2] // n_members
    else:
        n_weights = int(np.prod(shape[1:])) // n_members * max(1, len(delays))
        if name == "ridge":  # of the rows, where these are fewer
            n_weights = min(n_weights, size.n_train)
        elif name == "pls":  # in double precision
            n_weights *= 2
    n_held = -(-size.n_train // size.n_inner)
    return 4 * (n + size.n_train + size.n_folds * n_members * (size.n_test + n_held + n_weights))
