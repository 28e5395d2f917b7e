"""What was seen, retrieved and drawn: the best, the middle and the worst pictures, never only the best."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.errors import InputError
from neuroenc.evaluation.decoded import seen_pictures
from neuroenc.figures import style

if TYPE_CHECKING:
    from neuroenc.decoders.synthesise import Synthesis

ROWS = {
    "retrieved": "nearest\ntraining picture", "low_level": "low-level,\ndecoded",
    "brain": "drawn from\nthe brain",
    "shuffled": "drawn from\nshuffled brain", "true": "drawn from true\nembedding",
}  # fmt: skip
DRAWN = ("brain", "shuffled", "true")


def ranking(scores: list[dict[str, Any]]) -> tuple[NDArray[np.float64], str]:
    """Choose by what pictures are ranked: two-way identification by the last layer of the first network.

    Parameters
    ----------
    scores : list of dict
        Of `evaluation.decoded.score_pictures`.

    Returns
    -------
    array of shape (n_pictures,)
    str
        What it is.

    Raises
    ------
    InputError
        No network judged.
    """
    rows = [r for r in scores if r["metric"] == "two_way_images" and r["condition"] == "brain"]
    if not rows:
        raise InputError("No network judged the pictures. Name some as `judges`.")
    r = [r for r in rows if r["network"] == rows[0]["network"]][-1]
    return np.array(r["each"]), f"two-way identification by {r['network']}, {r['layer']}"


def draw_reconstructions(
    pictures: xr.Dataset, stimuli: xr.Dataset, scores: list[dict[str, Any]], out: str | Path, *,
    captions: xr.Dataset | None = None, n: int = 4,
) -> None:  # fmt: skip
    """Draw a grid of the best, the middle and the worst pictures.

    Parameters
    ----------
    pictures, stimuli : Dataset
        Pictures, StimulusSet.
    scores : list of dict
        Of `evaluation.decoded.score_pictures`; they rank the pictures.
    out : path
    captions : Dataset, optional
        Captions of the same pictures.
    n : int
        Pictures of each of the three groups.
    """
    value, measure = ranking(scores)
    order = np.argsort(-value, kind="stable")
    total = len(order)
    n = min(n, total // 3) or 1
    middle = (total - n) // 2
    groups = {"best": order[:n], "middle": order[middle : middle + n], "worst": order[total - n :]}
    chosen = np.concatenate(list(groups.values()))
    seen = seen_pictures(pictures.isel(presentation=chosen), stimuli)
    known = pictures["condition"].values.tolist()
    shown = [c for c in ROWS if c in known]
    tall = 1.05 if captions is None else 1.75
    fig, axes = style.figure(
        1 + len(shown),
        len(chosen),
        figsize=(1.12 * len(chosen), 1.1 * len(shown) + tall + 0.7),
        squeeze=False,
    )
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    for column, at in enumerate(chosen):
        axes[0, column].imshow(seen[column])
        for line, condition in enumerate(shown, 1):
            axes[line, column].imshow(pictures["picture"].values[known.index(condition), at])
            if condition in DRAWN:
                axes[line, column].text(
                    0.97, 0.03, "generated", transform=axes[line, column].transAxes, ha="right", va="bottom",
                    fontsize=5, color="white", bbox={"facecolor": "black", "alpha": 0.6, "pad": 0.8, "lw": 0},
                )  # fmt: skip
        if captions is not None:
            stimulus = pictures["stimulus_id"].values[at]
            written = str(stimuli["caption"].values[row[stimulus], 0])
            mine = captions.sel(condition="brain")
            said = str(mine["caption"].values[mine["stimulus_id"].values == stimulus][0])
            text = textwrap.fill(said, 22) + "\n" + textwrap.fill(f"[{written}]", 22)
            axes[-1, column].set_xlabel(text, fontsize=5)
    for line, name in enumerate(["seen", *(ROWS[c] for c in shown)]):
        axes[line, 0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
    for k, name in enumerate(groups):
        axes[0, k * n].set_title(f"{name} {n}", fontsize=8, loc="left")
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    note = "" if captions is None else "; below: decoded caption [one that a person wrote]"
    fig.suptitle(
        f"{pictures.attrs['generator']}, {total} test pictures ranked by {measure}{note}",
        fontsize=8,
        ha="center",
    )
    style.save(fig, out)


def draw_synthesis(
    made: Synthesis, region: str, judged: Mapping[str, Mapping[str, NDArray[np.float64]]], out: str | Path
) -> None:
    """Draw pictures made for a region above natural ones, each row with its predicted response.

    Parameters
    ----------
    made : Synthesis
    region : str
    judged : mapping
        Who judged to kind of picture to predicted responses.
    out : path
    """
    names = {
        "text": f"generated from\n“{textwrap.fill(made.caption, 24)}”",
        "gradient": "generated,\npushed by gradient",
        "unguided": "generated,\nnot guided",
        "top": "natural,\nhighest predicted",
        "random": "natural,\nat random",
    }
    n = len(made.pictures["text"])
    fig, axes = style.figure(len(names), n, figsize=(0.95 * n + 2.2, 5.4), squeeze=False)
    for line, (kind, label) in enumerate(names.items()):
        for column in range(n):
            axes[line, column].imshow(made.pictures[kind][column])
            axes[line, column].set_xticks([])
            axes[line, column].set_yticks([])
            axes[line, column].spines[:].set_visible(False)
        value = "\n".join(f"{by}: {found[kind].mean():.2f}" for by, found in judged.items())
        axes[line, 0].set_ylabel(f"{label}\n{value}", fontsize=6.5, rotation=0, ha="right", va="center")
    fig.suptitle(
        f"{region}: mean predicted response beside each row\n"
        "guide: in standard deviations of its predictions; judge: in the unit of the responses",
        fontsize=8,
    )
    style.save(fig, out)
