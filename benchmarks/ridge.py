"""Exact ridge against himalaya and scikit-learn in one run: `make bench`.

Same alphas, same folds, same scoring; the best of three timings each. Writes
benchmarks/results/ridge.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from himalaya.scoring import r2_score
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold

from neuroenc.encoders.ridge import RidgeCV
from neuroenc.files import write_json
from neuroenc.records import row

N, P, TARGETS, ALPHAS, FOLDS, SEED = 1500, 512, 2000, np.logspace(-1, 5, 12), 5, 0
COMMAND = "python benchmarks/ridge.py"


def seconds(fit: Callable[[], object]) -> tuple[float, object]:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        out = fit()
        times.append(time.perf_counter() - start)
    return min(times), out


def main() -> None:
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(N, P)).astype("f4")
    Y = (X @ rng.normal(size=(P, TARGETS)) * 0.1 + rng.normal(size=(N, TARGETS)) * 3).astype("f4")
    folds = KFold(FOLDS)
    shape = f"n={N}, p={P}, targets={TARGETS}, alphas={len(ALPHAS)}, folds={FOLDS}"
    ours, a = seconds(lambda: RidgeCV(ALPHAS, cv=folds).fit(X, Y))
    theirs, b = seconds(
        lambda: HimalayaRidgeCV(ALPHAS, cv=folds, fit_intercept=True,
                                solver_params={"score_func": r2_score}).fit(X, Y)
    )  # fmt: skip
    # scikit-learn chooses one alpha for all targets; per target it takes a search for each
    few = 20
    start = time.perf_counter()
    for t in range(few):
        GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=folds, scoring="r2").fit(X, Y[:, t])
    scikit = (time.perf_counter() - start) / few
    rows = [
        row(name, value, unit=unit, n=n, command=COMMAND, seed=SEED, shape=shape)
        for name, value, unit, n in (
            ("neuroenc RidgeCV", ours, "s", 3),
            ("himalaya RidgeCV, its defaults", theirs, "s", 3),
            ("neuroenc RidgeCV", ours / TARGETS, "s per target", 3),
            ("scikit-learn GridSearchCV(Ridge), one target at a time", scikit, "s per target", few),
            ("himalaya / neuroenc", theirs / ours, "ratio", 3),
            ("targets with himalaya's alpha", np.isclose(a.alpha_, b.best_alphas_).mean(), "share", TARGETS),
            ("largest difference of weights to himalaya, relative",
             np.abs(a.coef_.T - b.coef_).max() / np.abs(b.coef_).max(), "ratio", TARGETS),
        )
    ]  # fmt: skip
    write_json({"label": "ridge", "rows": rows}, "benchmarks/results/ridge.json")
    print(shape)
    for r in rows:
        print(f"{r['name']:62s} {r['value']:10.6g} {r['unit']}")


if __name__ == "__main__":
    main()
