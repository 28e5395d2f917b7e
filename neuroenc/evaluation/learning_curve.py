"""How accuracy grows with the number of training stimuli, by region: rows of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from neuroenc.arrays import holds
from neuroenc.errors import ContractError
from neuroenc.evaluation.effects import random_effects

Z = 1.959964  # half widths of a 95 % interval in standard errors


class Point(NamedTuple):
    """Scores of a fit to some of the training stimuli of a subject."""

    subject: str
    fit: str
    size: str
    """As it was asked for; empty: all there are"""
    scores: xr.Dataset


def curve_rows(points: Iterable[Point]) -> list[dict[str, Any]]:
    """List mean test r by fit, region and number of training stimuli, of each subject and over them.

    Parameters
    ----------
    points : iterable of Point

    Returns
    -------
    list of dict
        `fit`, `subject`, `region`, `n_training_stimuli` (of the smallest fold; over subjects their mean),
        `r`, `low` and `high`: 95 % over test stimuli, over subjects those of a random effect
        (`effects.random_effects`); `method`. In order of size.

    Raises
    ------
    ContractError
        A size was scored on other test stimuli than the rest of its subject.
    """
    found = [row for point in points for row in _of_point(point)]
    _same_tests(found)
    rows = [*found, *_over_subjects(found)]
    rows.sort(key=lambda r: r["n_training_stimuli"])  # stable: fits and regions stay as they came
    hidden = ("size", "n_test_stimuli")
    return [{k: v for k, v in row.items() if k not in hidden} for row in rows]


def _of_point(point: Point) -> list[dict[str, Any]]:
    s = point.scores
    holds(s, f"scores of {point.subject!r}", ("n_training_stimuli", "region_r"), "evaluate score")
    return [
        {
            "fit": point.fit, "subject": point.subject, "region": str(region), "size": point.size,
            "n_training_stimuli": int(s.attrs["n_training_stimuli"]), "r": float(r), "low": float(low),
            "high": float(high), "method": "test stimuli of one subject",
            "n_test_stimuli": int(s.attrs["n_test_stimuli"]),
        }
        for region, (r, low, high) in zip(s["region_name"].values, s["region_r"].values, strict=True)
    ]  # fmt: skip


def _same_tests(rows: list[dict[str, Any]]) -> None:
    for subject in dict.fromkeys(r["subject"] for r in rows):
        numbers = sorted({r["n_test_stimuli"] for r in rows if r["subject"] == subject})
        if len(numbers) > 1:
            raise ContractError(
                f"Fits of subject {subject} were scored on {' and '.join(map(str, numbers))} test stimuli. "
                "Fit all by one split, shortened."
            )


def _over_subjects(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bring together what was asked for alike, where two subjects or more have it."""
    out = []
    for fit, region, size in dict.fromkeys((r["fit"], r["region"], r["size"]) for r in rows):
        own = [r for r in rows if (r["fit"], r["region"], r["size"]) == (fit, region, size)]
        values, low, high = np.array([[r[k] for k in ("r", "low", "high")] for r in own], float).T
        known = np.isfinite(values) & np.isfinite(high - low)
        if known.sum() < 2:
            continue
        effect = random_effects(values[known], ((high - low)[known] / (2 * Z)) ** 2)
        n = round(float(np.mean([r["n_training_stimuli"] for r, k in zip(own, known, strict=True) if k])))
        out.append({
            "fit": fit, "subject": "all", "region": region, "size": size, "n_training_stimuli": n,
            "r": effect.mean, "low": effect.interval[0], "high": effect.interval[1], "method": effect.method,
        })  # fmt: skip
    return out
