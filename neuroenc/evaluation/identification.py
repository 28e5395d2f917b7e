"""Which picture was seen? Measured responses against the responses an encoder predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import blocks, columns
from neuroenc.errors import InputError
from neuroenc.ranking import ahead, square
from neuroenc.real import varies

SIMILARITY_BYTES = 2**29  # of the similarities that are held at a time
FEWEST = 3  # neuroids, by weight, whose pattern has a correlation worth the name


def cosine(decoded: ArrayLike, true: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine of each decoded embedding (row) with each true one (column).

    Parameters
    ----------
    decoded, true : arrays of shape (n, n_features), (m, n_features)
        The cosine with nothing but zeros is 0.

    Raises
    ------
    InputError
        Of other widths.
    """
    a, b = (np.asarray(v, np.float64) for v in (decoded, true))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(
            f"Embeddings have shapes {a.shape} and {b.shape}, expected (n, n_features) of one width."
        )
    length = [np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]
    a, b = (v / np.where(n == 0, 1, n) for v, n in zip((a, b), length, strict=True))
    return np.asarray(a @ b.T)


def pattern_similarity(
    measured: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Correlate patterns over neuroids (Kay et al. 2008, with weights).

    Of one neuroid there is no correlation, and of two it is 1 or -1: where the weights leave fewer than three
    neuroids in effect, (sum of w)² / sum of w² (Kish 1965), patterns are compared by their distance instead,
    which is the rank by the one value.

    Parameters
    ----------
    measured, predicted : arrays of shape (n_stimuli, n_neuroids)
        Standardised per neuroid by the *training* responses: statistics of the test set would be
        transductive.
    weight : array of shape (n_neuroids,), optional
        Weight of each neuroid, e.g. its validation R2; below 0 and not finite count as 0.

    Returns
    -------
    ndarray of shape (n_stimuli, n_stimuli)
        Row: measured, column: predicted. Correlations, or distances squared and negative; NaN where no
        neuroid has weight.
    """
    a, b = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    patterns = Patterns(lambda cut: (a[:, cut], b[:, cut]), (len(a), a.shape[1]), weight)
    if patterns.total == 0:
        return np.full((len(a), len(b)), np.nan)
    return patterns.similarity(slice(0, len(a)))


def own_rank(
    measured: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None
) -> NDArray[np.int64] | None:
    """Count the predictions that are more like each measured pattern than its own (`ranking.ahead`).

    Parameters
    ----------
    measured, predicted, weight
        As in `pattern_similarity`, whose result is made and ranked in blocks of rows.

    Returns
    -------
    int array of shape (n_stimuli,)
        None where no pattern can be compared.
    """
    a, b = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    return Patterns(lambda cut: (a[:, cut], b[:, cut]), (len(a), a.shape[1]), weight).own_rank()


def top_k(similarity: ArrayLike, k: int) -> float:
    """Share of patterns whose own is among the `k` most similar; chance is k / n_stimuli.

    Parameters
    ----------
    similarity : array of shape (n_stimuli, n_stimuli)
        As `pattern_similarity` returns it. Of equal values the own counts as the last, behind it what is not
        a number.
    k : int

    Raises
    ------
    InputError
        No square matrix.
    """
    return float((ahead(square(similarity)) < k).mean())


class Patterns:
    """Measured patterns and those predicted of the same stimuli, read in blocks of neuroids.

    Parameters
    ----------
    read : callable
        From a slice of neuroids to (measured, predicted), each (n_stimuli, n_in_slice), as in
        `pattern_similarity`; called repeatedly.
    shape : (n_stimuli, n_neuroids)
    weight : array of shape (n_neuroids,), optional
    """

    def __init__(
        self, read: Callable[[slice], Sequence[NDArray[np.float64]]], shape: tuple[int, int],
        weight: ArrayLike | None = None,
    ) -> None:  # fmt: skip
        self.read, self.n = read, shape[0]
        w = np.ones(shape[1]) if weight is None else np.asarray(weight, np.float64)
        w = np.where(np.isfinite(w) & (w > 0), w, 0)
        self.weight = w / (w.max(initial=0) or 1)
        self.cuts = columns(2 * shape[0], shape[1])
        centre = np.zeros((2, shape[0]))
        for cut in self.cuts:
            a, b = read(cut)
            here = np.isfinite(a).all(0) & np.isfinite(b).all(0)
            self.weight[cut] *= here
            w = self.weight[cut][here]
            centre += [a[:, here] @ w, b[:, here] @ w]
        self.total = self.weight.sum()
        # where few neuroids count patterns are not centred, but compared by their distance
        self.few = self.total**2 < (FEWEST - 1e-9) * (self.weight**2).sum()
        self.centre = np.zeros_like(centre) if self.few or not self.total else centre / self.total

    def similarity(self, rows: slice) -> NDArray[np.float64]:
        """Compare some measured patterns with all predicted ones, (n_rows, n_stimuli)."""
        product = np.zeros((rows.stop - rows.start, self.n))
        power, other = np.zeros(len(product)), np.zeros(self.n)
        for cut in self.cuts:
            here = self.weight[cut] > 0
            root = np.sqrt(self.weight[cut][here] / self.total)
            a, b = (
                (x[:, here] - m[:, None]) * root for x, m in zip(self.read(cut), self.centre, strict=True)
            )
            product += a[rows] @ b.T
            power += np.einsum("ij,ij->i", a[rows], a[rows])
            other += np.einsum("ij,ij->i", b, b)
        if self.few:
            return 2 * product - power[:, None] - other
        return np.asarray(product / _size(power)[:, None] / _size(other))

    def own_rank(self) -> NDArray[np.int64] | None:
        """As the function of this name."""
        if not self.total:
            return None
        rows = blocks(self.n, max(1, SIMILARITY_BYTES // (8 * self.n)))
        rank, comparable = [], False
        for cut in rows:
            similarity = self.similarity(cut)
            comparable |= bool(np.isfinite(similarity).any())
            rank.append(ahead(similarity, cut.start))
        return np.concatenate(rank) if comparable else None


def standardise_by(train: ArrayLike, *values: ArrayLike) -> list[NDArray[np.float64]]:
    """Standardise by the training responses; a missing value stands at their mean, which says nothing.

    Parameters
    ----------
    train : array of shape (n_training, n_neuroids)
    *values : arrays of shape (n, n_neuroids)

    Returns
    -------
    list of arrays of the shapes of `values`
        NaN for neuroids that have no value or do not vary in training.
    """
    rows = np.asarray(train)
    centre, scale = np.full((2, rows.shape[1]), np.nan)
    for cut in columns(*rows.shape):
        x = np.array(rows[:, cut], np.float64)
        vary = varies(rows[:, cut])
        here = np.isfinite(x)
        x[~here] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            centre[cut] = x.sum(0) / here.sum(0)
            x -= centre[cut]
            x[~here] = 0
            scale[cut] = np.where(vary, np.sqrt((x**2).sum(0) / here.sum(0)), np.nan)
    out = []
    for v in values:
        z = np.array(v, np.float64)
        z -= centre
        z /= scale
        some = np.isfinite(z)
        z[~some & some.any(0)] = 0
        out.append(z)
    return out


def _size(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the power of patterns; NaN where a pattern is flat."""
    return np.sqrt(np.where(power > 0, power, np.nan))
