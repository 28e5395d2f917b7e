"""What encoders and decoders are given: rows joined by labels, shapes and values checked, folds, alphas.

NaN in y marks a missing value; X has none. A masked array's hidden values are missing values.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.encoders.design import Design, is_whole
from neuroenc.errors import InputError, invalid
from neuroenc.real import unmasked

Rows = NDArray[np.int64]
LAYOUT = {
    2: "(n_samples, n_features)",
    3: "(n_samples, n_tokens, n_channels): pool the network to 'tokens' or 'grid:<k>'",
}
DTYPES = ("float32", "float64", None)
LABELS = "the coordinate 'stimulus_id', or the index of the rows"


def join_rows(X: Any, y: Any, name: str = "y") -> tuple[Any, Any]:
    """Put the rows of y, or what else `name` says, in the order of X where both have labels.

    Of a DataArray the dimension of the coordinate `stimulus_id` is that of the rows, else the one that X and
    y share, else the first. Its labels are `stimulus_id` where both have it, else the index of the rows, or
    the one and the other where these agree. Of a DataFrame or Series they are the index; rows that pandas
    merely numbers have none. Where one of them has no labels the order is trusted.

    Raises
    ------
    InputError
        A label stands in one of them alone, or repeatedly and in another order; rows of one are merely
        numbered, those of the other have these numbers in another order; X and y share several dimensions and
        begin with different ones.
    """
    X, y = _rows_first(X), _rows_first(y)
    if isinstance(X, xr.DataArray) and isinstance(y, xr.DataArray):
        X, y = _shared_first(X, y, name)
    pair = _common_labels(_labels(X), _labels(y))
    if pair is None or pair[0].equals(pair[1]):
        return X, y
    a, b = pair
    if _numbered(X) or _numbered(y):
        if not (a.isin(b).all() and b.isin(a).all()):
            return X, y
        raise InputError(
            f"The rows of X or {name} are merely numbered, and the index of the other has these numbers "
            "in another order: whether they were shuffled together cannot be told. Give both one index, or "
            "arrays."
        )
    for what, own, other, others in (("X", a, name, b), (name, b, "X", a)):
        alone = own[~own.isin(others)]
        if len(alone):
            raise InputError(
                f"{len(alone)} of {len(own)} labels of {what} are not among those of {other}, first "
                f"{alone[0]!r}. Rows are joined by labels ({LABELS}): select the same ones, or drop them to "
                "go by order."
            )
        if not own.is_unique:
            twice = own[own.duplicated()][0]
            raise InputError(
                f"The label {twice!r} stands {(own == twice).sum()} times in {what}, in another order than "
                f"in {other}: rows cannot be joined by labels. Average repeats, or put both in one order."
            )
    order = b.get_indexer(a)
    return X, y.isel({y.dims[0]: order}) if isinstance(y, xr.DataArray) else y.iloc[order]


def _rows_first(values: Any) -> Any:
    """Bring the dimension of `stimulus_id` to the front."""
    named = values.coords.get("stimulus_id") if isinstance(values, xr.DataArray) else None
    return values if named is None or named.ndim != 1 else values.transpose(named.dims[0], ...)


def _shared_first(X: xr.DataArray, y: xr.DataArray, name: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Bring the dimension that both have to the front; a `stimulus_id` has put it there."""
    shared = [d for d in X.dims if d in y.dims]
    named = ["stimulus_id" in v.coords and v["stimulus_id"].ndim == 1 for v in (X, y)]
    if len(shared) == 1:
        first: Any = shared[0]
    elif not shared or X.dims[0] == y.dims[0] or all(named):
        return X, y
    elif any(named):
        first = (X if named[0] else y).dims[0]
    else:
        raise InputError(
            f"X and {name} share the dimensions {', '.join(map(str, shared))} and begin with different ones: "
            "which holds the rows cannot be told. Put it first in both."
        )
    return X if named[0] else X.transpose(first, ...), y if named[1] else y.transpose(first, ...)


def _labels(values: Any) -> dict[str, pd.Index[Any]]:
    """List what may name the rows."""
    if isinstance(values, (pd.DataFrame, pd.Series)):
        return {"index": values.index.to_flat_index()}
    if not isinstance(values, xr.DataArray) or not values.ndim:
        return {}
    found = {}
    if "stimulus_id" in values.coords and values["stimulus_id"].ndim == 1:
        found["stimulus_id"] = pd.Index(values["stimulus_id"].values)
    if values.dims[0] in values.indexes:
        found["index"] = values.indexes[values.dims[0]].to_flat_index()
    return found


