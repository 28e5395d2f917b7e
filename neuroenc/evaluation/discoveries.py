"""How many of many tests are true discoveries, with confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def bounds(p: ArrayLike, opposite: ArrayLike, inside: NDArray[np.bool_], level: float) -> tuple[int, int]:
    """Give the least and the most effects among some tests, at once for any choice of them.

    Parameters
    ----------
    p : array of shape (n_tests,)
        Of an effect; NaN: not tested.
    opposite : array of shape (n_tests,)
        Of what excludes it, e.g. an effect of the other sign.
    inside : bool array of shape (n_tests,)
        Which are counted.
    level : float
        Each bound fails with at most this probability.

    Returns
    -------
    low, high : int
        At least `low` tests have the effect; at least as many as are missing to all have the opposite one.
    """
    p, opposite = np.asarray(p, np.float64), np.asarray(opposite, np.float64)
    known = np.isfinite(p)
    low = true_discoveries(p[known], inside[known], level)
    return low, int((inside & known).sum()) - true_discoveries(opposite[known], inside[known], level)


def true_discoveries(p: NDArray[np.float64], inside: NDArray[np.bool_], level: float) -> int:
    """Give a lower confidence bound of the number of false null hypotheses among some tests.

    d(S) = max over u of 1 - u + #{i in S: h p_i <= u level}, where h is the size of the largest set of tests
    that Simes' test does not reject, the i-th of whose ordered p then is above i level / h. It is closed
    testing by Simes (Goeman, Meijer, Krebs & Solari 2019), so it holds for all sets at once; the tests may
    depend on each other positively.

    Parameters
    ----------
    p : array of shape (n_tests,)
    inside : bool array of shape (n_tests,)
        The set S.
    level : float

    Returns
    -------
    int
    """
    ordered = np.sort(p)
    low, high = 0, len(p)  # sets that are not rejected stay so when they lose their smallest p
    while low < high:
        size = (low + high + 1) // 2
        largest = ordered[len(p) - size :]
        if (size * largest > level * np.arange(1, size + 1)).all():
            low = size
        else:
            high = size - 1
    mine = np.sort(p[inside])
    if low == 0:
        return len(mine)
    u = np.arange(1, len(mine) + 1)
    return int(np.max(1 - u + np.searchsorted(mine, u * level / low, side="right"), initial=0))
