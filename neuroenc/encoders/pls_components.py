"""Components of partial least squares from cross-products: features are read once or twice, in blocks.

With X and Y centred, component k has the weights w = argmax ||Y_k' X_k w||, ||w|| = 1, the dominant left
singular vector of X_k' Y_k, and the scores t = X_k w; what t explains is taken off both. That is what NIPALS
converges to. With fewer features than rows it needs X'X and X'Y alone (Dayal and MacGregor 1997, J.
Chemometrics 11, 73), else XX' and Y (Rannar et al. 1994, J. Chemometrics 8, 111). Rows are counted by a
weight, how often a fold is fitted to them, so that all folds share the products.

Held are the lower half of the smaller Gram matrix, in double precision never more than X in single, and an
array of min(n, p) by targets. Vectors that are iterated are rows: products with these read a matrix fastest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.blocks import BLOCK_BYTES, blocks, columns
from neuroenc.encoders.factorise import read
from neuroenc.encoders.solvers import LIBRARY_BYTES

Floats = NDArray[Any]
EXACT = np.zeros(0)
ROUNDING = float(np.finfo(np.float64).eps)
STRIPS = 16  # of half a Gram matrix
WIDTH = 8  # vectors that are iterated together: a product with them takes what one with a single takes
MOST = 10  # blocks of them before the best ones start again
TOLERANCE = 1e-8  # of the eigenvalue: how far an eigenvector may be from one
N_PRODUCTS = 60  # until the last components, which rounding blurs, are taken as they are


class Components(NamedTuple):
    """Predictions are (x - x_mean) rotation' loading + y_mean."""

    rotation: Floats
    """(k, p) or, of fewer rows than features, (k, n): what the centred rows are summed with to give it"""
    loading: Floats
    """(k, n_targets)"""
    x_mean: Floats
    """(p,) less `OfColumns.shift`, or (k,) the means of the scores of rows"""
    y_mean: Floats


