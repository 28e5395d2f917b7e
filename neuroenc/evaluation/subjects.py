"""Scores of what was decoded, over subjects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

KEYS = ("metric", "condition", "value", "low", "high", "n", "each", "unit")  # of the rows that are averaged


def over_subjects(
    tables: Mapping[str, list[dict[str, Any]]], *, n_bootstraps: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Average over subjects: mean ± t sqrt(max(s², mean of v) / n), Student's t of n - 1.

    s² is the variance between subjects, v that of a subject's mean under bootstrap samples of pictures, those
    that are alike together. Of few subjects a bootstrap is too narrow: of two, 95 % intervals held the truth
    three times in four. Never beyond the values of the pictures.

    Parameters
    ----------
    tables : mapping
        Two subjects or more to rows of `score_pictures` or `score_captions`.
    n_bootstraps, seed

    Returns
    -------
    list of dict
        Rows whose metric has a value for each picture.
    """
    from scipy.stats import t as student  # loads for a second

    def key(r: dict[str, Any]) -> tuple[Any, ...]:
        return r["metric"], r.get("network"), r.get("layer"), r["condition"]

    rng = np.random.default_rng(seed)
    rows = []
    first = next(iter(tables.values()))
    by_key = {s: {key(r): r for r in t} for s, t in tables.items()}
    for r in first:
        found = [t[key(r)] for t in by_key.values() if key(r) in t]
        if r["each"] is None or len(found) < len(tables):
            continue
        each = [np.array(f["each"], float) for f in found]
        units = [np.bincount(f["unit"]) for f in found]
        totals = [np.bincount(f["unit"], e) for f, e in zip(found, each, strict=True)]
        errors = []
        for size, total in zip(units, totals, strict=True):
            some = rng.integers(len(size), size=(n_bootstraps, len(size)))
            errors.append((total[some].sum(1) / size[some].sum(1)).var())
        means, every = np.array([e.mean() for e in each]), np.concatenate(each)
        error = np.sqrt(max(means.var(ddof=1), np.mean(errors)) / len(each))
        half = student.ppf(0.975, len(each) - 1) * error
        low, high = np.clip(means.mean() + half * np.array([-1, 1]), every.min(), every.max())
        rows.append({
            **r, "value": float(means.mean()), "low": float(low), "high": float(high), "n": len(each),
            "each": None, "unit": None,
        })  # fmt: skip
    return rows