def _common_labels(
    a: dict[str, pd.Index[Any]], b: dict[str, pd.Index[Any]]
) -> tuple[pd.Index[Any], pd.Index[Any]] | None:
    """Choose the labels to join by; None where one side has none."""
    if "stimulus_id" in a and "stimulus_id" in b:
        return a["stimulus_id"], b["stimulus_id"]
    pairs = sorted(product(a, b), key=lambda names: names[0] != names[1])
    agree = [(a[i], b[j]) for i, j in pairs if a[i].isin(b[j]).all() and b[j].isin(a[i]).all()]
    return next(iter(agree), (a[pairs[0][0]], b[pairs[0][1]]) if pairs else None)


def _numbered(values: Any) -> bool:
    """Say whether rows of a table have no index but the one pandas gives."""
    index = getattr(values, "index", None)
    return isinstance(index, pd.RangeIndex) and index.equals(pd.RangeIndex(len(values)))


def check_fit(
    estimator: Any, X: Any, y: Any, *, ndim: int = 2, y_ndim: int = 2, dtype: Any = None, sets: bool = False
) -> tuple[Any, NDArray[Any]]:
    """Return X and y as arrays of numbers that can be fitted.

    Parameters
    ----------
    estimator : estimator
        Learns the number and names of the features, and whether y is of one target (`as_fitted`).
    X, y : array-like, DataArray, DataFrame or tensor
        y of 1 to `y_ndim` dimensions; NaN marks a missing value.
    ndim : int
        Dimensions of X.
    dtype : dtype, optional
        Of both; None keeps float32 and float64 and turns the rest into float64. An X that is read in parts
        gives what it gives.
    sets : bool
        Tokens of X that are NaN in all channels are not there.

    Returns
    -------
    X : array, or Design where X is a file that is read in parts
    y : array

    Raises
    ------
    InputError
        An option that is none (`check_options`); labels that disagree; other shapes, lengths, or kinds of
        values; none or one row; X with a value that is not finite; y with one that is infinite, or with none
        at all.
    """
    check_options(estimator)
    if y is None:
        raise InputError(f"{type(estimator).__name__} requires y to be passed, but the target y is None.")
    X, y = join_rows(X, y)
    rows = check_features(estimator, X, ndim=ndim, dtype=dtype, reset=True, sets=sets)
    target = as_numbers(y, "y", dtype)
    estimator._single = target.ndim == 1
    if not 1 <= target.ndim <= y_ndim:
        layouts = ("(n_samples,)", "(n_samples, n_targets)", "(n_samples, n_neuroids, n_time_bins)")
        raise InputError(f"y has shape {target.shape}. Expected {' or '.join(layouts[:y_ndim])}.")
    same_length(rows, target)
    if len(rows) < 2:
        raise InputError(f"X has n_samples=1 (shape={rows.shape}). Expected 2 rows or more to fit to.")
    if not target.size:
        raise InputError(f"y has shape {target.shape}. Expected one target or more.")
    if not np.isfinite(target.sum()):
        infinite = np.isinf(target.reshape(len(target), -1)).any(0)
        if infinite.any():
            raise InputError(
                f"Input y contains infinity in {infinite.sum()} of {infinite.size} targets, first "
                f"{infinite.argmax()}. Leave these out; NaN marks a missing value."
            )
        if np.isnan(target).all():
            raise InputError(f"Input y contains NaN only: all {target.size} values are missing.")
    return rows, target


def as_fitted(estimator: Any, predicted: NDArray[Any]) -> NDArray[Any]:
    """Return predictions, (n_samples, n_targets), in the dimensions of y: (n_samples,) of a single target."""
    return predicted[:, 0] if getattr(estimator, "_single", False) else predicted


def check_options(estimator: Any) -> None:
    """Refuse options of an estimator that it would take for others.

    Parameters
    ----------
    estimator : estimator
        Whose class lists in `OPTIONS` what an option may be: one of some values, or a whole number of at
        least so many.

    Raises
    ------
    InputError
        Naming the first that is not.
    """
    for name, allowed in getattr(estimator, "OPTIONS", {}).items():
        found = getattr(estimator, name)
        if isinstance(allowed, tuple):
            if not any(found is v or (isinstance(found, str) and found == v) for v in allowed):
                raise invalid(name, found, allowed)
        elif type(found) is bool or not isinstance(found, Integral) or int(found) < allowed:
            raise InputError(
                f"Invalid value for {name!r}: {found!r}. Expected a whole number of at least {allowed}."
            )


def check_enough(y: NDArray[Any]) -> NDArray[Any]:
    """Return y as (n_samples, n_targets), every target with two values or more.

    Raises
    ------
    InputError
        A target has fewer.
    """
    Y = y.reshape(len(y), -1)
    few = np.isfinite(Y).sum(0) < 2
    if few.any():
        raise InputError(
            f"{few.sum()} of {len(few)} targets have fewer than two values, first {few.argmax()}. Leave "
            "these out."
        )
    return Y


