"""Rows of features as estimators read them: standardised, delayed, in parts, from memory or from a file.

An array on disk is read by slices of its rows, as few as the wanted rows allow, and by a slice of its
columns; nothing that is read is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.arrays import positions
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.encoders.delay import sources
from neuroenc.real import varies

Floats = NDArray[Any]
BRIDGED_BYTES = 2**18  # read and thrown away where rows lie apart: quicker than to read once more


def is_whole(values: Any) -> bool:
    """Say whether an array is in memory, and not one that is read in parts."""
    if isinstance(values, xr.DataArray):
        return bool(values.variable._in_memory)
    return not isinstance(values, (np.memmap, Design)) and not type(values).__module__.startswith("h5py")


class Design:
    """Rows of an array, (feature - centre) / scale, read where they are indexed.

    `X[rows]`, `X[rows, columns]` and, of tokens, `X[rows, tokens, channels]` are arrays in memory, each index
    a slice or an array of int in any order.

    Parameters
    ----------
    feature : array of shape (n_stimuli, n_features) or (n_stimuli, n_tokens, n_channels)
        In memory, a memory map, an HDF5 dataset or a DataArray that was opened from a file.
    rows : array of int, optional
        Which stimuli; None: all.
    columns : array of int, optional
        Which of the last axis; None: all.
    centre, scale : array, optional
        Of the columns; broadcast against (n_tokens, n_columns) or (n_columns,).
    flat : bool
        (n_rows, n_features), tokens one after the other.
    sources : int array of shape (n_stimuli, n_delays), optional
        For each stimulus the one that each delay looks back to; -1: none, which gives 0. Delays stand side by
        side, flat.

    Attributes
    ----------
    shape, ndim, dtype
        float64 of float64, else float32.
    """

    def __init__(
        self,
        feature: Any,
        *,
        rows: ArrayLike | None = None,
        columns: ArrayLike | None = None,
        centre: Floats | None = None,
        scale: Floats | None = None,
        flat: bool = False,
        sources: NDArray[np.int64] | None = None,
    ) -> None:
        self.feature = feature.variable if isinstance(feature, xr.DataArray) else feature
        self.rows = np.arange(feature.shape[0]) if rows is None else np.asarray(rows)
        self.columns = np.arange(feature.shape[-1]) if columns is None else np.asarray(columns)
        self.centre, self.scale = centre, scale
        self.flat, self.sources = flat or sources is not None, sources
        self.dtype = np.dtype(np.float64 if feature.dtype == np.float64 else np.float32)
        self._inner = (*feature.shape[1:-1], len(self.columns))  # of one row, one delay
        shape = self._inner
        if self.flat:
            shape = (int(np.prod(shape)) * (1 if sources is None else sources.shape[1]),)
        self.shape = (len(self.rows), *shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def _with(self, **changes: Any) -> Self:
        names = ("feature", "rows", "columns", "centre", "scale", "flat", "sources")
        return type(self)(**({name: getattr(self, name) for name in names} | changes))

    def take(self, rows: Any) -> Self:
        """Return some rows, by numbers or a mask; nothing is read."""
        return self._with(rows=self.rows[rows])

    def flattened(self) -> Self:
        """Return the same, (n_rows, n_features); nothing is read."""
        return self._with(flat=True)

    def standardised(self, centre: Floats, scale: Floats) -> Self:
        """Return the same less a centre and by a scale; nothing is read."""
        n = len(self._inner)
        return self._with(centre=centre.reshape(centre.shape[-n:]), scale=scale.reshape(scale.shape[-n:]))

    def __getitem__(self, index: Any) -> Floats:
        index = index if isinstance(index, tuple) else (index,)
        index = (*index, *(slice(None),) * (self.ndim - len(index)))
        rows, *inner = (_numbers(i, n) for i, n in zip(index, self.shape, strict=True))
        chosen = self.rows[rows]
        if self.sources is None:
            return self._read(chosen, inner)
        width = int(np.prod(self._inner))
        which, columns = np.divmod(inner[0], width)
        out = np.zeros((len(rows), len(inner[0])), self.dtype)
        for delay in np.unique(which):
            at, there = np.flatnonzero(which == delay), self.sources[chosen, delay]
            known = np.flatnonzero(there >= 0)
            if len(known):
                out[np.ix_(known, at)] = self._read(there[known], [columns[at]])
        return out

    def _read(self, stimuli: NDArray[np.int64], inner: list[NDArray[np.int64]]) -> Floats:
        """Read stimuli, and of each what `inner` says of its own axes."""
        if self.flat and len(self._inner) == 2:  # a range of tokens, of which a part is kept
            tokens, channels = np.divmod(inner[0], self._inner[1])
            first, last = int(tokens.min()), int(tokens.max()) + 1
            if last - first == 1:
                return self._scaled(stimuli, np.arange(first, last), channels)[:, 0]
            whole = self._scaled(stimuli, np.arange(first, last), np.arange(self._inner[1]))
            whole = whole.reshape(len(stimuli), whole.shape[1] * whole.shape[2])
            kept = inner[0] - first * self._inner[1]
            return whole if np.array_equal(kept, np.arange(whole.shape[1])) else whole[:, kept]
        return self._scaled(stimuli, *inner)

    def _scaled(self, stimuli: NDArray[np.int64], *inner: NDArray[np.int64]) -> Floats:
        out = read_rows(self.feature, stimuli, *inner[:-1], self.columns[inner[-1]])
        out = out.astype(self.dtype, copy=False)
        at = np.ix_(*inner)
        for values, operation in ((self.centre, np.subtract), (self.scale, np.divide)):
            if values is not None:
                operation(out, np.broadcast_to(values, self._inner)[at], out=out)
        return out


def _numbers(index: Any, n: int) -> NDArray[np.int64]:
    """List what a slice, a mask or numbers choose of `n`."""
    if isinstance(index, slice):
        return np.arange(n)[index]
    found = np.asarray(index)
    found = np.flatnonzero(found) if found.dtype == bool else found
    return np.where(found < 0, found + n, found).astype(np.int64)


def read_rows(feature: Any, rows: NDArray[np.int64], *inner: NDArray[np.int64]) -> Floats:
    """Read some rows, and of each some numbers of its other axes, from an array that knows slices.

    Parameters
    ----------
    feature : array
        In memory or on disk.
    rows : array of int
        In any order; repeated ones are read once.
    *inner : arrays of int
        Of the other axes.
    """
    spans = [slice(int(i.min()), int(i.max()) + 1) if len(i) else slice(0) for i in inner]
    within: Any = np.ix_(*(i - span.start for i, span in zip(inner, spans, strict=True)))
    plain = all(
        len(i) == s.stop - s.start and (np.diff(i) > 0).all() for i, s in zip(inner, spans, strict=True)
    )
    wanted, back = np.unique(rows, return_inverse=True)
    out = np.empty((len(wanted), *map(len, inner)), feature.dtype)
    size = max(1, feature.dtype.itemsize * int(np.prod([s.stop - s.start for s in spans])))
    ends = np.flatnonzero(np.diff(wanted) > 1 + BRIDGED_BYTES // size) + 1
    for run in np.split(np.arange(len(wanted)), ends):
        if not len(run):
            continue
        first = wanted[run[0]]
        for part in blocks(int(wanted[run[-1]] - first) + 1, max(1, BLOCK_BYTES // size)):
            mine = run[slice(*np.searchsorted(wanted[run], (first + part.start, first + part.stop)))]
            if not len(mine):
                continue
            span = slice(int(wanted[mine[0]]), int(wanted[mine[-1]]) + 1)
            values = feature[(span, *spans)]
            values = np.asarray(getattr(values, "values", values))[wanted[mine] - span.start]
            out[mine] = values if plain else values[(slice(None), *within)]
    ordered = len(back) == len(wanted) and bool((np.diff(back) > 0).all())
    return out if ordered else out[back.ravel()]


def design(
    features: xr.Dataset,
    stimulus_id: NDArray[np.str_],
    layers: Sequence[str] = (),
    delays: Sequence[int] = (),
) -> Design:
    """Return the features of some stimuli, not standardised; nothing is read.

    Parameters
    ----------
    features : Dataset
        Features; with delays of stimuli that run (`film`, `onset`).
    stimulus_id : array of text, (n_rows,)
    layers : sequence of str
        Empty: all.
    delays : sequence of int
        In stimuli of a film; positive ones look back.

    Raises
    ------
    ContractError
        A stimulus has no features; with delays, the stimuli do not run.
    """
    columns = np.flatnonzero(np.isin(features["layer"].values, layers)) if len(layers) else None
    return Design(
        features["feature"], rows=positions(features, stimulus_id), columns=columns,
        sources=sources(features, delays) if len(delays) else None,
    )  # fmt: skip


def moments(X: Design, *, tokens: bool) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the columns, in one pass.

    In blocks of rows whose means and sums of squares are merged in double precision (Chan, Golub and LeVeque
    1983), so that neither many rows nor a large mean cost digits.

    Parameters
    ----------
    X : Design
        Not standardised.
    tokens : bool
        One of each for a channel of all tokens; of those that are there, where some are NaN.

    Returns
    -------
    centre, scale : arrays of shape (n_columns,), (n_tokens, n_columns) or, with `tokens`, (1, n_channels)
        The scale is 0 where the values do not vary but for rounding.
    """
    over = (0, 1) if tokens else (0,)
    each = X.dtype.itemsize * int(np.prod(X.shape[1:]))
    n, low, high = 0, np.inf, -np.inf
    mean: Any = 0.0
    power: Any = 0.0
    for rows in blocks(len(X), max(1, BLOCK_BYTES // each)):
        values = X[rows]
        if tokens and (absent := np.isnan(values[..., 0])).any():
            values = values[~absent][:, None]
        low = np.minimum(low, values.min(over, keepdims=True)[0])
        high = np.maximum(high, values.max(over, keepdims=True)[0])
        own = values.mean(over, keepdims=True, dtype=np.float64)
        number = values.size // own.size
        values = values - own
        shift, total = own[0] - mean, n + number
        power = power + (values**2).sum(over, keepdims=True)[0] + shift**2 * (n * number / total)
        mean, n = mean + shift * (number / total), total
    scale = np.where(varies(np.stack([low, high])), np.sqrt(power / n), 0)
    return mean.astype(X.dtype), scale.astype(X.dtype)
