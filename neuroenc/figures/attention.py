"""Where regions look: maps of attention routing and probing, over the pictures or words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.colors import to_rgba

from neuroenc.datasets.pixels import read_pixels
from neuroenc.encoders.store import design_of, load_fits
from neuroenc.errors import InputError, invalid
from neuroenc.figures import style

N_PICTURES, N_REGIONS = 6, 6


def attention_arrays(weights: str | Path, features: xr.Dataset, stimuli: xr.Dataset) -> xr.Dataset:
    """Compute the maps of the test stimuli, or of all where the dataset names none.

    Parameters
    ----------
    weights : path
        Of attention routing or probing, as `save_fits` wrote them; the first fold's are taken.
    features, stimuli : Dataset
        Features and StimulusSet.

    Returns
    -------
    Dataset
        `relevance` and `attention`, (stimulus, query, row, column): what moves the mean response of a
        region, and where it looks.

    Raises
    ------
    InputError
        The weights are of another encoder.
    """
    fits, described = load_fits(weights, features, 0)
    if not hasattr(fits[0].model, "attention_maps"):
        raise InputError(
            f"{weights} holds {type(fits[0].model).__name__}. Expected attention routing or probing."
        )
    tested = stimuli["stimulus_id"].values[stimuli["split"].values == "test"]
    wanted = np.isin(features["stimulus_id"].values, tested if len(tested) else stimuli["stimulus_id"].values)
    chosen = features.isel(stimulus=wanted)
    X = design_of(fits[0], chosen)
    names = described["queries"].split(", ")
    kinds = {"relevance": "relevance", "attention": "weight"}
    maps = {k: fits[0].model.attention_maps(X, kind=v) for k, v in kinds.items()}
    return xr.Dataset(
        {k: (("stimulus", "query", "row", "column"), v[:, : len(names)]) for k, v in maps.items()},
        {"stimulus_id": ("stimulus", chosen["stimulus_id"].values), "query_name": ("query", names)},
        {"model": features.attrs["model"], "weights": str(Path(weights).name)},
    )


def draw_attention(
    arrays: xr.Dataset, stimuli: xr.Dataset, path: str | Path, *, regions: list[str] | None = None
) -> None:
    """Draw pictures with the relevance of their cells for some regions; of words the share each place has.

    Parameters
    ----------
    arrays : Dataset
        As `attention_arrays` returns them.
    stimuli : Dataset
    path : path
    regions : list of str, optional
        Rows of the figure; None: the last of those there are, category areas where regions run from
        early to late.

    Raises
    ------
    InputError
        No such region.
    """
    names = list(arrays["query_name"].values)
    for name in regions or []:
        if name not in names:
            raise invalid("region", name, names)
    rows = regions or [n for n in names if n != "none"][-N_REGIONS:]
    if arrays.sizes["row"] == 1 < arrays.sizes["column"]:
        _draw_words(arrays, rows, path)
        return
    ids = arrays["stimulus_id"].values
    # pictures that move the drawn regions most differently
    strength = arrays["relevance"].values.clip(0).sum((2, 3))[:, [names.index(n) for n in rows]]
    strength = strength / np.maximum(strength.max(0), 1e-12)
    order: list[int] = []
    for column in range(strength.shape[1]):
        order += [i for i in np.argsort(-strength[:, column]) if i not in order][:1]
    order = (order + [i for i in range(len(ids)) if i not in order])[:N_PICTURES]
    place = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    pictures = read_pixels(stimuli, np.array([place[ids[i]] for i in order]))
    fig, axes = style.figure(
        len(rows), len(order), figsize=(1.35 * len(order) + 0.9, 1.35 * len(rows) + 0.5), squeeze=False
    )
    for a, name in enumerate(rows):
        maps = arrays["relevance"].values[order, names.index(name)].clip(0)
        # one scale along a row, so that absence shows; single cells may exceed it
        top = max(float(np.quantile(maps.max((1, 2)), 0.7)), 1e-12)
        for b, (picture, values) in enumerate(zip(pictures, maps, strict=True)):
            ax = axes[a, b]
            height, width = picture.shape[:2]
            ax.imshow(picture.mean(-1), cmap="gray", vmin=-80, vmax=335)
            share = np.clip(values / top, 0, 1)
            colour = np.broadcast_to(to_rgba(style.COLOURS[5]), (*share.shape, 4)).copy()
            colour[..., 3] = share**0.7 * 0.85
            ax.imshow(colour, extent=(0, width, height, 0), interpolation="bilinear")
            ax.set_xticks([])
            ax.set_yticks([])
        axes[a, 0].set_ylabel(name, fontsize=9)
    fig.suptitle("what moves each region (attention × slope of its mean response)", fontsize=9)
    style.save(fig, path)


def _draw_words(arrays: xr.Dataset, rows: list[str], path: str | Path) -> None:
    """Draw how much of each place in the text each region sees, mean over texts that are so long."""
    shown = arrays["attention"].sel(query=np.isin(arrays["query_name"].values, rows))
    share = shown.where(shown > 0).mean(("stimulus", "row")).values
    fig, axes = style.figure(1, 1, figsize=(5, 0.3 * len(share) + 1.2), squeeze=False)
    ax = axes[0, 0]
    image = ax.imshow(share, aspect="auto", cmap="viridis", vmin=0)
    ax.set_yticks(range(len(share)), shown["query_name"].values, fontsize=8)
    ax.set_xlabel("place of the token in the text", fontsize=8)
    fig.colorbar(image, ax=ax, label="share of what is seen")
    style.save(fig, path)
