"""Electrodes in a brain of glass: what each model predicts where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.errors import InputError
from neuroenc.figures import style

FARTHEST = 130.0  # mm from the origin of MNI's space, beyond any brain
SMALL, LARGE = 10, 34  # of markers: nothing found, and significant


class Row(NamedTuple):
    """Of the electrodes of all subjects that have a place."""

    title: str
    label: str
    """Of the colours"""
    places: NDArray[np.float64]
    """(n_electrodes, 3), mm"""
    values: NDArray[np.float64]
    large: NDArray[np.bool_]


def draw_electrodes(
    scores: Mapping[tuple[str, str], xr.Dataset], path: str | Path,
    sites: Mapping[str, pd.DataFrame] | None = None,
) -> None:  # fmt: skip
    """Draw r of each electrode, of its best time bin, larger where it is significant: a row for each model.

    Parameters
    ----------
    scores : mapping of (subject, model) to Scores
        With places `x`, `y`, `z`: to the right, front and up, mm, taken to be MNI's.
    path : path
    sites : mapping of comparison to DataFrame, optional
        As `table_of_sites` gives them: a row more for each, of the gain, larger where the fit wins.

    Raises
    ------
    InputError
        No electrode has a place, or a score; or places are no millimetres of a brain.

    Notes
    -----
    A bin is chosen among m, so that significant means q < level of Scores, which holds over electrodes and
    bins together. Electrodes without a place are counted in the title.
    """
    from nilearn.plotting import plot_markers

    rows = [_of_model(scores, model) for model in dict.fromkeys(model for _, model in scores)]
    rows += [_of_sites(label, table) for label, table in (sites or {}).items()]
    height = 2.3 * len(rows) + 0.3
    fig, axes = style.figure(len(rows), 1, figsize=(9, height), squeeze=False, layout="none")
    fig.subplots_adjust(left=0.02, right=0.9, bottom=0.04, top=1 - 0.6 / height, hspace=0.15)
    top = max((float(np.nanmax(r.values, initial=0)) for r in rows if r.label == "best r"), default=0) or 1.0
    for n, (ax, row) in enumerate(zip(axes[:, 0], rows, strict=True)):
        most = top if row.label == "best r" else float(np.nanmax(row.values, initial=0)) or 1.0
        plot_markers(
            row.values, row.places, node_size=np.where(row.large, LARGE, SMALL),
            node_cmap=style.MAP, node_vmin=0, node_vmax=most, node_kwargs={"alpha": 0.9}, display_mode="lyrz",
            axes=ax, figure=fig, colorbar=False, annotate=n == 0,
        )  # fmt: skip
        ax.set_title(row.title, fontsize=8)
        box = ax.get_position()
        bar = fig.add_axes((0.92, box.y0 + 0.1 * box.height, 0.012, 0.8 * box.height))
        fig.colorbar(style.mappable(style.MAP, 0, most), cax=bar).set_label(row.label, fontsize=8)
    first = next(iter(scores.values()))
    title = f"{first.attrs['dataset']}, {len({s for s, _ in scores})} subjects"
    fig.suptitle(title, fontsize=10, y=1 - 0.06 / height, va="top")
    style.save(fig, path)


def _of_model(scores: Mapping[tuple[str, str], xr.Dataset], model: str) -> Row:
    """Show the best r of a model, and where it is significant."""
    found = [s for (_, name), s in scores.items() if name == model]
    if any(not {"x", "y", "z"} <= set(s.coords) for s in found):
        raise InputError(f"Scores of {model!r} have no places x, y, z. Electrodes with places can be drawn.")
    places = np.concatenate([np.stack([s[axis].values for axis in "xyz"], 1) for s in found]).astype(float)
    r = np.concatenate([_best(s["score"].sel(metric="pearson_r").values, s["q"].values) for s in found])
    level = np.concatenate([np.full(s.sizes["neuroid"], s.attrs["fdr_level"]) for s in found])
    return _row(model, "electrodes significant", "best r", places, r[:, 0], r[:, 1] < level)


def _best(scores: NDArray[Any], corrected: NDArray[Any]) -> NDArray[np.float64]:
    """Return the largest r and the smallest q of each neuroid over its time bins, (n_neuroids, 2)."""
    r, q = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (scores, corrected))
    best = np.where(np.isfinite(r), r, -np.inf).max(1)
    return np.stack([np.where(np.isfinite(best), best, np.nan), np.nan_to_num(q, nan=1.0).min(1)], 1)


def _of_sites(label: str, table: pd.DataFrame) -> Row:
    places = table[["x", "y", "z"]].to_numpy(float)
    return _row(label, "electrodes won", "gain in r", places, table["gain"].to_numpy(float),
                table["site"].to_numpy(bool))  # fmt: skip


def _row(
    name: str, what: str, label: str, places: NDArray[np.float64], values: NDArray[np.float64],
    large: NDArray[np.bool_],
) -> Row:  # fmt: skip
    """Keep electrodes that have a place in a brain, and say how many they are."""
    here = np.isfinite(places).all(1)
    if not here.any():
        raise InputError(f"No electrode of {name!r} has a place. Add x, y and z (mm) to the recordings.")
    far = np.abs(places[here]).max()
    if far > FARTHEST:
        raise InputError(
            f"An electrode of {name!r} lies {far:.0f} mm from the origin, expected at most {FARTHEST:.0f}: "
            "places are no millimetres of MNI's space. Transform them."
        )
    title = f"{name}: {int(large.sum())} of {len(large)} {what}"
    title += f", {int((~here).sum())} without a place" if not here.all() else ""
    known = np.isfinite(values)  # nothing is drawn where nothing is known: 0 would be a value
    title += f", {int((here & ~known).sum())} without a score" if (here & ~known).any() else ""
    here &= known
    if not here.any():
        raise InputError(f"No electrode of {name!r} has a score. Check the test stimuli.")
    return Row(title, label, places[here], values[here], large[here])
