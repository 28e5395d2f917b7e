"""Permutation tests of accuracy, vectorised over neuroids: what is exchanged, and how wide the null is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from neuroenc.blocks import blocks, columns
from neuroenc.errors import InputError
from neuroenc.evaluation.scores import paired, standardise
from neuroenc.real import unmasked

EQUAL = 1e-9  # two r closer than this are equal
BLOCK = 256  # neuroids whose permutations stay in the processor's cache


def permutation_p(
    y: ArrayLike,
    prediction: ArrayLike,
    stimulus: ArrayLike,
    fold: ArrayLike,
    *,
    film: ArrayLike | None = None,
    group: ArrayLike | None = None,
    n_stimuli: int | None = None,
    n: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """One-sided p of Pearson r above 0, the mean over folds, permuting responses within folds.

    With one fold the test is exact: the prediction has not seen the test responses. With several,
    test responses of one fold are training responses of others, so that r of the folds are
    correlated, which permuting finished predictions does not show: r is divided by `widening`.

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids)
        NaN in `y` marks a missing response, whose row does not count for that neuroid.
    stimulus, fold : arrays of shape (n_rows,)
        Rows are exchanged within a fold only.
    film : array of shape (n_rows,), optional
        Of running stimuli, whose rows stand in order of time: neighbours are alike and must stay so, so that
        the responses to each film are shifted in a circle by a random time instead of being shuffled.
    group : array of shape (n_rows,), optional
        Of stimuli that are alike within groups (sentences of a passage, pictures of a concept), which are
        exchanged as wholes (`exchange`).
    n_stimuli : int, optional
        Stimuli of all folds, those that are never tested among them; None: all are tested.
    n : int
        Permutations, the same for every neuroid that has the same rows, so that correlation between neuroids
        is kept.
    seed : int

    Returns
    -------
    ndarray of shape (n_neuroids,)
        (1 + number of permuted r at least as large) / (1 + n), never 0 (Phipson & Smyth 2010);
        r that differ by less than `EQUAL` are equal. NaN where r is.

    Raises
    ------
    InputError
        y and prediction of other shapes, or of other than two dimensions; names that are not one a row.
    """
    y, prediction = paired(y, prediction, stimulus=stimulus, fold=fold, film=film, group=group)
    if y.ndim != 2:
        raise InputError(f"y has shape {y.shape}, expected (n_rows, n_neuroids).")
    stimulus, fold = unmasked(stimulus), unmasked(fold)
    order = np.arange(len(fold)) if film is not None else np.argsort(stimulus, kind="stable")
    order = order[np.argsort(fold[order], kind="stable")]  # whatever the order of rows was
    stimulus, fold = stimulus[order], fold[order]
    films = None if film is None else np.asarray(film)[order]
    groups = None if group is None else np.asarray(group)[order]
    wide = widening(stimulus, [np.flatnonzero(fold == f) for f in np.unique(fold)], n_stimuli)
    known = np.isfinite(y)[order]
    patterns, of = np.unique(np.packbits(known, axis=0), axis=1, return_inverse=True)
    p = np.full(y.shape[1], np.nan)
    for k in tqdm(range(patterns.shape[1]), "permutations", disable=None, delay=2):
        members = np.flatnonzero(of.ravel() == k)
        some = known[:, members[0]]
        if len(np.unique(fold[some])) < len(np.unique(fold)):
            continue  # a fold of which nothing is known has no r
        film_, group_ = (None if v is None else v[some] for v in (films, groups))
        rng = np.random.default_rng(seed)
        orders = np.array([exchanged(rng, fold[some], film_, group_) for _ in range(n)], np.int32)
        p[members] = _permute(y, prediction, order[some], members, fold[some], orders, wide)
    return p


def p_value(value: ArrayLike, null: ArrayLike, *, equal: float = EQUAL) -> NDArray[np.float64]:
    """P = (1 + number of draws at least as high) / (1 + n), never 0 (Phipson & Smyth 2010).

    Parameters
    ----------
    value : array of shape (…)
    null : array of shape (n, …)
        Under the null. NaN counts as higher.
    equal : float
        Values that differ by less are equal: the same sum, taken in another order, rounds to another.

    Returns
    -------
    array of shape (…)
        NaN where `value` is.
    """
    value, null = np.asarray(value, np.float64), np.asarray(null)
    above = (~(null < value - equal)).sum(0)
    return np.asarray(np.where(np.isnan(value), np.nan, (1 + above) / (1 + len(null))))


def exchanged(
    rng: np.random.Generator, fold: NDArray[np.int64], film: ArrayLike | None, group: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Exchange rows within each fold, as `exchange` does; (n_rows,)."""
    out = np.arange(len(fold))
    for f in np.unique(fold):
        some = np.flatnonzero(fold == f)
        out[some] = exchange(rng, some, film, group)
    return out


