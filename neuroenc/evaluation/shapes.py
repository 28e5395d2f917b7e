"""Meshes against true ones: Chamfer distance, F-score, how alike their turning views are to a network.

**Place and size** say nothing: each surface is moved so that its mean point is the origin and scaled so that
the root mean square distance of its points from there is 1/2; both are exact integrals over the triangles,
which no rotation changes. A sphere then has the diameter 1: the unit is about an object's diameter.

**Rotation.** Up is up. What a generator makes of one picture has no known front, so a mesh may be turned
about the vertical to where its Chamfer distance is least (`align`): in steps of 15°, then of 1°. The pairs
that bound it have the same freedom.

**Definitions.** With A, B points drawn evenly from two surfaces and d the distance to the nearest point:
Chamfer = (mean_a d(a, B) + mean_b d(b, A)) / 2, not squared; F = 2 P R / (P + R), P the share of made points
within `threshold` of the true surface, R the share of true points within it of the made one (Tatarchenko et
al. 2019, arXiv 1905.03678). Points of one surface drawn twice are not in one place: see `floor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from tqdm import tqdm

from neuroenc.config import Evaluation, Model
from neuroenc.datasets.shapes import N_VIEWS, MeshFiles, Shapes, seen_pictures
from neuroenc.errors import InputError
from neuroenc.evaluation.evaluate import alike, together_at
from neuroenc.evaluation.identification import cosine
from neuroenc.evaluation.statistics import Resampling, mean_limits, resample
from neuroenc.features.extract import describer
from neuroenc.meshes import Mesh, about_vertical, areas
from neuroenc.unions import joined
from neuroenc.views import turning_views

Floats = NDArray[np.float64]
STRETCH = Evaluation().stretch  # s; of films, whose stimuli are drawn by stretches
N_POINTS = 2000  # of a surface
N_FEW = 200  # of them, by which a turn is sought
THRESHOLD = 0.05  # of the F-score, in the unit above
SIDE = 96  # px of a view that a network looks at
N_OTHERS = 5  # true meshes, and pictures, of other stimuli that each one is held against
LOWER_IS_BETTER = ("chamfer",)
DEFINITIONS = {
    "chamfer": "mean of both mean distances to the nearest point, not squared; sphere of diameter 1",
    "f_score": f"harmonic mean of the shares of points within {THRESHOLD} of the other surface",
    "views": "mean cosine of embeddings of turning views to those of the true mesh, at the best turn",
    "picture": "mean cosine of embeddings of turning views to that of the picture that was seen",
    "shuffled": "the same measure against the true meshes (pictures) of other stimuli",
    "two_way": "share of those that fit worse than its own, ties half",
}


class Surface(NamedTuple):
    """Points of a surface in the unit of this module, and what finds the nearest."""

    points: Floats
    """(n_points, 3)"""
    tree: Any


class Fit(NamedTuple):
    """How well a surface fits another."""

    chamfer: float
    f_score: float
    angle: float
    """By which it was turned about the vertical, in radians"""


def normalised(mesh: Mesh) -> Mesh:
    """Move and scale a surface: mean point 0, root mean square distance from it 1/2.

    Of a triangle of area A with corners v_k and their sum s, the integrals are A s / 3 of the points and
    A (Σ |v_k|² + |s|²) / 12 of their squared distances from 0.
    """
    area = areas(mesh)
    corner = mesh.vertices[mesh.faces]
    middle = area @ corner.mean(1) / area.sum()
    corner = corner - middle
    squares = ((corner**2).sum((1, 2)) + (corner.sum(1) ** 2).sum(1)) / 12
    size = np.sqrt(area @ squares / area.sum())
    return mesh._replace(vertices=(mesh.vertices - middle) / (2 * size))


def sample_surface(mesh: Mesh, n: int, seed: int = 0) -> Floats:
    """Draw points evenly from the area of a mesh, (n, 3).

    Parameters
    ----------
    mesh : Mesh
    n : int
    seed : int
    """
    rng = np.random.default_rng(seed)
    edge = np.cumsum(areas(mesh))
    face = mesh.faces[np.searchsorted(edge, rng.random(n) * edge[-1], side="right").clip(max=len(edge) - 1)]
    u, v = rng.random((2, n, 1))
    outside = u + v > 1
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    a, b, c = (mesh.vertices[face[:, k]] for k in range(3))
    return np.asarray(a + u * (b - a) + v * (c - a))


def surface(mesh: Mesh, *, n_points: int = N_POINTS, seed: int = 0) -> Surface:
    """Normalise a mesh and draw points of it."""
    points = sample_surface(normalised(mesh), n_points, seed)
    return Surface(points, cKDTree(points))


def chamfer(a: ArrayLike, b: ArrayLike) -> float:
    """Return the Chamfer distance of two sets of points, (n, 3) and (m, 3), as they are."""
    forth, back = _distances(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return float(forth.mean() + back.mean()) / 2


def f_score(a: ArrayLike, b: ArrayLike, threshold: float = THRESHOLD) -> float:
    """Return the F-score of two sets of points, (n, 3) and (m, 3), as they are."""
    return _f_score(*_distances(np.asarray(a, np.float64), np.asarray(b, np.float64)), threshold)


def _distances(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]


def _f_score(forth: Floats, back: Floats, threshold: float) -> float:
    precision, recall = float((forth <= threshold).mean()), float((back <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def fit(made: Surface, true: Surface, *, align: bool = True, threshold: float = THRESHOLD) -> Fit:
    """Compare a surface with another, turned about the vertical to where it fits best if asked.

    Parameters
    ----------
    made, true : Surface
    align : bool
    threshold : float
        Of the F-score.
    """
    angle = _best_turn(made.points[:N_FEW], true.points[:N_FEW]) if align else 0.0
    turn = about_vertical(angle)
    forth, back = true.tree.query(made.points @ turn.T)[0], made.tree.query(true.points @ turn)[0]
    return Fit(float(forth.mean() + back.mean()) / 2, _f_score(forth, back, threshold), float(angle))


def _best_turn(a: Floats, b: Floats) -> float:
    """Find the turn of a about the vertical with the least Chamfer distance to b: by 15°, then by 1°.

    |R a - b|² = |a|² + |b|² - 2 (a_z b_z + cos t (a_x b_x + a_y b_y) + sin t (a_x b_y - a_y b_x)).
    """
    level = a[:, :2] @ b[:, :2].T
    across = np.outer(a[:, 0], b[:, 1]) - np.outer(a[:, 1], b[:, 0])
    still = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * np.outer(a[:, 2], b[:, 2])

    def distance(angle: float) -> float:
        squares = still - 2 * (np.cos(angle) * level + np.sin(angle) * across)
        nearest = (squares.min(1), squares.min(0))
        return float(sum(np.sqrt(np.maximum(v, 0)).mean() for v in nearest))

    coarse = np.deg2rad(np.arange(0, 360, 15))
    best = coarse[np.argmin([distance(t) for t in coarse])]
    near = best + np.deg2rad(np.arange(-7, 8))
    return float(near[np.argmin([distance(t) for t in near])])


def floor(mesh: Mesh, *, n_points: int = N_POINTS, seed: int = 0) -> Fit:
    """Compare a mesh with itself, other points drawn: what no mesh can be expected to beat."""
    first, second = (surface(mesh, n_points=n_points, seed=s) for s in (seed, seed + 1))
    return fit(first, second, align=False)


def others(objects: Sequence[str], *, n_others: int = N_OTHERS, seed: int = 0) -> list[NDArray[np.int64]]:
    """Draw for each stimulus other ones, of another object.

    Parameters
    ----------
    objects : sequence of str
        What each stimulus shows; two of one object are not held against each other.
    n_others : int
        At most.
    seed : int

    Raises
    ------
    InputError
        All show one object.
    """
    shown, rng = np.array(objects), np.random.default_rng(seed)
    if len(np.unique(shown)) < 2:
        raise InputError(
            f"All {len(shown)} meshes are held against one object, and none can be shuffled. Give two or "
            "more."
        )
    out = []
    for one in shown:
        wrong = np.flatnonzero(shown != one)
        out.append(np.sort(rng.choice(wrong, min(n_others, len(wrong)), replace=False)))
    return out


def score_geometry(
    made: Mapping[str, Sequence[Mesh]], true: Sequence[Mesh], wrong: Sequence[NDArray[np.int64]], *,
    align: bool = True, n_points: int = N_POINTS, samples: Resampling | None = None,
    n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Score meshes against the true ones by Chamfer distance and F-score, each between its bounds.

    Parameters
    ----------
    made : mapping
        Condition to a mesh for each stimulus.
    true : sequence of Mesh
        Of the stimuli.
    wrong : sequence of int arrays
        Of `others`.
    align : bool
        Whether each pair is turned about the vertical to where it fits best.
    n_points, seed
        Of a surface; the points of a true one are drawn by the next seed, so that a mesh is not at no
        distance from itself.
    samples : Resampling, optional
        Of what is drawn together for intervals (`drawn`); None: `n_bootstraps` of stimuli one by one.
    n_bootstraps : int

    Returns
    -------
    list of dict
        metric, condition, value, low, high (95 %, over what is drawn; None of a single unit); shuffled, the
        mean against the meshes of others; two_way, two_way_low, two_way_high, chance 1/2; n; `each`. The
        condition "same" is the true mesh itself, other points drawn.
    """
    samples = samples or _singly(len(true), n_bootstraps, seed)
    known = [surface(m, n_points=n_points, seed=seed + 1) for m in true]
    rows = []
    for condition, meshes in {**made, "same": true}.items():
        own, other = np.empty((2, len(known))), [np.empty((2, len(w))) for w in wrong]
        for i, mesh in enumerate(tqdm(meshes, f"fit {condition}", disable=None, delay=2)):
            found = surface(mesh, n_points=n_points, seed=seed)
            own[:, i] = fit(found, known[i], align=align)[:2]
            other[i][:] = np.transpose([fit(found, known[j], align=align)[:2] for j in wrong[i]])
        for k, metric in enumerate(("chamfer", "f_score")):
            rows.append(_row(metric, condition, own[k], [o[k] for o in other], samples))
    return rows


