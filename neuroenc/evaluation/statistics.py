"""Intervals, p-values and false discovery, vectorised over neuroids.

Nothing here depends on the order of rows or neuroids, on their scale, or on how many are asked for at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import columns
from neuroenc.errors import InputError
from neuroenc.evaluation.permutation import widening
from neuroenc.evaluation.scores import paired, pearson_r, standardise

K = TypeVar("K", bound=Hashable)
Score = Callable[[ArrayLike, ArrayLike, NDArray[np.bool_]], NDArray[np.float64]]
Weighted = Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.float64]]
CONSTANT = 1e-12  # a sample whose variance is a smaller share of its mean square does not vary


def per_fold(score: Score, y: ArrayLike, prediction: ArrayLike, fold: ArrayLike) -> NDArray[np.float64]:
    """Score each fold by itself.

    Folds are never pooled: a training mean leans away from the held-out values, so that pooled
    predictions of pure noise correlate with it negatively.

    Parameters
    ----------
    score : callable
        From (y, prediction, known), each (n, n_neuroids), to (n_neuroids,).
    y, prediction : arrays of shape (n_rows, n_neuroids)
        NaN in `y` marks a missing response, whose row does not count for that neuroid.
    fold : array of shape (n_rows,)

    Returns
    -------
    ndarray of shape (n_folds, n_neuroids)
    """
    y, prediction = paired(y, prediction, fold=fold)
    fold = np.asarray(fold)
    rows = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    out = np.empty((len(rows), y.shape[1]))
    for cut in columns(*y.shape):
        for values, k in zip(out, rows, strict=True):
            some = y[k, cut]
            values[cut] = score(some, prediction[k, cut], np.isfinite(some))
    return out


class Resampling(NamedTuple):
    """Samples of test stimuli, the same for every neuroid."""

    weight: NDArray[np.float64]
    """(n_samples, n_units): how often each unit is in a sample; how much each weighs, of folds"""
    unit: NDArray[np.int64]
    """(n_rows,)"""
    rows: list[NDArray[np.int64]]
    """Of each fold"""
    by_fold: bool
    """Whether folds are the units"""
    wide: float
    """`widening`, and of stimuli `expansion`"""

    def of(self, of_folds: NDArray[np.float64], weighted: Weighted) -> NDArray[np.float64]:
        """Return value + wide (statistic of a sample - mean over samples), (n_samples, n_neuroids).

        The value is that of all rows, the mean over folds. Samples of stimuli are centred on it, because a
        statistic that is not linear is biased in them: r lies by r (1 - r²) / 2n lower, in every neuroid, so
        that the mean of a region could lie outside its own interval.

        Parameters
        ----------
        of_folds : array of shape (n_folds, n_neuroids)
            Of all rows.
        weighted : callable
            From rows of a fold and their weights, (n_samples, n_rows), to (n_samples, n_neuroids).
        """
        value = of_folds.mean(0)
        if self.by_fold:
            found = np.asarray(self.weight @ of_folds / self.weight.shape[1])
            found -= value
        else:
            found = _mean_known([weighted(k, self.weight[:, self.unit[k]]) for k in self.rows])
            found -= _mean_known(found)
        found *= self.wide
        found += value
        return found


def resample(
    stimulus: ArrayLike, fold: ArrayLike, *, stretch: ArrayLike | None = None, n_stimuli: int | None = None,
    n: int = 1000, seed: int = 0,
) -> Resampling:  # fmt: skip
    """Draw bootstrap samples of stimuli, of films and stories stretches of them.

    Where each stimulus is tested in one of several folds (runs, stories), the folds are what varies, because
    what is held out together is not independent: they are few, so that their weights are drawn such that the
    mean over folds has Student's t about it (`fold_weights`). Samples of several folds lie further from the
    mean by `widening`, because the stimuli of one fold train the others; those of stimuli, stretches or
    groups, which may be few, by `expansion`. Of a single unit there is no interval: its samples are NaN.

    Parameters
    ----------
    stimulus, fold : arrays of shape (n_rows,)
        Rows of one stimulus are drawn together.
    stretch : array of shape (n_rows,), optional
        What is drawn together in place of a stimulus: of running ones a stretch; or a group that is alike.
    n_stimuli : int, optional
        As in `permutation_p`.
    n, seed : int

    Raises
    ------
    InputError
        Names that are not one a row.
    """
    stimulus, fold = np.asarray(stimulus), np.asarray(fold)
    paired(stimulus, stimulus, fold=fold, stretch=stretch)
    ids, unit = np.unique(stimulus if stretch is None else np.asarray(stretch), return_inverse=True)
    rows = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    by_fold = len(rows) > 1 and _tested_once(stimulus, rows)
    wide = widening(stimulus, rows, n_stimuli, together=True)
    rng = np.random.default_rng(seed)
    if by_fold:
        return Resampling(fold_weights(rng, n, len(rows)), unit, rows, by_fold, wide)
    wide *= expansion(len(ids))
    weight = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), n).astype(np.float64)
    if len(ids) == 1:  # each sample is all there is, and an interval would have no width
        weight[:] = np.nan
    return Resampling(weight, unit, rows, by_fold, wide)


def limits(
    samples: Resampling, value: float, of_rows: Callable[[NDArray[np.int64], NDArray[np.float64]], ArrayLike]
) -> tuple[float, float]:
    """Interval of one statistic, (low, high), 95 %; NaN where there are no samples, of a single unit.

    Parameters
    ----------
    samples : Resampling
    value : float
        Of all rows.
    of_rows : callable
        From the rows of a fold and their weights, (n_samples, n_rows), to the statistic, (n_samples,).
    """
    of_folds = np.concatenate([np.asarray(of_rows(k, np.ones((1, len(k))))) for k in samples.rows])
    with np.errstate(invalid="ignore"):  # a sample may hold nothing of a fold
        found = samples.of(of_folds[:, None], lambda k, weight: np.asarray(of_rows(k, weight))[:, None])
    low, high = np.quantile(found + (value - of_folds.mean()), [0.025, 0.975])
    return float(low), float(high)


def mean_limits(values: ArrayLike, samples: Resampling) -> tuple[float, float]:
    """Interval of the mean of one value a row, as `limits`, never beyond the values themselves.

    Parameters
    ----------
    values : array of shape (n_rows,)
    samples : Resampling
    """
    x = np.asarray(values, np.float64)
    found = limits(samples, x.mean(), lambda k, weight: weight @ x[k] / weight.sum(1))
    low, high = np.clip(found, x.min(), x.max())
    return float(low), float(high)


def widened(low: float, high: float, n_units: int) -> tuple[float, float]:
    """Limits of a share, 0 to 1, where those of a bootstrap have no width: all units succeed, or none.

    0.025^(1 / n) to 1, and 0 to 1 - 0.025^(1 / n): what n of n say of the next (Clopper & Pearson 1934).
    """
    room = 1 - 0.025 ** (1 / n_units) if high - low < 1e-9 else 0.0  # but for rounding
    return max(0.0, low - room), min(1.0, high + room)


def expansion(n_units: int) -> float:
    """Return how much wider than the percentiles of a bootstrap the interval of few units is.

    sqrt(n / (n - 1)) t / z, at the 97.5th percentile (Hesterberg 2015, section 3.5): 1.44 of six, 1.06 of 30.
    """
    from scipy.stats import norm, t

    n = max(2, n_units)
    return float(np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1) / norm.ppf(0.975))


def fold_weights(rng: np.random.Generator, n: int, n_folds: int) -> NDArray[np.float64]:
    """Draw weights of K folds under which a mean d has the distribution d + s / sqrt(K) t, t of K - 1.

    w = 1 + z sqrt(K / chi²), z normal less its mean, chi² of K - 1: sum w d / K is then distributed so, for
    each neuroid and for means over neuroids. A bootstrap of K folds is narrower: of two it goes from one to
    the other.

    Returns
    -------
    ndarray of shape (n, n_folds)
        They sum to K; some may be below 0.
    """
    z = rng.normal(size=(n, n_folds))
    z -= z.mean(1, keepdims=True)
    return np.asarray(1 + z * np.sqrt(n_folds / rng.chisquare(n_folds - 1, size=(n, 1))))


def bootstrap(
    statistic: Callable[[slice], tuple[NDArray[np.float64], Weighted]],
    n_neuroids: int,
    samples: Resampling,
    groups: Mapping[K, NDArray[np.bool_]],
    tails: list[float],
) -> tuple[NDArray[np.float64], dict[K, NDArray[np.float64]]]:
    """Quantiles of a statistic of each neuroid, and samples of the mean of groups.

    A sample that gives a neuroid no value is left out of its quantiles; so is a fold of which a sample holds
    nothing. In the mean of a group such a neuroid then stands with its value of all rows, so that the group
    consists of the same neuroids in every sample.

    Parameters
    ----------
    statistic : callable
        From some neuroids to the two arguments of `Resampling.of`.
    n_neuroids : int
    samples : Resampling
    groups : mapping of name to bool array of shape (n_neuroids,)
    tails : list of float
        Which quantiles.

    Returns
    -------
    quantiles : ndarray of shape (n_tails, n_neuroids)
        NaN where a fold has no value.
    means : dict of name to ndarray of shape (n_samples,)
        Over the neuroids that have a value; NaN where none has.
    """
    n = len(samples.weight)
    quantiles = np.full((len(tails), n_neuroids), np.nan)
    total = {name: np.zeros(n) for name in groups}
    count = dict.fromkeys(groups, 0)
    for cut in columns(max(len(samples.unit), n), n_neuroids):
        of_folds, weighted = statistic(cut)
        values = samples.of(of_folds, weighted)
        here = np.isfinite(values)
        finite = np.isfinite(of_folds).all(0) & here.any(0)
        quantile = np.quantile if here[:, finite].all() else np.nanquantile
        known = np.where(here, values, np.nan)[:, finite]
        quantiles[:, cut.start + np.flatnonzero(finite)] = quantile(known, tails, axis=0)
        values = np.where(here, values, of_folds.mean(0))
        for name, members in groups.items():
            inside = members[cut] & finite
            total[name] += values[:, inside].sum(1)
            count[name] += int(inside.sum())
    return quantiles, {k: total[k] / m if m else np.full(n, np.nan) for k, m in count.items()}


def bootstrap_r(
    y: ArrayLike,
    prediction: ArrayLike,
    stimulus: ArrayLike,
    fold: ArrayLike,
    groups: Mapping[K, NDArray[np.bool_]],
    *,
    stretch: ArrayLike | None = None,
    n_stimuli: int | None = None,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], dict[K, tuple[float, float]]]:
    """Percentile intervals of Pearson r, the mean over folds, by `bootstrap`.

    A sample in which a neuroid does not vary has no r (its variance is below `CONSTANT` of its mean square).

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids)
        NaN in `y` marks a missing response, whose row does not count for that neuroid.
    stimulus, fold, stretch, n_stimuli, n, seed
        As in `resample`.
    groups : mapping of name to bool array of shape (n_neuroids,)
        Sets of neuroids whose mean r gets an interval as well.
    level : float

    Returns
    -------
    interval : ndarray of shape (2, n_neuroids)
        NaN where r is.
    group_interval : dict of name to (low, high)
        Of the mean over the neuroids whose r is defined; NaN where there is none.
    """
    y, prediction = paired(y, prediction, stimulus=stimulus, fold=fold, stretch=stretch)
    fold = np.asarray(fold)

    def statistic(cut: slice) -> tuple[NDArray[np.float64], Weighted]:
        a, b = y[:, cut], prediction[:, cut]
        return per_fold(pearson_r, a, b, fold), lambda k, weight: weighted_r(a[k], b[k], weight)

    tails = [(1 - level) / 2, (1 + level) / 2]
    samples = resample(stimulus, fold, stretch=stretch, n_stimuli=n_stimuli, n=n, seed=seed)
    interval, means = bootstrap(statistic, y.shape[1], samples, groups, tails)
    limits = {name: tuple(np.quantile(m, tails).clip(-1, 1).tolist()) for name, m in means.items()}
    return interval.clip(-1, 1), limits


def _mean_known(values: Sequence[NDArray[np.float64]] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over arrays, or over the rows of one, of what is finite in each; NaN where nothing is."""
    total, count = np.zeros_like(values[0]), np.zeros_like(values[0])
    for v in values:
        here = np.isfinite(v)
        total += np.where(here, v, 0)
        count += here
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def weighted_r(
    y: NDArray[np.float64], prediction: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pearson r under each row of weights, (n_samples, n_neuroids); NaN where a sample does not vary."""
    known = np.isfinite(y)
    # unit columns: the moments lose no digits
    y, prediction = standardise(y, known), standardise(prediction, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = weight.sum(1, keepdims=True) if known.all() else weight @ known
        my, mp, power, other, product = (
            weight @ v / size for v in (y, prediction, y**2, prediction**2, y * prediction)
        )
        vary = (power - my**2 > CONSTANT * power) & (other - mp**2 > CONSTANT * other)
        spread = np.sqrt(np.where(vary, (power - my**2) * (other - mp**2), np.nan))
        return np.asarray((product - my * mp) / spread)


def _tested_once(stimulus: NDArray[np.str_], rows: list[NDArray[np.int64]]) -> bool:
    """Say whether no stimulus is tested in two folds."""
    return len(np.unique(stimulus)) == sum(len(np.unique(stimulus[r])) for r in rows)


def fdr(p: ArrayLike) -> NDArray[np.float64]:
    """q-values of Benjamini & Hochberg (1995): the false discovery rate at which each would be called.

    Parameters
    ----------
    p : array of any shape
        All are of one family; NaN is left out and stays NaN.

    Raises
    ------
    InputError
        One is not between 0 and 1.
    """
    from scipy.stats import false_discovery_control  # loads for a second

    p = np.asarray(p, np.float64)
    q = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    odd = p[known & ~((p >= 0) & (p <= 1))]
    if len(odd):
        raise InputError(f"{len(odd)} of {p.size} p-values are not between 0 and 1, first {odd[0]:g}.")
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q
