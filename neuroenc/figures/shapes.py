"""Objects from all around: the true one and those made of it; the best, the middle and the worst."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from neuroenc.datasets.shapes import Shapes, seen_pictures
from neuroenc.errors import ContractError
from neuroenc.evaluation.shapes import LOWER_IS_BETTER
from neuroenc.figures import style
from neuroenc.files import atomic
from neuroenc.meshes import read
from neuroenc.views import turning_views

KEYS = ("metric", "condition", "value", "shuffled", "two_way", "each", "ids")
LABELS = {
    "brain": "from the brain", "plain": "from the brain,\nno prior",
    "prior": "from the brain,\nprior's sample", "shuffled": "from the\nshuffled brain",
    "true": "from the true\nembedding", "seen": "from the picture\nseen",
    "random": "any training\nobject", "mean": "from the mean\nembedding", "sample": "from no\nembedding",
    "retrieved": "from the nearest\ntraining picture", "low_level": "from the\nlow-level picture",
}  # fmt: skip
MEASURES = {
    "chamfer": "Chamfer distance", "f_score": "F-score", "views": "likeness of views",
    "picture": "likeness to the picture",
}  # fmt: skip
N_SHOWN = 4  # views of each
N_FRAMES, STEP = 24, 90  # of the GIF, ms
SIDE, HEAD = 96, 30  # px of a view, and of the words above
START = np.pi / 8  # of the first view, so that no box is seen from its very front


def draw_shapes(
    shapes: Shapes, stimuli: xr.Dataset, true: Mapping[str, Path] | None, scores: list[dict[str, Any]],
    out: str | Path, *, turning: str | Path | None = None, n: int = 2,
) -> None:  # fmt: skip
    """Draw turning views of the best, the middle and the worst objects, and of the same a GIF.

    Parameters
    ----------
    shapes : Shapes
    stimuli : Dataset
        StimulusSet.
    true : mapping, optional
        Stimulus to its mesh.
    scores : list of dict
        Of `evaluation.shapes.score_shapes`; the first of the condition `brain`, or else the first, ranks.
    out : path
        Figure.
    turning : path, optional
        GIF.
    n : int
        Objects of each of the three groups.

    Raises
    ------
    ContractError
        The scores are of other stimuli.
    """
    by = next((r for r in scores if r["condition"] == "brain"), scores[0])
    row = {str(s): i for i, s in enumerate(shapes.stimulus_id)}
    lacking = [s for s in by["ids"] if s not in row]
    if lacking:
        raise ContractError(f"The scores are of {lacking[0]!r}, the shapes are not. Evaluate these shapes.")
    value = np.array(by["each"]) * (1 if by["metric"] in LOWER_IS_BETTER else -1)
    order, n = np.argsort(value, kind="stable"), min(n, len(value) // 3) or 1
    middle = (len(order) - n) // 2
    chosen = dict.fromkeys([*order[:n], *order[middle : middle + n], *order[len(order) - n :]])
    ids = [by["ids"][i] for i in chosen]
    seen = seen_pictures(stimuli, ids)
    kinds = (["the true\nobject"] if true else []) + [LABELS.get(c, c) for c in shapes.meshes]
    views = []  # (object, kind, frame, row, column, channel)
    for s in ids:
        meshes = ([read(true[s])] if true else []) + [files[row[s]] for files in shapes.meshes.values()]
        views.append([turning_views(m, N_FRAMES, side=SIDE, start=START) for m in meshes])
    around = np.array(views)
    _figure(around, seen, kinds, [f"{s}\n{by['each'][i]:.3f}" for s, i in zip(ids, chosen, strict=True)],
            _title(by, shapes, scores), out)  # fmt: skip
    if turning is not None:
        _gif(around, seen, kinds, turning)


def _title(by: Mapping[str, Any], shapes: Shapes, scores: list[dict[str, Any]]) -> str:
    said = [
        f"{MEASURES[r['metric']]} {r['value']:.3f} (others' {r['shuffled']:.3f}, two-way {r['two_way']:.2f})"
        for r in scores if r["condition"] == by["condition"]
    ]  # fmt: skip
    of = LABELS.get(by["condition"], by["condition"]).replace("\n", " ")
    ranked = f"the best, the middle and the worst by {MEASURES[by['metric']]}"
    return f"{shapes.about['generator']}, {len(by['ids'])} objects; {ranked}\n{of}: {'; '.join(said)}"


def _figure(
    around: NDArray[np.uint8], seen: list[NDArray[np.uint8]], kinds: list[str], names: list[str], title: str,
    out: str | Path,
) -> None:  # fmt: skip
    views = around[:, :, :: N_FRAMES // N_SHOWN]
    fig, axes = style.figure(
        len(seen), 1 + len(kinds), figsize=(1.2 + 2.5 * len(kinds), 0.8 * len(seen) + 1),
        squeeze=False, gridspec_kw={"width_ratios": [1, *[N_SHOWN] * len(kinds)]},
    )  # fmt: skip
    for i, picture in enumerate(seen):
        axes[i, 0].imshow(picture)
        axes[i, 0].set_ylabel(names[i], fontsize=5.5, rotation=0, ha="right", va="center")
        for k in range(len(kinds)):
            axes[i, 1 + k].imshow(np.concatenate(list(views[i, k]), axis=1))
    for k, name in enumerate(["seen", *kinds]):
        axes[0, k].set_title(name.replace("\n", " "), fontsize=7)
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    fig.suptitle(title, fontsize=6.5)
    style.save(fig, out)


def _gif(around: NDArray[np.uint8], seen: list[NDArray[np.uint8]], kinds: list[str], out: str | Path) -> None:
    """Write the same objects, a turn in `N_FRAMES` frames, again and again."""
    n, n_kinds = around.shape[:2]
    still = [np.asarray(Image.fromarray(p).resize((SIDE, SIDE))) for p in seen]
    page = Image.new("RGB", ((1 + n_kinds) * SIDE, HEAD + n * SIDE), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(9)
    for k, name in enumerate(["seen", *kinds]):
        pen.multiline_text((k * SIDE + 3, 2), name, fill="black", font=font)
    frames = []
    for frame in range(N_FRAMES):
        rows = [
            np.concatenate([still[i], *(around[i, k, frame] for k in range(n_kinds))], axis=1)
            for i in range(n)
        ]
        shown = page.copy()
        shown.paste(Image.fromarray(np.concatenate(rows)), (0, HEAD))
        frames.append(shown)
    with atomic(out) as partial:
        frames[0].save(partial, format="GIF", save_all=True, append_images=frames[1:], duration=STEP, loop=0)
