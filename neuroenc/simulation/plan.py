"""What an experiment can be expected to find: its design, simulated and scored as its data would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import ranking
from neuroenc.config import Plan
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.evaluation.ceilings import ceiling
from neuroenc.evaluation.identification import pattern_similarity, standardise_by
from neuroenc.evaluation.permutation import permutation_p
from neuroenc.evaluation.scores import normalised_r, pearson_r
from neuroenc.evaluation.statistics import fdr
from neuroenc.figures import style

Floats = NDArray[np.float64]
NOISE_PATTERNS = 20
LEVEL, THRESHOLD = 0.05, 0.05  # of q, and of the ceiling: what `evaluation` takes where it is not told
ON_A_CURVE = 3  # experiments at each point
METRICS = {
    "r": "mean test r, voxels without signal among them",
    "normalised_r": "mean r over the root of the ceiling that is estimated from the repeats",
    "ceiling": "mean root of that ceiling: the r of a perfect model",
    "significant": "share of voxels with q < 0.05",
    "top1": "brain to image, among the test pictures",
}


def make_plan(design: Plan, *, curves: bool = True) -> dict[str, Any]:
    """Simulate a design, and others around it.

    Parameters
    ----------
    design : Plan
    curves : bool
        Also vary pictures, repeats, and repeats at the same number of trials.

    Returns
    -------
    dict
        `design`, `metrics`, `rows` of the design and `curves`: for each metric mean, `low` and `high`, the
        95 % of single experiments that lie between; None where it is not defined.
    """
    asked = _summary(design, design.experiments)
    points = []
    if curves:
        for curve, other in tqdm(_around(design), "designs", disable=None, delay=2):
            some = asked if other == design else _summary(other, ON_A_CURVE)
            x = other.pictures if curve == "pictures" else other.repeats
            points += [{"curve": curve, "x": x, "pictures": other.pictures, **row} for row in some]
    return {"design": design.model_dump(), "metrics": METRICS, "rows": asked, "curves": points}


def _around(design: Plan) -> list[tuple[str, Plan]]:
    pictures = sorted({max(20, round(design.pictures * f)) for f in (0.25, 0.5, 1, 2)})
    repeats = sorted({1, 2, design.repeats, 2 * design.repeats})
    trials = design.pictures * (design.train_repeats or design.repeats)
    return [
        *(("pictures", design.model_copy(update={"pictures": n})) for n in pictures),
        *(("repeats", design.model_copy(update={"repeats": k})) for k in repeats),
        *(
            (
                "trials",
                design.model_copy(
                    update={"pictures": max(20, trials // k), "repeats": k, "train_repeats": None}
                ),
            )
            for k in repeats
        ),
    ]


def _summary(design: Plan, n: int) -> list[dict[str, Any]]:
    """Simulate some experiments of a design; a row for each metric."""
    seeds = np.random.SeedSequence(design.seed).spawn(n)
    found = [simulate_experiment(design, np.random.default_rng(s)) for s in seeds]
    rows = []
    for metric in METRICS:
        values = np.array([f[metric] for f in found])
        known = np.isfinite(values).all()
        mean, low, high = (
            (values.mean(), *np.quantile(values, [0.025, 0.975])) if known else (None, None, None)
        )
        rows.append({
            "metric": metric, "mean": None if mean is None else float(mean),
            "low": None if low is None else float(low), "high": None if high is None else float(high), "n": n,
        })  # fmt: skip
    return rows


def simulate_experiment(design: Plan, rng: np.random.Generator) -> dict[str, float]:
    """Simulate one subject, fit ridge, and score it as `evaluate score` and `decode match` do.

    A presentation is signal + noise. Of the signal, of variance ncsnr², the share `explained` is linear in
    the features; the rest varies between pictures in its own way. The noise has variance 1.

    Returns
    -------
    dict of metric to value
    """
    n_train, n_test, v = design.pictures, design.test_pictures, design.voxels
    repeats, train_repeats = design.repeats, design.train_repeats or design.repeats
    scale = 1 / np.sqrt(np.arange(1, design.features + 1))
    X = rng.normal(size=(n_train + n_test, design.features)) * scale
    weights = rng.normal(size=(design.features, v))
    weights /= np.sqrt(((weights * scale[:, None]) ** 2).sum(0))
    ncsnr = design.ncsnr * np.exp(design.ncsnr_spread * rng.normal(size=v))
    ncsnr[rng.random(v) < design.silent] = 0
    own = rng.normal(size=(n_train + n_test, v))
    signal = ncsnr * (np.sqrt(design.explained) * X @ weights + np.sqrt(1 - design.explained) * own)
    mixing = rng.normal(size=(NOISE_PATTERNS, v)) / np.sqrt(NOISE_PATTERNS)
    # a mean over repeats has the noise of one presentation, over the root of their number
    Y = signal[:n_train] + _noise(n_train, mixing, design.shared_noise, rng) / np.sqrt(train_repeats)
    trials = np.repeat(signal[n_train:], repeats, 0)
    trials += _noise(len(trials), mixing, design.shared_noise, rng)
    measured = trials.reshape(n_test, repeats, v).mean(1)
    model = RidgeCV(np.logspace(-2, 6, 17)).fit(X[:n_train], Y)
    predicted = model.predict(X[n_train:])
    r, one = pearson_r(measured, predicted), np.zeros(n_test)
    stimulus = np.repeat(np.arange(n_test), repeats)
    limit = ceiling(trials, stimulus, "ncsnr", np.full(v, np.nan))
    seed = int(rng.integers(2**31))
    p = permutation_p(measured, predicted, np.arange(n_test), one, n=design.n_permutations, seed=seed)
    seen, foretold = standardise_by(Y, measured, predicted)
    similarity = pattern_similarity(seen, foretold, model.best_score_)
    return {
        "r": _mean(r), "normalised_r": _mean(normalised_r(r, limit, threshold=THRESHOLD)[0]),
        "ceiling": _mean(np.sqrt(limit)), "significant": float((fdr(p) < LEVEL).mean()),
        "top1": float((ranking.ahead(similarity) == 0).mean()),
    }  # fmt: skip


def _noise(n: int, mixing: Floats, shared: float, rng: np.random.Generator) -> Floats:
    common = rng.normal(size=(n, len(mixing))) @ mixing
    alone = rng.normal(size=(n, mixing.shape[1]))
    return np.asarray(np.sqrt(shared) * common + np.sqrt(1 - shared) * alone)


def _mean(values: NDArray[Any]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def table(found: dict[str, Any]) -> str:
    """Write the rows of a plan as text."""
    d = found["design"]
    lines = [
        f"{d['pictures']} training and {d['test_pictures']} test pictures, {d['repeats']} repeats, "
        f"{d['voxels']} "
        f"voxels of ncsnr {d['ncsnr']:g} ({100 * d['silent']:.0f} % silent), features explain "
        f"{100 * d['explained']:.0f} % of the signal",
        f"{'':<14}{'mean':>7}  95 % of experiments",
    ]
    for row in found["rows"]:
        if row["mean"] is None:
            lines.append(f"{row['metric']:<14}{'–':>7}  needs repeats")
        else:
            lines.append(f"{row['metric']:<14}{row['mean']:7.3f}  {row['low']:.3f} to {row['high']:.3f}")
    return "\n".join(lines)


def draw_curves(found: dict[str, Any], path: str | Path) -> None:
    """Draw what is expected over pictures, over repeats, and over repeats at the same number of trials."""
    titles = {
        "pictures": "training pictures", "repeats": "repeats, same pictures", "trials": "repeats, same trials"
    }  # fmt: skip
    fig, axes = style.figure(1, 3, figsize=(10.5, 3.3), sharey=True)
    for ax, (curve, title) in zip(axes, titles.items(), strict=True):
        for colour, metric in zip(style.COLOURS, METRICS, strict=False):
            rows = [r for r in found["curves"] if r["curve"] == curve and r["metric"] == metric]
            rows = [r for r in rows if r["mean"] is not None]
            x = [r["x"] for r in rows]
            ax.plot(x, [r["mean"] for r in rows], "o-", ms=3.5, lw=1.2, color=colour, label=metric)
            ax.fill_between(
                x, [r["low"] for r in rows], [r["high"] for r in rows], color=colour, alpha=0.2, lw=0
            )
        ax.set_xscale("log")
        ticks = sorted({r["x"] for r in found["curves"] if r["curve"] == curve})
        ax.set_xticks(ticks, list(map(str, ticks)))
        ax.minorticks_off()
        ax.set_xlabel(title)
    axes[0].set_ylabel("expected")
    axes[-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    d = found["design"]
    fig.suptitle(
        f"{d['voxels']} voxels, ncsnr {d['ncsnr']:g}, {d['test_pictures']} test pictures; bands: single "
        f"experiments",
        fontsize=9,
    )
    style.save(fig, path)