class Symmetric:
    """A symmetric matrix, of which strips of the lower half are held.

    Parameters
    ----------
    n : int
        Rows.
    """

    def __init__(self, n: int) -> None:
        self.cuts = blocks(n, max(64, -(-n // STRIPS)))
        self.strips = [np.zeros((cut.stop - cut.start, cut.stop)) for cut in self.cuts]

    def add(self, rows: Floats, weight: Floats | float = 1.0) -> None:
        """Add rows' diag(weight) rows."""
        for cut, strip in zip(self.cuts, self.strips, strict=True):
            strip += (rows[:, cut].T * weight) @ rows[:, : cut.stop]

    def times(self, vectors: Floats) -> Floats:
        """Multiply vectors, which are rows."""
        out = np.zeros(vectors.shape)
        for cut, strip in zip(self.cuts, self.strips, strict=True):
            out[:, cut] += vectors[:, : cut.stop] @ strip.T
            out[:, : cut.start] += vectors[:, cut] @ strip[:, : cut.start]
        return out


def cross_products(X: Any, Y: Floats) -> OfColumns | OfRows:
    """Read X once and return what components are made of.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        In memory or read in parts.
    Y : array of shape (n_samples, n_targets)
    """
    return OfColumns(X, Y) if X.shape[1] < X.shape[0] else OfRows(X, Y)


class OfColumns:
    """X'X and X'Y, of fewer features than rows."""

    def __init__(self, X: Any, Y: Floats) -> None:
        n, p = X.shape
        self.X, self.Y = X, Y
        self.gram, self.cross = Symmetric(p), np.zeros((p, Y.shape[1]))
        self.weight, self.sums = np.zeros(n, np.int64), np.zeros(p)
        # sums are taken off an early guess of the mean, so that nothing large cancels
        self.shift = read(X, slice(0, self._size), EXACT).mean(0)
        self.level = Y.mean(0, dtype=float)
        self._count(np.ones(n, np.int64))

    @property
    def _size(self) -> int:
        return max(1, BLOCK_BYTES // (8 * self.X.shape[1]))

    def _count(self, weight: NDArray[np.int64]) -> None:
        """Bring the sums to rows that count so often: what changes is read."""
        change = weight - self.weight
        rows = np.flatnonzero(change)
        for cut in blocks(len(rows), self._size):
            mine = rows[cut]
            part, by = self._rows(mine), change[mine].astype(float)
            self.sums += by @ part
            self.gram.add(part, by)
            part *= by[:, None]
            for t in columns(max(part.shape), self.Y.shape[1]):
                self.cross[:, t] += part.T @ (read(self.Y, (mine, t), EXACT) - self.level[t])
        self.weight = weight

    def _rows(self, rows: Any) -> Floats:
        return np.asarray(read(self.X, rows, EXACT)) - self.shift

    def fit(self, weight: NDArray[np.int64], n_components: int) -> Components:
        """Find components of rows that count so often.

        Parameters
        ----------
        weight : array of int, (n_samples,)
        n_components : int
            At most; fewer where nothing is left to explain.
        """
        self._count(weight)
        n, (p, q) = int(weight.sum()), self.cross.shape
        mean, level = self.sums / n, _weighted_mean(self.Y, weight) - self.level
        rotation = np.empty((0, p))
        # what is taken off X'Y: the product of the means, and what components explain
        taken, loading = n * mean[None], level[None]

        def down(vectors: Floats) -> Floats:
            return vectors @ self.cross.T - (vectors @ loading.T) @ taken

        def up(vectors: Floats) -> Floats:
            return vectors @ self.cross - (vectors @ taken.T) @ loading

        start, first = _start(q), 0.0
        for _ in range(n_components):
            start, value = leading(lambda v: up(down(v)), start)
            first = max(first, value)
            if value <= (max(p, q) * ROUNDING) ** 2 * first:
                break
            w = down(start[:1])
            w /= np.linalg.norm(w)
            w -= (w @ taken[1:].T) @ rotation
            image = self.gram.times(w) - (w @ mean) * n * mean
            size = np.sqrt(w @ image.T)  # of the scores
            rotation, found = np.concatenate([rotation, w / size]), up(w / size)
            taken, loading = np.concatenate([taken, image / size]), np.concatenate([loading, found])
        return Components(rotation, loading[1:], mean, level + self.level)

    def scores(self, found: Components, rows: NDArray[np.int64]) -> Floats:
        """Return the scores of some rows, (n_rows, k)."""
        parts = blocks(len(rows), self._size)
        return np.concatenate([(self._rows(rows[cut]) - found.x_mean) @ found.rotation.T for cut in parts])

    def linear(self, found: Components) -> tuple[Floats, Floats]:
        """Return the rotation of features, (k, p), and their mean, (p,)."""
        return found.rotation, found.x_mean + self.shift


class OfRows:
    """XX' and Y, of as many features as rows or more."""

    def __init__(self, X: Any, Y: Floats) -> None:
        n, p = X.shape
        self.X, self.kernel, self.mean = X, Symmetric(n), np.empty(p)
        for cut in columns(n, p):
            part = np.asarray(read(X, (slice(None), cut), EXACT))
            self.mean[cut] = part.mean(0)
            self.kernel.add((part - self.mean[cut]).T)
        self.level = Y.mean(0, dtype=float)
        self.Y = Y - self.level

    def fit(self, weight: NDArray[np.int64], n_components: int) -> Components:
        """Find components of rows that count so often, as `OfColumns.fit` does."""
        n, root = weight.sum(), np.sqrt(weight)
        level = _weighted_mean(self.Y, weight)
        basis, scores, loading = np.empty((0, len(root))), root[None], level[None]

        def down(vectors: Floats) -> Floats:
            return (vectors @ self.Y.T) * root - (vectors @ loading.T) @ scores

        def up(vectors: Floats) -> Floats:
            return (vectors * root) @ self.Y - (vectors @ scores.T) @ loading

        def kernel(vectors: Floats) -> Floats:
            return self.kernel.times(vectors * root) * root

        start, first = _start(len(level)), 0.0
        for _ in range(n_components):
            start, value = leading(lambda v: up(kernel(down(v))), start)
            first = max(first, value)
            if value <= len(root) * ROUNDING * first:
                break
            u = down(start[:1])
            score = kernel(u)
            score -= (score @ root) / n * root
            for _ in range(2):  # the second time for rounding's sake
                along = score @ scores[1:].T
                score, u = score - along @ scores[1:], u - along @ basis
            size = np.linalg.norm(score)
            basis, found = np.concatenate([basis, u / size]), up(score / size)
            scores, loading = np.concatenate([scores, score / size]), np.concatenate([loading, found])
        basis = basis * root
        return Components(basis, loading[1:], self.kernel.times(basis) @ weight / n, level + self.level)

    def scores(self, found: Components, rows: NDArray[np.int64]) -> Floats:
        """Return the scores of some rows, (n_rows, k)."""
        return np.asarray(self.kernel.times(found.rotation).T[rows] - found.x_mean)

    def linear(self, found: Components) -> tuple[Floats, Floats]:
        """Return the rotation of features, (k, p), of all rows, and their mean, (p,)."""
        rotation = np.empty((len(found.rotation), len(self.mean)))
        for cut in columns(*self.X.shape):
            part = read(self.X, (slice(None), cut), EXACT) - self.mean[cut]
            rotation[:, cut] = found.rotation @ part
        return rotation, self.mean


def leading(product: Callable[[Floats], Floats], start: Floats) -> tuple[Floats, float]:
    """Dominant eigenvectors of a symmetric matrix without negative eigenvalues, by block Lanczos.

    Parameters
    ----------
    product : callable
        Of the matrix with vectors, (k, m).
    start : array of shape (k, m)

    Returns
    -------
    vectors : array of shape (WIDTH, m) or fewer
        The first within `TOLERANCE`, the others what to start from when the matrix has changed a little.
    value : float
        Eigenvalue of the first.
    """
    basis = np.linalg.qr(start.T)[0].T
    image = product(basis)
    for step in range(N_PRODUCTS):
        small = image @ basis.T
        values, vectors = np.linalg.eigh((small + small.T) / 2)
        vectors, value = vectors[:, ::-1][:, :WIDTH].T, float(values[-1])
        best = vectors @ basis
        error = np.linalg.norm(vectors[0] @ image - value * best[0])
        if error <= TOLERANCE * value or step == N_PRODUCTS - 1:
            break
        further = image[-WIDTH:]
        if len(basis) >= MOST * WIDTH:
            basis, image = best, vectors @ image
            further = image
        for _ in range(2):  # the second time for rounding's sake
            further = further - (further @ basis.T) @ basis
            _, sizes, further = np.linalg.svd(further, full_matrices=False)
            further = further[sizes > sizes[0] * 1e-10]
        if not 0 < len(further) <= basis.shape[1] - len(basis):
            break
        basis, image = np.concatenate([basis, further]), np.concatenate([image, product(further)])
    return best, max(value, 0.0)


def _start(n_targets: int) -> Floats:
    """Vectors to start from, the same ones each time."""
    return np.random.default_rng(0).standard_normal((min(WIDTH, n_targets), n_targets))


def _weighted_mean(Y: Floats, weight: NDArray[np.int64]) -> Floats:
    """Mean of rows that count so often, in double precision."""
    return np.concatenate([weight @ Y[:, t].astype(float) for t in columns(*Y.shape)]) / weight.sum()


def forecast(n: int, p: int, n_targets: int, *, n_components: int = 25, n_folds: int = 5) -> int:
    """Forecast the bytes `PLS` takes at its peak, weights included, over what X and y occupy if in memory.

    Parameters
    ----------
    n, p, n_targets, n_components, n_folds : int
    """
    rank = min(n, p)
    held = 4 * rank**2 * (1 + 1 / STRIPS) + 8 * rank * n_targets
    vectors = 8 * n_components * (2 * n + 2 * p + 3 * n_targets)
    part = min(BLOCK_BYTES, 8 * n * p)
    reading = 3 * part + 2 * min(BLOCK_BYTES, 8 * p * n_targets) if p < n else 3.7 * part
    iterating = 8 * (2 * MOST + 4) * WIDTH * n_targets
    weights = 8 * p * n_targets
    scoring = weights + 6.2 * min(BLOCK_BYTES, 8 * -(-n // n_folds) * n_targets)
    return round(LIBRARY_BYTES + held + vectors + max(reading, weights + iterating, scoring))