def score_views(
    made: Mapping[str, Floats], true: Floats | None, seen: Floats, wrong: Sequence[NDArray[np.int64]], *,
    align: bool = True, samples: Resampling | None = None, n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Score how alike turning views are to a network, to those of the true mesh and to what was seen.

    Parameters
    ----------
    made : mapping
        Condition to embeddings of turning views, (n, n_views, n_features).
    true : array of shape (n, n_views, n_features) or None
        Of the true meshes.
    seen : array of shape (n, n_features)
        Of the pictures that were seen.
    wrong : sequence of int arrays
        Of `others`.
    align : bool
        Whether the views are those of the turn at which they are most alike.
    samples, n_bootstraps, seed
        As in `score_geometry`.

    Returns
    -------
    list of dict
        As of `score_geometry`; metrics `views` and `picture`.
    """
    samples = samples or _singly(len(seen), n_bootstraps, seed)
    rows = []
    for condition, found in (made if true is None else {**made, "same": true}).items():
        pairs = [[i, *w] for i, w in enumerate(wrong)]
        alike = {
            "picture": [[cosine(found[i], seen[j : j + 1]).mean() for j in p] for i, p in enumerate(pairs)]
        }
        if true is not None:
            alike["views"] = [[_alike(found[i], true[j], align) for j in p] for i, p in enumerate(pairs)]
        for metric, values in alike.items():
            own, other = np.array([v[0] for v in values]), [np.array(v[1:]) for v in values]
            rows.append(_row(metric, condition, own, other, samples))
    return rows


def drawn(
    stimuli: xr.Dataset, ids: Sequence[str], objects: Sequence[str], fold: ArrayLike, *,
    n_bootstraps: int = 1000, seed: int = 0,
) -> Resampling:  # fmt: skip
    """Draw samples of stimuli, those of one object or group (of films, of one stretch) together.

    Parameters
    ----------
    stimuli : Dataset
        StimulusSet that holds them.
    ids, objects : sequences of str, (n,)
        The stimuli, and what each shows.
    fold : array of shape (n,)
    n_bootstraps, seed : int
    """
    near = together_at(stimuli, np.array(ids), STRETCH)
    unit = joined(np.array(ids) if near is None else near, np.array(objects))
    return resample(
        np.array(ids), fold, stretch=alike(unit), n_stimuli=stimuli.sizes["stimulus"], n=n_bootstraps,
        seed=seed,
    )  # fmt: skip


def _singly(n: int, n_bootstraps: int, seed: int) -> Resampling:
    return resample(np.arange(n), np.zeros(n), n=n_bootstraps, seed=seed)


def _alike(a: Floats, b: Floats, align: bool) -> float:
    """Mean cosine of view with view, at the turn at which it is highest."""
    r = cosine(a, b)
    n = len(r)
    turns = range(n) if align else range(1)
    return max(float(r[np.arange(n), (np.arange(n) + k) % n].mean()) for k in turns)


def _row(
    metric: str, condition: str, own: Floats, other: Sequence[Floats], samples: Resampling
) -> dict[str, Any]:
    sign = -1 if metric in LOWER_IS_BETTER else 1
    won = np.array([
        (sign * (mine - theirs) > 0).mean() + (mine == theirs).mean() / 2
        for mine, theirs in zip(own, other, strict=True)
    ])  # fmt: skip
    low, high, two_way_low, two_way_high = (
        None if np.isnan(v) else v for of in (own, won) for v in mean_limits(of, samples)
    )
    return {
        "metric": metric, "condition": condition, "value": float(own.mean()), "low": low, "high": high,
        "shuffled": float(np.mean([o.mean() for o in other])), "two_way": float(won.mean()),
        "two_way_low": two_way_low, "two_way_high": two_way_high, "chance": 0.5, "n": len(own),
        "each": [round(float(v), 5) for v in own],
    }  # fmt: skip


def score_shapes(
    shapes: Shapes, stimuli: xr.Dataset, true: Mapping[str, Path] | None, eye: Model | None, *,
    align: bool = True, n_others: int = N_OTHERS, n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Score a folder of meshes in all conditions.

    Parameters
    ----------
    shapes : Shapes
        Of `datasets.shapes.read_shapes`.
    stimuli : Dataset
        StimulusSet with the pixels of what was seen.
    true : mapping, optional
        Stimulus to the file of its mesh; those that are not among them are left out.
    eye : Model, optional
        The network whose last layer compares turning views.
    align, n_others, n_bootstraps, seed
        As in `score_geometry` and `others`.

    Returns
    -------
    list of dict
        As of `score_geometry` and `score_views`, with the `ids` of the stimuli.

    Raises
    ------
    InputError
        None of the stimuli has a true mesh.
    """
    rows = np.arange(len(shapes.stimulus_id))
    if true is not None:
        rows = np.flatnonzero([str(s) in true for s in shapes.stimulus_id])
        if not len(rows):
            raise InputError(
                f"None of the {len(shapes.stimulus_id)} stimuli has a true mesh, first "
                f"{str(shapes.stimulus_id[0])!r}. Is it the table of these stimuli?"
            )
    ids = [str(s) for s in shapes.stimulus_id[rows]]
    made = {c: MeshFiles([files.paths[i] for i in rows]) for c, files in shapes.meshes.items()}
    known = MeshFiles([true[s] for s in ids]) if true is not None else None
    objects = [str(p) for p in known.paths] if known else ids
    wrong = others(objects, n_others=n_others, seed=seed)
    samples = drawn(stimuli, ids, objects, shapes.fold[rows], n_bootstraps=n_bootstraps, seed=seed)
    more: dict[str, Any] = {"align": align, "samples": samples, "seed": seed}
    out = []
    if known is not None:
        out += score_geometry(made, known, wrong, **more)
    if eye is not None:
        described = describer(eye)

        def embed(pictures: Sequence[NDArray[np.uint8]]) -> Floats:
            found = described(pictures)
            last = found["feature"].values[..., found["layer"].values == found["layer"].values[-1]]
            return np.asarray(last.reshape(len(pictures), -1), np.float64)

        def around(meshes: Sequence[Mesh], name: str) -> Floats:
            bar = tqdm(meshes, f"views {name}", disable=None, delay=2)
            return np.stack([embed(list(turning_views(m, N_VIEWS, side=SIDE))) for m in bar])

        seen = embed(seen_pictures(stimuli, ids))
        out += score_views(
            {c: around(m, c) for c, m in made.items()}, around(known, "true") if known else None, seen, wrong,
            **more,
        )  # fmt: skip
    return [{**row, "ids": ids} for row in out]