def same_length(X: Any, y: Any) -> None:
    """Refuse X and y of different lengths."""
    if len(X) != len(y):
        raise InputError(f"X has {len(X)} rows, y has {len(y)}; they must be the same.")


def check_features(
    estimator: Any, X: Any, *, ndim: int = 2, dtype: Any = None, reset: bool = False, sets: bool = False
) -> Any:
    """Return X as an array of finite numbers with the features the estimator was fitted to.

    An array on disk (memory map, HDF5 dataset, DataArray opened from a file) comes back as a Design, which is
    read in parts; one pass looks for what is not finite.

    Parameters
    ----------
    estimator : estimator
    X : array-like, DataArray, DataFrame or tensor
        The columns of a DataArray are put in the order of their labels at fitting, if they have any.
    ndim : int
    dtype : dtype, optional
    reset : bool
        Learn the number and names of the features.
    sets : bool
        Tokens that are NaN in all channels are not there.

    Raises
    ------
    InputError
        As `check_fit`; other features than at fitting; a sample without a token.
    """
    X = same_columns(estimator, X, reset=reset)
    rows = as_numbers(X, "X", dtype) if is_whole(X) else in_parts(X)
    if rows.ndim != ndim:
        hint = " Reshape your data: X[None] is one sample." if rows.ndim == 1 else ""
        raise InputError(f"X has shape {rows.shape}. Expected {LAYOUT[ndim]}.{hint}")
    for axis, what in enumerate(("sample(s)", *["feature(s)"] * (ndim - 1))):
        if not rows.shape[axis]:
            raise InputError(
                f"Found array with 0 {what} (shape={rows.shape}) while a minimum of 1 is required."
            )
    if len(bad := _not_finite(rows, sets)):
        raise InputError(not_finite(bad, rows.shape[-1]))
    if ndim == 2:
        from sklearn.utils.validation import validate_data  # loads for a second, as check_cv does

        try:
            shown = X if hasattr(X, "iloc") else np.empty((1, rows.shape[1]))  # its names or their number
            validate_data(estimator, shown, reset=reset, skip_check_array=True)
        except ValueError as error:
            raise InputError(" ".join(str(error).split())) from None
    return rows


def not_finite(columns: Sequence[int] | NDArray[np.int64], n: int) -> str:
    """Name the columns of X that are not finite."""
    named = ", ".join(map(str, columns[:5])) + (", …" if len(columns) > 5 else "")
    return f"X contains NaN or infinite values in {len(columns)} of {n} columns: {named}. Remove them."


def same_columns(estimator: Any, X: Any, *, reset: bool = False) -> Any:
    """Bring a DataArray into the layout, and the columns into the order, of the one that was fitted."""
    if reset:
        estimator._columns = estimator._feature_dims = None
    if not isinstance(X, xr.DataArray) or X.ndim < 2:
        return X
    X = _rows_first(X)
    known = getattr(estimator, "_feature_dims", None)
    if known and set(known) < set(X.dims):
        X = X.transpose(..., *known)
    found = X.indexes.get(X.dims[-1])
    if reset:
        estimator._feature_dims = list(X.dims[1:])
        estimator._columns = None if found is None else [str(v) for v in found]
    elif found is not None and estimator._columns is not None:
        columns = pd.Index([str(v) for v in found])
        wanted = pd.Index(estimator._columns)
        if not columns.equals(wanted):
            order = columns.get_indexer(wanted) if columns.is_unique else np.full(len(wanted), -1)
            if len(columns) != len(wanted) or (order < 0).any():
                missing = [v for v in wanted if v not in columns] or [v for v in columns if v not in wanted]
                raise InputError(
                    f"The labels of the columns of X are not those the model was fitted to, first "
                    f"{(missing or list(columns))[0]!r}. Give it the same features."
                )
            X = X.isel({X.dims[-1]: order})
    return X


