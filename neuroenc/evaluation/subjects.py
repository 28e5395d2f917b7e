"""Scores of what was decoded, over subjects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

KEYS = ("metric", "condition", "value", "low", "high", "n", "each", "unit")  # of the rows that are averaged


def over_subjects(
    tables: Mapping[str, list[dict[str, Any]]], *, n_bootstraps: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Average over subjects; subjects are resampled, and within them pictures, those that are alike together.

    Parameters
    ----------
    tables : mapping
        Subject to rows of `score_pictures` or `score_captions`.
    n_bootstraps, seed

    Returns
    -------
    list of dict
        Rows whose metric has a value for each picture.
    """

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
        drawn = np.zeros(n_bootstraps)
        for who in rng.integers(len(each), size=(len(each), n_bootstraps)):  # a subject, and its pictures
            for s, (size, total) in enumerate(zip(units, totals, strict=True)):
                mine = who == s
                some = rng.integers(len(size), size=(mine.sum(), len(size)))
                drawn[mine] += total[some].sum(1) / size[some].sum(1)
        low, high = np.quantile(drawn / len(each), [0.025, 0.975])
        rows.append({
            **r, "value": float(np.mean([e.mean() for e in each])), "low": float(low), "high": float(high),
            "n": len(each), "each": None, "unit": None,
        })  # fmt: skip
    return rows
