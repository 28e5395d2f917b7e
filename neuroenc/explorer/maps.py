"""The maps that the explorer offers of a subject: values of neuroids, and how they are coloured and read."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.arrays import regions
from neuroenc.explorer.run import Found
from neuroenc.explorer.scripts import packed
from neuroenc.figures.comparison import winners
from neuroenc.figures.surface import Map, maps_of_words, maps_of_zones

Entry = dict[str, Any]
HIGHEST = 0.99  # quantile at which colours end, so that a single voxel does not set them
UNIT = {"pearson_r": "r", "r2": "R²", "normalised_r": "r / ceiling"}


def maps_of(found: Found) -> list[Entry]:
    """List the maps of a subject.

    Returns
    -------
    list of dict
        `id`, `group` and `label`; `unit`; `kind`: "amount" (colours from `low` to `high`), "signed" (-high to
        high), "chance" (p or q, which are coloured by -log10) or "names" (which of `names`, -1 none); `about`, how to read it;
        `fit` whose q masks it; and `values`, packed, of shape (n_neuroids[, n_time_bins]).
    """
    r = {name: s["score"].sel(metric="pearson_r").values for name, s in found.fits.items()}
    ceiling = np.sqrt(np.clip(found.first["ceiling"].values, 0, None))
    top = _highest(ceiling) or max((_highest(v) for v in r.values()), default=0.0) or 1.0
    maps = []
    for name, s in found.fits.items():
        n = s.attrs.get("n_test_stimuli", "the")
        for metric, label, high, about in (
            ("pearson_r", "accuracy", top, f"Correlation of prediction and response over {n} held-out "
             "stimuli, mean over folds. Colours end where those of the noise ceiling do, if there is one."),
            ("normalised_r", "accuracy / ceiling", 1.0, "r divided by the noise ceiling; blank where the "
             f"ceiling (share of variance) is below {s.attrs.get('ceiling_threshold', 0):g}. It can be above 1."),
            ("r2", "R²", top**2, "1 less the squared error over the variance; below 0, the mean of the "
             "response would have predicted better."),
        ):  # fmt: skip
            values = s["score"].sel(metric=metric).values
            if np.isfinite(values).any():
                maps.append(_map(f"{metric}:{name}", name, f"{name}: {label}", UNIT[metric], "amount", values,
                                 about, high=high, fit=name))  # fmt: skip
        level = s.attrs["fdr_level"]
        for key, label, about in (
            ("p", "p", "Chance of such an r where prediction and response have nothing to do with each other "
             "(permutation), of each neuroid by itself."),
            ("q", "q (FDR)", f"p after control of the false discovery rate over all neuroids: of those below "
             f"{level:g}, a share of at most {level:g} is expected to be false."),
        ):  # fmt: skip
            maps.append(_map(f"{key}:{name}", name, f"{name}: {label}", key, "chance", s[key].values, about,
                             high=3.0, fit=name))  # fmt: skip
        names = s["layer_name"].values.astype(str).tolist()
        if len(names) > 1:
            chosen = np.vectorize({**{n: i for i, n in enumerate(names)}, "": -1}.__getitem__, otypes=[np.int16])
            best = np.where(s["q"].values < level, chosen(s["chosen_layer"].values.astype(str)), -1)
            maps.append(_map(f"layer:{name}", name, f"{name}: best layer (q < {level:g})", "layer", "names", best,
                             "The layer that predicted validation stimuli best, where the fit is significant; "
                             "which of two nearly equal layers it is says little.", names=names, fit=name))  # fmt: skip
    maps.append(_map("ceiling", "all fits", "noise ceiling", "r", "amount", ceiling,
                     "The r that a perfect model is expected to reach with this noise "
                     f"({found.first.attrs.get('ceiling_method', '')}).", high=top))  # fmt: skip
    if len(r) > 1:
        maps.append(_highest_fit(found, r))
    for label, s in found.comparisons.items():
        maps += _comparison(label, s)
    if found.partition is not None:
        maps += [_of_figure(m, f"partition:{i}", "variance partition", "R²", "")
                 for i, m in enumerate(maps_of_zones(found.partition))]  # fmt: skip
    if found.captions is not None:
        about = "From the captions that stand out for the voxel; only voxels whose caption is confident."
        maps += [_of_figure(m, f"words:{i}", "words", "words", about)
                 for i, m in enumerate(maps_of_words(found.captions))]  # fmt: skip
    return maps + _gaps(found)


def _map(
    key: str, group: str, label: str, unit: str, kind: str, values: ArrayLike, about: str, *, high: float = 1.0,
    names: list[str] | None = None, fit: str = "",
) -> Entry:  # fmt: skip
    array = np.asarray(values)
    array = array.astype(np.int16) if kind == "names" else array
    return {
        "id": key, "group": group, "label": label, "unit": unit, "kind": kind, "low": 0.0, "high": high,
        "names": names or [], "about": about, "fit": fit, "values": packed(array),
    }  # fmt: skip


def _highest(values: NDArray[Any]) -> float:
    """Where colours end; 0 where nothing is known."""
    known = np.abs(values[np.isfinite(values)])
    return float(np.quantile(known, HIGHEST)) if known.size else 0.0


def _highest_fit(found: Found, r: dict[str, NDArray[Any]]) -> Entry:
    """Which fit has the highest r of those that are significant there: no test."""
    held = [s["q"].values < s.attrs["fdr_level"] for s in found.fits.values()]
    stack = np.stack([np.where(h & np.isfinite(v), v, -np.inf) for h, v in zip(held, r.values(), strict=True)])
    best = np.where(np.isfinite(stack.max(0)), stack.argmax(0), -1)
    return _map("best", "all fits", "fit with the highest r", "fit", "names", best,
                "Of the fits that are significant in a neuroid that of the highest r. This is no test: of fits "
                "that are equally good one is the highest by chance. A comparison tests.", names=list(r))  # fmt: skip


def _comparison(label: str, s: xr.Dataset) -> list[Entry]:
    """Who wins, by the test, and the difference to each rival."""
    names, winner = winners(s)
    level, metric = s.attrs["fdr_level"], s.attrs["metric"]
    group = f"comparison {label}"
    found = [
        _map(f"winner:{label}", group, f"{label}: best (q < {level:g})", "fit", "names",
             np.where(np.isfinite(winner), winner, -1),
             f"{names[0]} where it beats all its rivals, a rival where it is beaten; blank: undecided.", names=names)
    ]  # fmt: skip
    for k, rival in enumerate(names[1:]):
        values = s["difference"].sel(metric=metric).values[k]
        found.append(_map(f"difference:{label}:{rival}", group, f"{label}: {names[0]} less {rival}", UNIT[metric],
                          "signed", values, f"Above 0, {names[0]} predicts better.",
                          high=_highest(values) or 1.0))  # fmt: skip
    return found


def _of_figure(shown: Map, key: str, group: str, unit: str, about: str) -> Entry:
    """Take over a map of the figures."""
    if shown.names:
        values = np.where(np.isfinite(shown.values), shown.values, -1)
        return _map(key, group, shown.title, group, "names", values, about, names=list(map(str, shown.names)))
    return _map(key, group, shown.title, unit, "amount", shown.values, about, high=float(shown.top))


def _gaps(found: Found) -> list[Entry]:
    """By how much stimuli near to training are predicted better than far ones: a value for each region."""
    members = regions(found.first)
    maps = []
    for model in dict.fromkeys(str(g["model"]) for g in found.gaps):
        of_region = {g["region"]: g["gap"] for g in found.gaps if g["model"] == model and g["region"] in members}
        values = np.full(found.first.sizes["neuroid"], np.nan)
        for region in sorted(of_region, key=lambda name: -members[name].sum()):  # the smallest one speaks last
            values[members[region]] = np.nan if of_region[region] is None else of_region[region]
        if np.isfinite(values).any():
            maps.append(_map(f"gap:{model}", "distance", f"{model}: near less far", "r", "signed", values,
                             "How much better stimuli near to training are predicted than far ones, by the "
                             "pattern of a region: all neuroids of a region share its value, that of the "
                             "smallest they lie in.", high=_highest(values) or 1.0))  # fmt: skip
    return maps