def _not_finite(rows: Any, sets: bool = False) -> NDArray[np.int64]:
    """List the columns of X that hold a value that is not finite; what is read in parts in one pass."""
    if not isinstance(rows, Design):
        if np.isfinite(rows.sum()):
            return np.zeros(0, np.int64)
        if sets:
            rows = _without_absent(rows)
        return np.flatnonzero(~np.isfinite(rows).all(tuple(range(rows.ndim - 1))))
    bad = np.zeros(rows.shape[-1], bool)
    size = rows.dtype.itemsize * int(np.prod(rows.shape[1:]))
    for cut in blocks(len(rows), max(1, BLOCK_BYTES // size)):
        bad[_not_finite(rows[cut], sets)] = True
    return np.flatnonzero(bad)


def _without_absent(rows: NDArray[Any]) -> NDArray[Any]:
    """Put 0 into tokens that are not there; refuse samples that have none."""
    absent = np.isnan(rows).all(-1)
    if absent.all(1).any():
        raise InputError(
            f"{absent.all(1).sum()} of {len(rows)} samples have no token, all are NaN. Leave them out."
        )
    return np.where(absent[..., None], 0, rows)


def as_numbers(values: Any, name: str, dtype: Any = None) -> NDArray[Any]:
    """Turn values into an array of real numbers; what a masked array hides is NaN.

    Raises
    ------
    InputError
        They are sparse, complex, text, dates, or of unequal length.
    """
    if type(values).__module__.startswith("scipy.sparse"):
        raise InputError(f"{name} is sparse. Give a dense array: {name}.toarray().")
    if isinstance(values, (xr.DataArray, pd.DataFrame, pd.Series)):
        values = values.to_numpy()
    array = unmasked(values, name)
    if array.dtype.kind == "c":
        raise InputError(f"Complex data not supported: {name} is {array.dtype}. Give real numbers.")
    if array.dtype.kind in "USmMV":
        kind = "text" if array.dtype.kind in "US" else str(array.dtype)
        raise InputError(f"{name} holds {kind}, first {array.ravel()[:1].tolist()}. Give numbers.")
    if dtype is None:
        dtype = array.dtype if array.dtype in (np.float32, np.float64) else np.float64
    try:
        return array.astype(dtype, copy=False)
    except ValueError as error:
        raise InputError(f"{name} holds a value that is no number: {error}. Give numbers.") from None


def in_parts(values: Any) -> Design:
    """Return an array on disk as what is read in parts.

    Raises
    ------
    InputError
        It holds no real numbers.
    """
    if isinstance(values, Design):
        return values
    if np.dtype(values.dtype).kind not in "fiub":
        raise InputError(f"X holds {values.dtype}. Give real numbers.")
    return Design(values)


def folds_of(
    cv: Any, n: int, groups: ArrayLike | None = None, y: NDArray[Any] | None = None
) -> list[tuple[Rows, Rows]]:
    """List the rows to fit and to validate on.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, validation)
        Rows by number, or by masks. They may overlap and need not cover all.
    n : int
        Rows there are.
    groups : array of shape (n,), optional
        Handed to the splitter.
    y : array of shape (n, …), optional
        Handed to the splitter, which may stratify by it.

    Returns
    -------
    list of (train, validation)
        Without folds of one validation row, of which there is no R2.

    Raises
    ------
    InputError
        No folds or more than rows; rows that are not there; a side without rows; no fold of two rows.
    """
    from sklearn.model_selection import check_cv

    rows = np.zeros((n, 1))
    try:
        splitter = check_cv(cv)
        if (wanted := getattr(splitter, "n_splits", 0) or 0) > n:
            raise InputError(f"{n} rows cannot be cut into {wanted} folds (n_samples={n}). Use fewer folds.")
        found = list(splitter.split(rows, rows[:, 0] if y is None else y, groups))
    except (ValueError, TypeError) as error:
        raise InputError(" ".join(str(error).split())) from None
    if not found:
        raise InputError(
            "Invalid value for 'cv': no folds. A generator can be read once: give a list of pairs."
        )
    folds = [
        (_rows(train, n, f"training rows of fold {k}"), _rows(held, n, f"validation rows of fold {k}"))
        for k, (train, held) in enumerate(found)
    ]
    scored = [fold for fold in folds if len(fold[1]) > 1]
    if not scored:
        raise InputError(
            f"All {len(folds)} folds hold out one row, and one row has no R2. Use fewer folds, of two rows "
            "or more."
        )
    return scored


def _rows(rows: Any, n: int, what: str) -> Rows:
    found = np.asarray(rows)
    if found.dtype == bool:
        if found.shape != (n,):
            raise InputError(f"The mask of the {what} has shape {found.shape}. Expected ({n},).")
        found = np.flatnonzero(found)
    if not found.size:
        raise InputError(f"There are no {what}. Use fewer folds, or leave this one out.")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise InputError(f"The {what} are {found.dtype} of shape {found.shape}. Expected numbers or a mask.")
    if found.min() < 0 or found.max() >= n:
        odd = found[(found < 0) | (found >= n)][0]
        raise InputError(f"The {what} name row {odd}. There are rows 0 to {n - 1}.")
    return found.astype(np.int64)


def check_alphas(alphas: Any) -> NDArray[np.float64]:
    """Return candidates for alpha in ascending order.

    Raises
    ------
    InputError
        There is none, or one is not finite and above 0.
    """
    try:
        found = np.sort(np.asarray(alphas, dtype=float).ravel())
    except (ValueError, TypeError):
        found = np.zeros(0)
    if not len(found) or not (np.isfinite(found) & (found > 0)).all():
        raise InputError(f"Invalid value for 'alphas': {alphas!r}. All must be above 0, and finite.")
    return found
