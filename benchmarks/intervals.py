"""How often 95 % intervals over folds hold the true r: `python benchmarks/intervals.py`.

Ridge is refitted in each fold to 100 stimuli of 20 features that drive 15 targets, in 200 simulated experiments;
the truth is the mean r over all of them. Beside `bootstrap_r` a plain bootstrap of the folds, as up to 0.1.0.
Writes benchmarks/results/intervals.json and prints the table of docs/conventions.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

from neuroenc.evaluation.scores import pearson_r
from neuroenc.evaluation.statistics import bootstrap_r, per_fold
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND = "python benchmarks/intervals.py"
N, N_FEATURES, N_TARGETS, EXPERIMENTS = 100, 20, 15, 200
DESIGNS = {
    "2 folds": (2, 1),
    "3 folds": (3, 1),
    "5 folds": (5, 1),
    "10 folds": (10, 1),
    "5 folds, 3 times": (5, 3),
}


def experiment(seed: int, n_folds: int, repeats: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return r, our interval and that of the plain bootstrap, of each target."""
    rng = np.random.default_rng(seed)
    X, weight = rng.normal(size=(N, N_FEATURES)), rng.normal(size=(N_FEATURES, N_TARGETS))
    y = X @ (weight / np.linalg.norm(weight, axis=0)) + rng.normal(size=(N, N_TARGETS))
    tests = [
        order[k::n_folds] for order in (rng.permutation(N) for _ in range(repeats)) for k in range(n_folds)
    ]
    prediction = np.concatenate([
        Ridge(alpha=10.0).fit(np.delete(X, t, 0), np.delete(y, t, 0)).predict(X[t]) for t in tests
    ])  # fmt: skip
    ids, fold = np.concatenate(tests), np.repeat(np.arange(len(tests)), [len(t) for t in tests])
    ours = bootstrap_r(y[ids], prediction, ids, fold, {}, n=500, seed=seed)[0]
    r = per_fold(pearson_r, y[ids], prediction, fold)
    plain = np.quantile(r[rng.integers(len(r), size=(500, len(r)))].mean(1), [0.025, 0.975], axis=0)
    return r.mean(0), ours, plain


def main() -> None:
    rows = []
    print("| each stimulus tested | interval holds the truth | plain bootstrap of the folds |\n|---|---|---|")
    for name, (n_folds, repeats) in DESIGNS.items():
        r, ours, plain = map(
            np.array, zip(*(experiment(s, n_folds, repeats) for s in range(EXPERIMENTS)), strict=True)
        )
        held = [float(((i[:, 0] < r.mean()) & (r.mean() < i[:, 1])).mean()) for i in (ours, plain)]
        print(f"| {name} | {held[0]:.2f} | {held[1]:.2f} |", flush=True)
        rows += [
            row("coverage of a 95 % interval of r", value, unit="share", n=EXPERIMENTS * N_TARGETS, seed=0, null=None,
                command=COMMAND, folds=name, method=method)
            for value, method in zip(held, ("ours", "plain bootstrap of the folds"), strict=True)
        ]  # fmt: skip
    write_json({"label": "intervals", "rows": rows}, Path("benchmarks/results/intervals.json"))


if __name__ == "__main__":
    main()
