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
        `id`, `group` and `label`; `unit`; `kind`: "amount" (colours from 0 to `high`), "signed" (-high to
        high), "chance" (p or q, coloured by -log10, 0 to `high`) or "names" (which of `names`, -1 none);
        `about`, how to read it; `fit`, whose q masks it; and `values`, packed, of shape
        (n_neuroids[, n_time_bins]).
    """
    ceiling = np.sqrt(np.clip(found.first["ceiling"].values, 0, None))
    top = _highest(ceiling) or max(_highest(_r(s)) for s in found.fits.values()) or 1.0
    maps = [m for name, s in found.fits.items() for m in _of_fit(name, s, top)]
    method = found.first.attrs.get("ceiling_method", "")
    about = f"The r that a perfect model is expected to reach with this noise ({method})."
    maps.append(_map("ceiling", "all fits", "noise ceiling", "r", "amount", ceiling, about, high=top))
    if len(found.fits) > 1:
        maps.append(_highest_fit(found))
    for label, s in found.comparisons.items():
        maps += _comparison(label, s)
    if found.partition is not None:
        about = "Variance of the responses that these features explain and no others do."
        for i, shown in enumerate(maps_of_zones(found.partition)):
            maps.append(_of_figure(shown, f"partition:{i}", "variance partition", "R²", about))
    if found.captions is not None:
        about = "From the words that stand out for a voxel; only where its caption is confident."
        for i, shown in enumerate(maps_of_words(found.captions)):
            maps.append(_of_figure(shown, f"words:{i}", "words", "words", about))
    return maps + _gaps(found)


def layer_numbers(s: xr.Dataset) -> tuple[list[str], NDArray[np.int16]]:
    """Return the names of layers, and which is chosen, (n_neuroids[, n_time_bins]), -1 none."""
    names = s["layer_name"].values.astype(str).tolist()
    number = {**{name: i for i, name in enumerate(names)}, "": -1}
    return names, np.vectorize(number.__getitem__, otypes=[np.int16])(s["chosen_layer"].values.astype(str))


def _r(s: xr.Dataset) -> NDArray[Any]:
    return s["score"].sel(metric="pearson_r").values


def _of_fit(name: str, s: xr.Dataset, top: float) -> list[Entry]:
    """List what is known of one fit: accuracy in three ways, its chance, the best layer."""
    level, threshold = s.attrs["fdr_level"], s.attrs.get("ceiling_threshold", 0)
    read = {
        "pearson_r": "Correlation of prediction and response on held-out stimuli, mean over folds. Colours "
        "end where those of the noise ceiling do, if there is one.",
        "normalised_r": "r divided by the noise ceiling; blank where the ceiling is below "
        f"{threshold:g} of the variance. Noise takes it above 1.",
        "r2": "1 less the squared error over the variance; below 0 the mean would have predicted better.",
        "p": "How often prediction and response that have nothing to do with one another have such an r "
        "(permutation), of each neuroid by itself.",
        "q": f"p after control of the false discovery rate over all neuroids: of those below {level:g} a "
        f"share of {level:g} is expected to be false.",
        "layer": "The layer that predicted validation stimuli best, where the fit is significant. Of "
        "layers that are nearly equal it says little which one it is.",
    }
    labels = {"pearson_r": "accuracy", "normalised_r": "accuracy / ceiling", "r2": "R²"}
    maps = []
    for metric, high in (("pearson_r", top), ("normalised_r", 1.0), ("r2", top**2)):
        values = s["score"].sel(metric=metric).values
        if np.isfinite(values).any():
            label = f"{name}: {labels[metric]}"
            maps.append(_map(f"{metric}:{name}", name, label, UNIT[metric], "amount", values, read[metric],
                             high=high, fit=name))  # fmt: skip
    for key, label in (("p", "p"), ("q", "q (FDR)")):
        maps.append(_map(f"{key}:{name}", name, f"{name}: {label}", key, "chance", s[key].values, read[key],
                         high=3.0, fit=name))  # fmt: skip
    names, chosen = layer_numbers(s)
    if len(names) > 1:
        best = np.where(s["q"].values < level, chosen, -1)
        label = f"{name}: best layer (q < {level:g})"
        maps.append(_map(f"layer:{name}", name, label, "layer", "names", best, read["layer"], names=names,
                         fit=name))  # fmt: skip
    return maps


def _map(
    key: str, group: str, label: str, unit: str, kind: str, values: ArrayLike, about: str, *,
    high: float = 1.0, names: list[str] | None = None, fit: str = "",
) -> Entry:  # fmt: skip
    array = np.asarray(values)
    array = array.astype(np.int16) if kind == "names" else array
    return {
        "id": key, "group": group, "label": label, "unit": unit, "kind": kind, "high": high,
        "names": names or [], "about": about, "fit": fit, "values": packed(array),
    }  # fmt: skip


def _highest(values: NDArray[Any]) -> float:
    """Where colours end; 0 where nothing is known."""
    known = np.abs(values[np.isfinite(values)])
    return float(np.quantile(known, HIGHEST)) if known.size else 0.0


def _highest_fit(found: Found) -> Entry:
    """Say which fit has the highest r of those that are significant there: no test."""
    r = np.stack([
        np.where((s["q"].values < s.attrs["fdr_level"]) & np.isfinite(_r(s)), _r(s), -np.inf)
        for s in found.fits.values()
    ])  # fmt: skip
    best = np.where(np.isfinite(r.max(0)), r.argmax(0), -1)
    about = (
        "Of the fits that are significant in a neuroid that of the highest r. This is no test: of fits "
        "that are equally good one is highest by chance. A comparison tests."
    )
    label = "fit with the highest r"
    return _map("best", "all fits", label, "fit", "names", best, about, names=list(found.fits))


def _comparison(label: str, s: xr.Dataset) -> list[Entry]:
    """Say who wins, by the test, and give the difference to each rival."""
    names, winner = winners(s)
    metric, group = s.attrs["metric"], f"comparison {label}"
    about = f"{names[0]} where it beats all its rivals, a rival where {names[0]} is beaten; blank: undecided."
    title = f"{label}: best (q < {s.attrs['fdr_level']:g})"
    who = np.where(np.isfinite(winner), winner, -1)
    found = [_map(f"winner:{label}", group, title, "fit", "names", who, about, names=names)]
    for k, rival in enumerate(names[1:]):
        values = s["difference"].sel(metric=metric).values[k]
        title = f"{label}: {names[0]} less {rival}"
        about = f"Above 0 {names[0]} predicts better. An interval and a p has each neuroid that is asked."
        found.append(_map(f"difference:{label}:{rival}", group, title, UNIT[metric], "signed", values, about,
                          high=_highest(values) or 1.0))  # fmt: skip
    return found


def _of_figure(shown: Map, key: str, group: str, unit: str, about: str) -> Entry:
    """Take over a map of the figures."""
    if shown.names:
        values = np.where(np.isfinite(shown.values), shown.values, -1)
        return _map(key, group, shown.title, group, "names", values, about, names=list(map(str, shown.names)))
    return _map(key, group, shown.title, unit, "amount", shown.values, about, high=float(shown.top))


def _gaps(found: Found) -> list[Entry]:
    """Give by how much stimuli near to training are predicted better than far ones, a value a region."""
    members = regions(found.first)
    about = (
        "How much better the pattern of a region is predicted of stimuli near to training than of far ones. "
        "All neuroids of a region share its value, that of the smallest they lie in."
    )
    maps = []
    for model in dict.fromkeys(str(g["model"]) for g in found.gaps):
        mine = [g for g in found.gaps if g["model"] == model and g["region"] in members]
        values = np.full(found.first.sizes["neuroid"], np.nan)
        for g in sorted(mine, key=lambda g: -members[g["region"]].sum()):  # the smallest speaks last
            values[members[g["region"]]] = np.nan if g["gap"] is None else g["gap"]
        if np.isfinite(values).any():
            title, high = f"{model}: near less far", _highest(values) or 1.0
            maps.append(_map(f"gap:{model}", "distance", title, "r", "signed", values, about, high=high))
    return maps
