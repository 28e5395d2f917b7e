"""Differences between encoders over subjects: rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import regions
from neuroenc.errors import ContractError
from neuroenc.evaluation.discoveries import bounds
from neuroenc.evaluation.statistics import fdr

Floats = NDArray[np.float64]
FEW = 10  # subjects: with fewer the bootstrap over subjects is too narrow
N_FLIPS = 10_000
SMALLEST = 1e-30  # variance of an error: of fits that predict the same it is none
ALL = "all of them"
COLUMNS = (
    "comparison", "subject", "region", "better", "rival", "metric", "difference", "low", "high", "p", "q",
    "equivalent", "neuroids", "wins", "wins_low", "wins_high", "method",
)  # fmt: skip


class Effect(NamedTuple):
    """Mean over subjects, its 95 % and 90 % intervals, and p that it is not above 0."""

    mean: float
    interval: tuple[float, float]
    narrow: tuple[float, float]
    p: float
    method: str


def random_effects(values: Floats, variances: Floats) -> Effect:
    """Mean of a random-effects model: subjects differ, and each is measured with an error.

    tau² = max(0, (Q - (n - 1)) / (sum w - sum w² / sum w)) with w = 1 / v (DerSimonian & Laird 1986); the
    mean weighs by 1 / (v + tau²), its variance is that of Hartung & Knapp (2001), never below the one without
    their factor (Röver, Knapp & Friede 2015), and t has n - 1 degrees of freedom.

    Parameters
    ----------
    values, variances : arrays of shape (n_subjects,)
        Two subjects or more; variance of each one's error.
    """
    from scipy.stats import t

    n = len(values)
    v = np.maximum(variances, max(1e-12 * float(np.var(values)), SMALLEST))
    w = 1 / v
    q = w @ (values - w @ values / w.sum()) ** 2
    w = 1 / (v + max(0.0, (q - (n - 1)) / (w.sum() - (w**2).sum() / w.sum())))
    mean = float(w @ values / w.sum())
    spread = float(np.sqrt(max(1.0, w @ (values - mean) ** 2 / (n - 1)) / w.sum()))
    wide, narrow = (float(t.ppf(level, n - 1)) * spread for level in (0.975, 0.95))
    p = float(t.sf(mean / spread, n - 1))
    return Effect(
        mean, (mean - wide, mean + wide), (mean - narrow, mean + narrow), p,
        f"random effects of {n} subjects, t of {n - 1}",
    )  # fmt: skip


def spread(samples: Floats) -> Floats:
    """Half the width of the middle 68 %, (n_subjects,): a standard error, whatever the tails of few folds."""
    low, high = np.quantile(samples, [0.1587, 0.8413], axis=1)
    return np.asarray((high - low) / 2)


def hierarchical(values: Floats, samples: Floats, seed: int) -> Effect:
    """Mean over subjects, who are resampled, and their stimuli within; p by turning the signs of subjects.

    Parameters
    ----------
    values : array of shape (n_subjects,)
    samples : array of shape (n_subjects, n_samples)
        Of each subject's bootstrap over stimuli.
    seed : int
    """
    rng = np.random.default_rng(seed)
    n, n_samples = samples.shape
    who = rng.integers(n, size=(n, n_samples))
    drawn = samples[who, rng.integers(n_samples, size=who.shape)].mean(0)
    signs = 1 - 2 * rng.integers(0, 2, (N_FLIPS, n))
    p = (1 + (signs @ values / n >= values.mean() - 1e-12).sum()) / (1 + N_FLIPS)
    low, high, less, more = np.quantile(drawn, [0.025, 0.975, 0.05, 0.95])
    method = f"bootstrap of {n} subjects and their stimuli, signs of subjects"
    return Effect(
        float(values.mean()), (float(low), float(high)), (float(less), float(more)), float(p), method
    )


def pooled(values: Floats, samples: Floats, seed: int) -> Effect:
    """Mean over two subjects or more: `random_effects` of fewer than ten, from there on `hierarchical`.

    Parameters
    ----------
    values, samples, seed
        As `hierarchical` takes them.
    """
    if len(values) < FEW:
        return random_effects(values, spread(samples) ** 2)
    return hierarchical(values, samples, seed)


def same_fits(comparisons: Mapping[str, xr.Dataset]) -> None:
    """Refuse comparisons of subjects in other fits, or by another metric.

    Raises
    ------
    ContractError
        Saying which there are.
    """
    asked = {
        (c.attrs["better"], *c["rival_name"].values.tolist(), c.attrs["metric"], c.attrs["delta"])
        for c in comparisons.values()
    }
    if len(asked) > 1:
        each = "; ".join(
            f"{better!r} than {', '.join(map(repr, than))} by {metric}, delta {delta:g}"
            for better, *than, metric, delta in sorted(asked)
        )
        raise ContractError(f"Subjects were compared in other fits: {each}. Give the same of each.")


def comparison_rows(found: Mapping[str, xr.Dataset], label: str) -> list[dict[str, Any]]:
    """List the differences of a comparison by subject, region and rival, then those over subjects.

    Those over subjects are of `pooled`.

    Parameters
    ----------
    found : mapping
        Subject to what `compare` gives.
    label : str

    Returns
    -------
    list of dict
        `comparison`, `better`, `rival` (all of them: the intersection), `subject`, `region`, `metric`,
        `difference`, `low`, `high`, `p`, `q` (over regions), `equivalent`, `method`; where the rival is all
        of them `neuroids`, `wins`, and `wins_low`, `wins_high`, between how many truly win with 95 %
        confidence.

    Raises
    ------
    ContractError
        Subjects were compared in other fits.
    """
    same_fits(found)
    rows = [row for subject, s in found.items() for row in _of_subject(s, subject)]
    if len(found) > 1:
        rows += _over_subjects(found)
    for subject, rival in dict.fromkeys((r["subject"], r["rival"]) for r in rows):
        own = [r for r in rows if (r["subject"], r["rival"]) == (subject, rival) and r["region"] != "all"]
        for row, q in zip(own, fdr([r["p"] for r in own]), strict=True):
            row["q"] = float(q)
    first = next(iter(found.values()))
    same = {"comparison": label, "better": first.attrs["better"], "metric": first.attrs["metric"]}
    return [{k: (same | {"q": r["p"]} | r).get(k) for k in COLUMNS} for r in rows]


def _of_subject(s: xr.Dataset, subject: str) -> list[dict[str, Any]]:
    rivals, places = s["rival_name"].values.astype(str), s["region_name"].values.astype(str)
    unit, interval = s.attrs["unit"], s.attrs["interval_unit"]
    method = f"one subject, p by {unit}, intervals by {interval}"
    rows = []
    for i, region in enumerate(places):
        about = {"subject": subject, "region": str(region), "method": method}
        for k, rival in enumerate(rivals):
            mean, low, high = s["region_difference"].values[k, i].astype(float)
            rows.append(about | {
                "rival": str(rival), "difference": mean, "low": low, "high": high,
                "p": float(s["region_p"].values[k, i]),
                "equivalent": bool(s["region_equivalent"].values[k, i]),
            })  # fmt: skip
        counts = dict(zip(("neuroids", "wins", "wins_low", "wins_high"), s["region_count"].values[i].tolist(),
                          strict=True))  # fmt: skip
        rows.append(about | {"rival": ALL, "p": float(s["region_wins_p"].values[i]), **counts})
    return rows


def _over_subjects(found: Mapping[str, xr.Dataset]) -> list[dict[str, Any]]:
    first = next(iter(found.values()))
    names = [dict(zip(s["region_name"].values.astype(str), range(s.sizes["region"]), strict=True))
             for s in found.values()]  # fmt: skip
    rows = []
    for region in dict.fromkeys(str(n) for own in names for n in own):
        have = [(s, own[region]) for s, own in zip(found.values(), names, strict=True) if region in own]
        effects = []
        for k, rival in enumerate(first["rival_name"].values.astype(str)):
            values = np.array([s["region_difference"].values[k, i, 0] for s, i in have], np.float64)
            samples = np.stack([s["region_sample"].values[k, i] for s, i in have]).astype(np.float64)
            known = np.isfinite(values) & np.isfinite(samples).all(1)
            if known.sum() < 2:
                continue
            values, samples = values[known], samples[known]
            effect = pooled(values, samples, int(first.attrs["seed"]))
            effects.append(effect)
            delta = first.attrs["delta"]
            rows.append({
                "subject": "all", "region": region, "rival": str(rival), "difference": effect.mean,
                "low": effect.interval[0], "high": effect.interval[1], "p": effect.p,
                "equivalent": bool(-delta < effect.narrow[0] and effect.narrow[1] < delta),
                "method": effect.method,
            })  # fmt: skip
        if effects:
            rows.append({
                "subject": "all", "region": region, "rival": ALL, "p": max(e.p for e in effects),
                "method": effects[0].method, **_counts([s for s, _ in have], region),
            })  # fmt: skip
    return rows


def _counts(found: list[xr.Dataset], region: str) -> dict[str, int]:
    """Count the neuroids of all subjects that win, after FDR over all of them together."""
    p, loses = (
        np.concatenate([s[k].values for s in found]).astype(np.float64) for k in ("wins_p", "loses_p")
    )
    masks = [{"all": np.ones(s.sizes["neuroid"], bool), **regions(s)}[region] for s in found]
    inside = np.concatenate(masks)
    wins = fdr(p) <= found[0].attrs["fdr_level"]
    low, high = bounds(p, loses, inside, 0.025)
    return {
        "neuroids": int(np.isfinite(p[inside]).sum()), "wins": int(wins[inside].sum()), "wins_low": low,
        "wins_high": high,
    }  # fmt: skip
