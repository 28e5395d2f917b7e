"""Scores by parcel of an atlas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import parcels, regions

FEW = 24  # parcels that stand beside regions in figures and in the summary
Groups = dict[str, tuple[NDArray[np.bool_], NDArray[np.float64]]]


def groups(s: xr.Dataset) -> Groups:
    """Return the regions, and the parcels where there are at most `FEW`, each with r: mean, low, high.

    Parameters
    ----------
    s : Dataset
        Scores.
    """
    members = {"all": np.ones(s.sizes["neuroid"], bool), **regions(s)}
    names = [str(n) for n in s["region_name"].values]
    found = {n: (members[n], r) for n, r in zip(names, s["region_r"].values, strict=True)}
    few = parcels(s)
    if 0 < len(few) <= FEW:
        for ((side, name), inside), r in zip(few.items(), s["parcel_r"].values, strict=True):
            found[f"{name} {side}".strip()] = inside, r
    return found


def parcel_table(s: xr.Dataset, subject: str, model: str) -> pd.DataFrame:
    """Give the mean scores of each parcel over its neuroids (and time bins), those without score left out.

    Parameters
    ----------
    s : Dataset
        Scores of responses with an atlas.
    subject, model : str

    Returns
    -------
    DataFrame
        A row per parcel of each hemisphere: `n` neuroids with a score, `r` with its interval over stimuli,
        `ceiling_r`, `r2`, `normalised_r`.
    """
    rows = []
    ceiling = np.sqrt(np.clip(s["ceiling"].values, 0, None))
    score = {m: s["score"].sel(metric=m).values for m in ("pearson_r", "r2", "normalised_r")}
    for ((side, name), inside), r in zip(parcels(s).items(), s["parcel_r"].values, strict=True):
        mean, low, high = r
        rows.append({
            "subject": subject, "model": model, "parcel": name, "hemisphere": side,
            "n": int(np.isfinite(score["pearson_r"][inside]).reshape(inside.sum(), -1).any(1).sum()),
            "r": mean, "r_low": low, "r_high": high, "ceiling_r": _mean(ceiling[inside]),
            "r2": _mean(score["r2"][inside]), "normalised_r": _mean(score["normalised_r"][inside]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _mean(values: NDArray[np.float32]) -> float:
    known = values[np.isfinite(values)].astype(np.float64)
    return float(known.mean()) if known.size else float("nan")
