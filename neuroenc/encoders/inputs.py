"""What encoders and decoders are given: rows joined by labels, shapes and values checked, folds, alphas.

NaN in y marks a missing value; X has none. A masked array's hidden values are missing values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.model_selection import check_cv
from sklearn.utils.validation import validate_data

from neuroenc.errors import InputError

Rows = NDArray[np.int64]
LAYOUT = {
    2: "(n_samples, n_features)",
    3: "(n_samples, n_tokens, n_channels): pool the network to 'tokens' or 'grid:<k>'",
}
LABELS = "the coordinate 'stimulus_id', or the index of the dimension of the rows"


def join_rows(X: Any, y: Any) -> tuple[Any, Any]:
    """Put the rows of y in the order of X where both are DataArrays with labels.

    The one dimension they share is that of the rows; labels are the coordinate `stimulus_id` on it, or its
    index. Where one of them has no labels the order is trusted.

    Raises
    ------
    InputError
        A label stands in one of them alone, or repeatedly and in another order.
    """
    if not (isinstance(X, xr.DataArray) and isinstance(y, xr.DataArray)):
        return X, y
    shared = [d for d in X.dims if d in y.dims]
    if len(shared) == 1:
        X, y = X.transpose(shared[0], ...), y.transpose(shared[0], ...)
    a, b = _labels(X), _labels(y)
    if a is None or b is None or a.equals(b):
        return X, y
    for name, own, other, others in (("X", a, "y", b), ("y", b, "X", a)):
        alone = own[~own.isin(others)]
        if len(alone):
            raise InputError(
                f"{len(alone)} of {len(own)} labels of {name} are not among those of {other}, first "
                f"{alone[0]!r}. Rows are joined by labels ({LABELS}): select the same ones, or drop them to "
                "go by order."
            )
        if not own.is_unique:
            twice = own[own.duplicated()][0]
            raise InputError(
                f"The label {twice!r} stands {(own == twice).sum()} times in {name}, in another order than "
                f"in {other}: rows cannot be joined by labels. Average repeats, or put both in one order."
            )
    return X, y.isel({y.dims[0]: b.get_indexer(a)})


def _labels(values: xr.DataArray) -> pd.Index[Any] | None:
    rows = values.dims[0]
    if "stimulus_id" in values.coords and values["stimulus_id"].dims == (rows,):
        return pd.Index(values["stimulus_id"].values)
    return values.indexes.get(rows)


def check_fit(
    estimator: Any, X: Any, y: Any, *, ndim: int = 2, y_ndim: int = 2, dtype: Any = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return X and y as arrays of numbers that can be fitted.

    Parameters
    ----------
    estimator : estimator
        Learns the number and names of the features.
    X, y : array-like, DataArray, DataFrame or tensor
        y of 1 to `y_ndim` dimensions; NaN marks a missing value.
    ndim : int
        Dimensions of X.
    dtype : dtype, optional
        Of both; None keeps float32 and float64 and turns the rest into float64.

    Raises
    ------
    InputError
        Labels that disagree; other shapes, lengths, or kinds of values; none or one row; X with a value that
        is not finite; y with one that is infinite, or with none at all.
    """
    if y is None:
        raise InputError(f"{type(estimator).__name__} requires y to be passed, but the target y is None.")
    X, y = join_rows(X, y)
    rows = check_features(estimator, X, ndim=ndim, dtype=dtype, reset=True)
    target = as_numbers(y, "y", dtype)
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
    estimator: Any, X: Any, *, ndim: int = 2, dtype: Any = None, reset: bool = False
) -> NDArray[Any]:
    """Return X as an array of finite numbers with the features the estimator was fitted to.

    Parameters
    ----------
    estimator : estimator
    X : array-like, DataArray, DataFrame or tensor
        The columns of a DataArray are put in the order of their labels at fitting, if they have any.
    ndim : int
    dtype : dtype, optional
    reset : bool
        Learn the number and names of the features.

    Raises
    ------
    InputError
        As `check_fit`; other features than at fitting.
    """
    X = same_columns(estimator, X, reset=reset)
    rows = as_numbers(X, "X", dtype)
    if rows.ndim != ndim:
        hint = " Reshape your data: X[None] is one sample." if rows.ndim == 1 else ""
        raise InputError(f"X has shape {rows.shape}. Expected {LAYOUT[ndim]}.{hint}")
    for axis, what in enumerate(("sample(s)", *["feature(s)"] * (ndim - 1))):
        if not rows.shape[axis]:
            raise InputError(
                f"Found array with 0 {what} (shape={rows.shape}) while a minimum of 1 is required."
            )
    if not np.isfinite(rows.sum()) and not (finite := np.isfinite(rows)).all():
        bad = np.flatnonzero(~finite.all(tuple(range(rows.ndim - 1))))
        raise InputError(not_finite(bad, rows.shape[-1]))
    if ndim == 2:
        try:
            validate_data(estimator, X if hasattr(X, "columns") else rows, reset=reset, skip_check_array=True)
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


def as_numbers(values: Any, name: str, dtype: Any = None) -> NDArray[Any]:
    """Turn values into an array of real numbers; what a masked array hides is NaN.

    Raises
    ------
    InputError
        They are sparse, complex, text, dates, or of unequal length.
    """
    if sparse.issparse(values):
        raise InputError(f"{name} is sparse. Give a dense array: {name}.toarray().")
    if is_torch(values):
        values = values.detach().cpu()
        values = values.numpy() if str(values.dtype) != "torch.bfloat16" else values.float().numpy()
    if isinstance(values, (xr.DataArray, pd.DataFrame, pd.Series)):
        values = values.to_numpy()
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(float), np.nan)
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"The rows of {name} are of different lengths. Give one array of numbers.") from None
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


def is_torch(values: Any) -> bool:
    """Say whether values are a tensor, without importing torch."""
    return type(values).__module__.partition(".")[0] == "torch"


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
