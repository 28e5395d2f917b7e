"""False positives and power of p over several folds: `python benchmarks/null.py`.

Ridge with its alpha chosen by leave-one-out on noise (and, for power, on a weak linear signal of the same
features) is fitted in every fold of several designs; p is that of `permutation_p`, with its null as it is, not
widened, and widened by the number of folds. Writes benchmarks/results/null.json.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.linalg import eigh

from neuroenc.evaluation import permutation
from neuroenc.evaluation.scores import pearson_r
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND = "python benchmarks/null.py"
ALPHAS = np.logspace(-1, 5, 10)
N_PERMUTATIONS, N_TARGETS, SIGNAL = 500, 2000, 0.05
DESIGNS = [  # kind, stimuli, folds, features
    ("one split", 100, 1, 40), ("random", 81, 2, 40), ("random", 81, 5, 40), ("random", 100, 5, 4),
    ("random", 100, 12, 40), ("random", 100, 12, 400), ("random", 1000, 5, 40),
    ("kfold", 81, 5, 40), ("kfold", 100, 10, 4), ("kfold", 100, 5, 400), ("kfold", 1000, 5, 40),
    ("groups", 96, 12, 40), ("film", 1000, 5, 40),
]  # fmt: skip


def fit_predict(X: np.ndarray, Y: np.ndarray, test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Ridge of each target with its own alpha, the best by exact leave-one-out."""
    centre, mean = X[train].mean(0), Y[train].mean(0)
    A, B = X[train] - centre, Y[train] - mean
    value, vector = eigh(A @ A.T)
    along = vector.T @ B
    errors = []
    for alpha in ALPHAS:
        shrink = 1 / (np.maximum(value, 0) + alpha)
        diagonal = (vector**2 @ shrink)[:, None]
        errors.append(((vector @ (shrink[:, None] * along) / diagonal) ** 2).sum(0))
    chosen = ALPHAS[np.argmin(errors, 0)]
    return (X[test] - centre) @ A.T @ (vector @ (along / (np.maximum(value, 0)[:, None] + chosen))) + mean


def design(kind: str, n: int, n_folds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Test rows of each fold."""
    if kind in ("random", "one split"):
        return [rng.permutation(n)[: n // 5] for _ in range(n_folds)]
    order = rng.permutation(n) if kind == "kfold" else np.arange(n)
    return list(np.array_split(order, n_folds))


def noise(kind: str, n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Columns of noise: neighbours in time alike for a film, members of a group alike for groups."""
    out = rng.normal(size=(n, k))
    if kind == "film":
        for t in range(1, n):
            out[t] = 0.8 * out[t - 1] + 0.6 * out[t]
    return out


def measure(kind: str, n: int, n_folds: int, n_features: int, seed: int = 0) -> dict[str, np.ndarray]:
    """P of each way to widen the null, for noise and for a signal, and r of the signal."""
    rng = np.random.default_rng(seed)
    out: dict[str, list[np.ndarray]] = {}
    for draw in range(10):  # features and folds are drawn anew, or all targets share their luck
        tests = design(kind, n, n_folds, rng)
        X = noise(kind, n, n_features, rng)
        Y = noise(kind, n, N_TARGETS // 10, rng)
        weak = X @ rng.normal(size=(n_features, Y.shape[1])) / np.sqrt(n_features)
        share = SIGNAL * 8 if n < 500 else SIGNAL
        for name, y in (("noise", Y), ("signal", np.sqrt(share) * weak + np.sqrt(1 - share) * Y)):
            gap = 20 if kind == "film" else 0
            predicted = []
            for t in tests:
                train = np.setdiff1d(np.arange(n), t)
                if gap:
                    train = train[(train < t.min() - gap) | (train > t.max() + gap)]
                predicted.append(fit_predict(X, y, t, train))
            rows, fold = np.concatenate(tests), np.repeat(np.arange(n_folds), [len(t) for t in tests])
            found, made = y[rows], np.concatenate(predicted)
            film = np.full(len(rows), "film") if kind == "film" else None
            ids = np.array([f"{i:05d}" for i in rows])
            right = permutation.widening
            for how, factor in (
                ("as it is", right), ("not widened", lambda *_: 1.0), ("by the number of folds", _old),
            ):  # fmt: skip
                permutation.widening = factor  # type: ignore[assignment]
                p = permutation.permutation_p(
                    found, made, ids, fold, film=film, n_stimuli=n, n=N_PERMUTATIONS, seed=draw
                )
                out.setdefault(f"{name}, {how}", []).append(p)
            permutation.widening = right
            r = np.mean([pearson_r(found[fold == f], made[fold == f]) for f in range(n_folds)], 0)
            out.setdefault(f"{name}, r", []).append(r)
    return {k: np.concatenate(v) for k, v in out.items()}


def _old(stimulus: np.ndarray, rows: list[np.ndarray], _: int | None = None) -> float:
    if len(rows) == 1:
        return 1.0
    return float(np.sqrt(2 if len(np.unique(stimulus)) == sum(map(len, rows)) else len(rows)))


def main() -> None:
    rows = []
    for kind, n, n_folds, n_features in DESIGNS:
        start = time.perf_counter()
        found = measure(kind, n, n_folds, n_features)
        about = {"design": kind, "stimuli": n, "folds": n_folds, "features": n_features}
        print(about, f"{time.perf_counter() - start:.0f} s, r of the signal {found['signal, r'].mean():.3f}")
        for how in ("as it is", "not widened", "by the number of folds"):
            values = {}
            for name, level in (("noise", 0.05), ("noise", 0.01), ("signal", 0.05), ("signal", 0.01)):
                share = float(np.nanmean(found[f"{name}, {how}"] <= level))
                values[name, level] = share
                rows.append(row(
                    "p at or below the level", share, unit="share", n=N_TARGETS, command=COMMAND, seed=0,
                    null=level, of=name, null_is=how, **about,
                ))  # fmt: skip
            print(f"  {how:24s}", " ".join(f"{k[0]} {k[1]}: {v:.3f}" for k, v in values.items()), flush=True)
    write_json({"rows": rows}, "benchmarks/results/null.json")


if __name__ == "__main__":
    main()