def _permute(
    y: NDArray[np.float64], prediction: NDArray[np.float64], at: NDArray[np.int64],
    members: NDArray[np.int64], fold: NDArray[np.int64], orders: NDArray[np.int32], wide: float,
) -> NDArray[np.float64]:  # fmt: skip
    """P of some neuroids, `members`, that have all these rows, `at`, from orders under the null."""
    rows = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    fixed = bool((orders == np.arange(len(fold))).all())  # nothing can be exchanged
    p = np.empty(len(members))
    for cut in blocks(len(members), BLOCK):
        zy, zp = np.empty((2, len(fold), len(members[cut])))
        for some in rows:  # the sum of products is then the sum of the folds' r
            here = np.ix_(at[some], members[cut])
            zy[some], zp[some] = standardise(y[here]), standardise(prediction[here])
        observed = np.einsum("nv,nv->v", zy, zp) / wide
        above = np.zeros(zy.shape[1])
        for order in orders:
            above += fixed | (np.einsum("nv,nv->v", zy[order], zp) >= observed - EQUAL)
        p[cut] = np.where(np.isfinite(observed), (1 + above) / (1 + len(orders)), np.nan)
    return p


def exchange(
    rng: np.random.Generator,
    members: NDArray[np.int64],
    film: ArrayLike | None,
    group: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Exchange rows under the null: shuffled, each film shifted in a circle, or groups as wholes.

    Groups change places with groups of the same size, which keeps the rate of false positives; one of a size
    of its own stays where it is.

    Parameters
    ----------
    rng : Generator
    members : int array
        Rows of one fold; of running stimuli in order of time.
    film, group : arrays of shape (n_rows,) or None
        Of all rows.

    Returns
    -------
    int array of the shape of `members`
    """
    if film is not None:
        out = members.copy()
        here = np.asarray(film)[members]
        for name in np.unique(here):
            run = np.flatnonzero(here == name)
            out[run] = np.roll(members[run], rng.integers(len(run)))
        return out
    if group is None:
        return rng.permutation(members)
    out = members.copy()
    number, size = np.unique(np.asarray(group)[members], return_inverse=True, return_counts=True)[1:]
    for n in np.unique(size):  # (n_groups, n) places of groups of this size
        places = np.stack([np.flatnonzero(number == k) for k in np.flatnonzero(size == n)])
        out[places] = members[rng.permuted(rng.permutation(places), axis=1)]
    return out


def widening(
    stimulus: ArrayLike,
    rows: list[NDArray[np.int64]],
    n_stimuli: int | None = None,
    *,
    together: bool = False,
) -> float:
    """Return the factor by which correlation between folds can widen the null of their mean.

    A linear prediction is a sum over pairs: response of test stimulus i times response of training stimulus j
    times their similarity in the features. A pair (i, j) enters in each of the c_ij folds that part it. Where
    the features say the same of a pair in every fold, as ridge nearly does, its terms add up in step: the
    variance of the sum is sum of c² over sum of c times what it would be if folds were independent; by
    Cauchy and Schwarz it is no larger where they do not. One fold: 1. Each stimulus tested once: c is 2, the
    variance doubles. K repeated draws of a share f: about 1 + 2 f (1 - f) (K - 1).

    Where a stimulus is drawn or exchanged in all its folds together, that already holds what it does as a
    test stimulus of several: with a_ij folds that test i and train j, c_ij = a_ij + a_ji, the variance is sum
    of c² over pairs over sum of a² over ordered pairs, at most 2, as where each is as often tested.

    Parameters
    ----------
    stimulus : array of shape (n_rows,)
    rows : list of int arrays
        Of each fold.
    n_stimuli : int, optional
        As in `permutation_p`.
    together : bool
        A stimulus moves in all folds at once.

    Returns
    -------
    float
        Of the standard deviation.
    """
    ids, at = np.unique(np.asarray(stimulus), return_inverse=True)
    tested = np.zeros((len(rows), len(ids)))
    for mark, members in zip(tested, rows, strict=True):
        mark[at[members]] = 1
    untested = (n_stimuli or len(ids)) - len(ids)
    tested, number = np.unique(tested, axis=1, return_counts=True)  # stimuli of the same folds are alike
    times = tested.sum(0)
    pairs = squares = 0.0
    for cut in columns(len(times), len(times)):  # folds in which one is tested, the other trained
        both = tested[:, cut].T @ tested
        apart = times[cut, None] + times - 2 * both
        alone = (times[cut, None] - both) ** 2 if together else apart / 2
        pairs += number[cut] @ alone @ number
        squares += number[cut] @ apart**2 @ number / 2
    if not pairs:  # what they are parted from is among the others
        untested = max(1, untested)
    # untested ones are parted from i when i is tested
    pairs += untested * number @ (times**2 if together else times)
    squares += untested * number @ times**2
    return float(np.sqrt(squares / pairs))
