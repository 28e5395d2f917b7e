"""Fits to some neuroids after others, so that memory is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from neuroenc import config, splits
from neuroenc.arrays import check
from neuroenc.blocks import blocks
from neuroenc.config.encoders import ALONE
from neuroenc.encoders.encode import Fit, encode, together
from neuroenc.encoders.memory import bytes_of_target
from neuroenc.encoders.missing import ALL
from neuroenc.errors import InputError

# bytes that are held of them: 17,000 of 10,000 stimuli and four layers of 4,096
BLOCK_OF_NEUROIDS = 3 * 2**30


def encode_in_blocks(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Encoder,
    *, checkpoint: Callable[[int, str], Any] | None = None,
) -> Iterator[tuple[xr.Dataset, list[Fit]]]:  # fmt: skip
    """Fit an encoder to one block of neuroids after the other, so that memory is bounded.

    Of a block `BLOCK_OF_NEUROIDS` bytes are held (`bytes_of_target`); what fits is one block, and so are all
    neuroids of an encoder that learns from them together. A stack in blocks shares its common form
    (`stack_weights`) within each.

    Parameters
    ----------
    responses, features, split, options, checkpoint
        As `encode` takes them; the responses may be read in parts.

    Yields
    ------
    predictions, fits
        As `encode` returns them; the targets of the fits are numbered over all neuroids.
    """
    response, ids = responses["response"], np.unique(responses["stimulus_id"].values)
    n_times = int(np.prod(response.shape[2:]))
    known = np.isin(split["stimulus_id"].values, ids)
    each = n_times * bytes_of_target(
        options.name, len(ids), splits.sizes(split["side"].values[:, known], split["inner"].values[:, known]),
        features["feature"].shape,
        1 if together(features, options) else len(set(features["layer"].values)),
        getattr(options, "delays", []),
        getattr(options, "n_queries", 0),
    )  # fmt: skip
    size = max(1, BLOCK_OF_NEUROIDS // each) if options.name in ALONE else response.shape[1]
    for cut in blocks(response.shape[1], size):
        neuroids = ALL if size >= response.shape[1] else cut
        # nothing is kept here: the weights of a block are gone when the next is fitted
        yield _numbered(
            encode(responses, features, split, options, checkpoint=checkpoint, neuroids=neuroids),
            cut.start * n_times,
        )


def _numbered(found: tuple[xr.Dataset, list[Fit]], first: int) -> tuple[xr.Dataset, list[Fit]]:
    """Count the targets of a block's fits from the first of all neuroids."""
    predictions, fits = found
    return predictions, [fit._replace(neuroid=fit.neuroid + first) for fit in fits]


def join_blocks(parts: list[xr.Dataset]) -> xr.Dataset:
    """Put predictions of blocks of neuroids together.

    Raises
    ------
    InputError
        In no block a neuroid could be fitted.
    """
    if len(parts) == 1:
        return parts[0]
    if all(np.isnan(part["validation_r2"]).all() for part in parts):
        raise InputError("No neuroid varies and has values over the training stimuli. Check the responses.")
    joined = xr.concat(
        parts, "neuroid", data_vars="minimal", coords="minimal", compat="override", join="override",
        combine_attrs="override",
    )  # fmt: skip
    return check(joined, "predictions")
