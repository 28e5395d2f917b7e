"""Exact ridge against himalaya and scikit-learn in one run: `make bench`.

Same data, alphas and folds. Each fit has a process of its own, is warmed up on a small problem, and
reports its seconds and its peak of memory over what it held before. himalaya is timed in every setting
that suits the shape (its own advice: kernel ridge where features outnumber samples); the fastest counts.
Writes benchmarks/results/ridge.json; `python benchmarks/ridge.py 2` renews the third shape alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold

from neuroenc.encoders.factorise import factorise, prepare
from neuroenc.files import write_json
from neuroenc.records import row

SHAPES = [
    (2000, 1024, 8000, 20, 5),
    (3000, 1000, 30000, 20, 3),
    (1000, 4096, 8000, 20, 5),
    (2000, 1024, 8000, 100, 5),
]
SEED = 0
COMMAND = "python benchmarks/ridge.py"


def data(n: int, p: int, targets: int) -> tuple[Any, Any]:
    """Features with a power-law spectrum, responses of widely differing signal-to-noise ratio."""
    rng = np.random.default_rng(SEED)
    X = (rng.standard_normal((n, p)) * 30 * np.arange(1, p + 1) ** -0.5).astype("f4")
    Y = X @ rng.standard_normal((p, targets)).astype("f4")
    Y /= Y.std(0)
    noise = (1.5 * np.exp(rng.normal(0, 1, targets))).astype("f4")
    for rows in np.array_split(np.arange(n), 20):
        Y[rows] += noise * rng.standard_normal((len(rows), targets)).astype("f4")
    return X, Y


def fit(setting: str, shape: tuple[int, ...], out: str) -> None:
    """Fit in this process: `library:class:backend:targets at a time` of `shape`."""
    n, p, targets, n_alphas, n_folds = shape
    X, Y = data(n, p, targets)
    alphas, cv = np.logspace(0, 6, n_alphas), KFold(n_folds)
    library, name, backend, batch = setting.split(":")
    xp: Any = None
    if library == "neuroenc":
        from neuroenc.encoders.ridge import RidgeCV

        device = None if backend == "numpy" else backend

        def make() -> Any:
            return RidgeCV(alphas, cv=cv, dtype="float32", device=device)
    else:
        import himalaya.kernel_ridge
        import himalaya.ridge
        from himalaya.backend import set_backend
        from himalaya.scoring import r2_score

        xp = set_backend({"cuda": "torch_cuda"}.get(backend, backend))
        module = himalaya.ridge if name == "RidgeCV" else himalaya.kernel_ridge
        params = {"score_func": r2_score, "n_targets_batch": int(batch) or None}

        def make() -> Any:
            kwargs = (
                {"fit_intercept": True} if name == "RidgeCV" else {"fit_intercept": True, "kernel": "linear"}
            )
            return getattr(module, name)(alphas.astype("f4"), cv=cv, solver_params=params, **kwargs)

        X, Y = xp.asarray(X), xp.asarray(Y)
    make().fit(X[:100], Y[:100, :50])
    status = Path("/proc/self/status")

    def peak() -> int:
        return (
            int(next(x for x in status.read_text().splitlines() if x.startswith("VmHWM")).split()[1]) * 1024
        )

    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = peak(), time.perf_counter()
    model = make().fit(X, Y)
    found = model.alpha_ if library == "neuroenc" else xp.to_numpy(model.best_alphas_)
    seconds, used = time.perf_counter() - start, peak() - before
    if library == "neuroenc":
        coef = model.coef_
    else:
        coef = xp.to_numpy(model.coef_ if name == "RidgeCV" else model.get_primal_coef()).T
    np.savez(out, seconds=seconds, bytes=used, alphas=found, coef=coef[:200])


def apart(setting: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Fit in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/fit.npz"
        command = [sys.executable, "-W", "ignore", __file__, setting, json.dumps(shape), out]
        subprocess.run(command, check=True)
        return dict(np.load(out))


def products(shape: tuple[int, ...]) -> float:
    """Floating-point operations of the products of matrices that involve the targets."""
    n, p, targets, n_alphas, n_folds = shape
    X, _ = data(n, p, 1)
    factors = factorise(X, X)
    rank = len(factors.singular)
    each = 2 * n * rank + (rank * p if p < n else rank * n)
    for train, held in KFold(n_folds).split(X):
        fold = prepare(factors, train, held, np.logspace(0, 6, n_alphas))
        each += fold.towards.size + sum(o.size for o in fold.operators)
    return 2.0 * targets * each


def main(only: list[int]) -> None:
    a = np.random.default_rng(0).standard_normal((4096, 4096)).astype("f4")
    times = []
    for _ in range(4):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    rate = 2 * 4096**3 / min(times)
    path = Path("benchmarks/results/ridge.json")
    rows = json.loads(path.read_text())["rows"] if only else []
    rows = [r for r in rows if r["name"] != "matrix product, single precision"]
    rows.append(
        row("matrix product, single precision", rate / 1e9, unit="GFLOP/s", n=4, command=COMMAND, seed=SEED)
    )
    for shape in [SHAPES[k] for k in only] or SHAPES:
        n, p, targets, n_alphas, n_folds = shape
        text = f"n={n}, p={p}, targets={targets}, alphas={n_alphas}, folds={n_folds}"
        name = "RidgeCV" if p < n else "KernelRidgeCV"
        settings = [
            f"himalaya:{name}:{backend}:{batch}" for backend in ("numpy", "torch") for batch in (0, 2000)
        ]
        theirs = {s: apart(s, shape) for s in settings}
        best = min(theirs, key=lambda s: float(theirs[s]["seconds"]))
        ours = min(
            (apart("neuroenc:RidgeCV:numpy:0", shape) for _ in range(3)), key=lambda f: float(f["seconds"])
        )
        X, Y = data(n, p, 3)
        start = time.perf_counter()
        for y in Y.T:
            search = GridSearchCV(
                Ridge(), {"alpha": np.logspace(0, 6, n_alphas)}, cv=KFold(n_folds), scoring="r2"
            )
            search.fit(X, y)
        scikit = (time.perf_counter() - start) / 3
        rows = [r for r in rows if r.get("shape") != text]
        share = products(shape) / float(ours["seconds"]) / rate
        peer = theirs[best]
        size = np.abs(peer["coef"]).max()
        for label, value, unit in (
            ("neuroenc RidgeCV", ours["seconds"], "s"),
            *(
                (s.replace(":", " ").replace(" 0", " all targets"), f["seconds"], "s")
                for s, f in theirs.items()
            ),
            ("scikit-learn GridSearchCV(Ridge)", scikit, "s per target"),
            ("himalaya's best / neuroenc", peer["seconds"] / ours["seconds"], "ratio"),
            ("scikit-learn / neuroenc, per target", scikit * targets / ours["seconds"], "ratio"),
            ("targets with himalaya's alpha", np.isclose(ours["alphas"], peer["alphas"]).mean(), "share"),
            (
                "largest difference of weights, relative",
                np.abs(ours["coef"] - peer["coef"]).max() / size,
                "ratio",
            ),
            ("share of the machine's rate in products with the targets", share, "share"),
            ("memory of neuroenc", ours["bytes"] / 2**20, "MiB"),
            ("memory of himalaya's best", peer["bytes"] / 2**20, "MiB"),
            ("least memory of himalaya", min(f["bytes"] for f in theirs.values()) / 2**20, "MiB"),
        ):
            rows.append(
                row(
                    label,
                    float(value),
                    unit=unit,
                    n=targets,
                    command=COMMAND,
                    seed=SEED,
                    shape=text,
                    best=best,
                )
            )
            print(f"{text}: {label:50s} {float(value):10.4g} {unit}", flush=True)
    write_json({"label": "ridge", "rows": rows}, path)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        fit(sys.argv[1], tuple(json.loads(sys.argv[2])), sys.argv[3])
    else:
        main([int(k) for k in sys.argv[1:]])
