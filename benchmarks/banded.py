"""Banded ridge against himalaya on the same candidates: `python benchmarks/banded.py`.

n=1500, three spaces of 300, 4,000 targets, 12 alphas, 5 folds, 20 candidates; scores on 500 samples of their
own. Each of himalaya's settings has one run in this process; the fastest counts. Writes
benchmarks/results/banded.json.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from himalaya.backend import set_backend
from himalaya.kernel_ridge import MultipleKernelRidgeCV
from himalaya.ridge import GroupRidgeCV
from himalaya.scoring import r2_score as himalaya_score
from sklearn.model_selection import KFold

from neuroenc.encoders.banded import BandedRidgeCV
from neuroenc.encoders.banded_search import candidates
from neuroenc.evaluation.scores import r2_score
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND, SEED = "python benchmarks/banded.py", 0
N, SPACES, WIDTH, TARGETS, ALPHAS, FOLDS = 1500, 3, 300, 4000, np.logspace(0, 6, 12), KFold(5)


def main() -> None:
    warnings.filterwarnings("ignore")
    rng = np.random.default_rng(SEED)
    spaces = [rng.standard_normal((N + 500, WIDTH)).astype("f4") for _ in range(SPACES)]
    share = np.sqrt(rng.dirichlet(np.full(SPACES, 0.3), TARGETS).T)
    Y = sum(
        (x @ rng.standard_normal((WIDTH, TARGETS)) / WIDTH**0.5) * s
        for x, s in zip(spaces, share, strict=True)
    )
    Y = (Y + rng.standard_normal(Y.shape)).astype("f4")
    X, gammas = np.hstack(spaces), candidates(SPACES, 20, SEED).astype("f4")
    found = {}
    times = []
    for _ in range(2):
        start = time.perf_counter()
        ours = BandedRidgeCV(ALPHAS, bands=np.repeat(range(SPACES), WIDTH), cv=FOLDS).fit(X[:N], Y[:N])
        times.append(time.perf_counter() - start)
    found["neuroenc"] = (min(times), float(r2_score(Y[N:], ours.predict(X[N:])).mean()))
    for backend in ("numpy", "torch"):
        xp = set_backend(backend)
        params = {"n_iter": xp.asarray(gammas), "alphas": xp.asarray(ALPHAS.astype("f4")),
                  "score_func": himalaya_score, "progress_bar": False}  # fmt: skip
        start = time.perf_counter()
        model = GroupRidgeCV(
            groups="input", cv=FOLDS, fit_intercept=True, solver_params=params | {"warn": False}
        )
        model.fit([xp.asarray(x[:N]) for x in spaces], xp.asarray(Y[:N]))
        seconds = time.perf_counter() - start
        predicted = xp.to_numpy(model.predict([xp.asarray(x[N:]) for x in spaces]))
        found[f"himalaya GroupRidgeCV {backend}"] = (seconds, float(r2_score(Y[N:], predicted).mean()))
        start = time.perf_counter()
        kernels = xp.asarray(np.stack([x[:N] @ x[:N].T for x in spaces]))
        multiple = MultipleKernelRidgeCV(
            kernels="precomputed", solver="random_search", cv=FOLDS, solver_params=params
        )
        multiple.fit(kernels, xp.asarray(Y[:N]))
        seconds = time.perf_counter() - start
        predicted = xp.to_numpy(multiple.predict(xp.asarray(np.stack([x[N:] @ x[:N].T for x in spaces]))))
        found[f"himalaya MultipleKernelRidgeCV {backend}"] = (
            seconds,
            float(r2_score(Y[N:], predicted).mean()),
        )
    peers = {k: v for k, v in found.items() if k != "neuroenc"}
    best = min(peers, key=lambda k: peers[k][0])
    highest = max(v[1] for v in peers.values())
    text = f"n={N}, {SPACES} spaces of {WIDTH}, targets={TARGETS}, alphas=12, folds=5, candidates=20"
    rows = [
        row(name, value, unit=unit, n=TARGETS, command=COMMAND, seed=SEED, shape=text, best=best)
        for name, value, unit in (
            *((k, v[0], "s") for k, v in found.items()),
            *((f"{k}, mean test R2", v[1], "R2") for k, v in found.items()),
            ("himalaya's fastest / neuroenc", peers[best][0] / found["neuroenc"][0], "ratio"),
            ("neuroenc less himalaya's highest mean test R2", found["neuroenc"][1] - highest, "R2"),
        )
    ]  # fmt: skip
    write_json({"label": "banded", "rows": rows}, "benchmarks/results/banded.json")
    for r in rows:
        print(f"{r['name']:52s} {r['value']:9.4f} {r['unit']}")


if __name__ == "__main__":
    main()
