"""Stimuli near and far in a space of features: test sets that training says little about."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import positions
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.config import Split
from neuroenc.errors import InputError
from neuroenc.real import deviation, sum_groups

Floats = NDArray[np.float32]
TRAIN, TEST, UNUSED = 0, 1, 2
DIMENSIONS = 2**11  # of more features, as many are drawn


def space(features: xr.Dataset, stimulus_id: NDArray[np.str_]) -> Floats:
    """Return stimuli as points: features, standardised over the stimuli, over the root of their number.

    Read in blocks of stimuli; of more than 2,048 features so many are drawn, always the same.

    Returns
    -------
    array of shape (n_stimuli, n_dimensions)

    Raises
    ------
    ContractError
        A stimulus has no features.
    InputError
        A feature is not finite, or none varies.
    """
    at = positions(features, stimulus_id)
    stored = features["feature"]
    width = int(np.prod(stored.shape[1:]))
    rng = np.random.default_rng(0)
    kept = np.arange(width) if width <= DIMENSIONS else np.sort(rng.choice(width, DIMENSIONS, replace=False))
    out = np.empty((len(at), len(kept)), np.float32)
    for cut in blocks(len(at), max(1, BLOCK_BYTES // (4 * width))):
        out[cut] = stored[at[cut]].values.reshape(-1, width)[:, kept]
    bad = ~np.isfinite(out).all(1)
    if bad.any():
        raise InputError(
            f"The features of {features.attrs['model']!r} are not finite for {bad.sum()} stimuli, first "
            f"{str(stimulus_id[bad][0])!r}: they have no place in its space. Extract them again, or name "
            f"another "
            "model as split.features."
        )
    scale = deviation(out)
    if not scale.any():
        raise InputError(
            f"No feature of {features.attrs['model']!r} varies over {len(at)} stimuli: all are in one place. "
            "Name another model as split.features."
        )
    out = out[:, scale > 0]
    out -= out.mean(0)
    out /= scale[scale > 0] * np.sqrt(out.shape[1])
    return out


def nearest(points: Floats, others: Floats, own: NDArray[Any] | None = None) -> Floats:
    """Return the distance of each point to the nearest of others.

    Parameters
    ----------
    points, others : arrays of shape (n, p), (m, p)
    own : array of shape (n,), optional
        A label of each point, which are then the others as well: those of the same label do not count.
    """
    size = (others**2).sum(1)
    out = np.empty(len(points), np.float32)
    for cut in blocks(len(points), max(1, BLOCK_BYTES // (4 * max(1, len(others))))):
        square = (points[cut] ** 2).sum(1)[:, None] + size - 2 * points[cut] @ others.T
        if own is not None:
            square[own[cut, None] == own] = np.inf
        out[cut] = np.sqrt(np.maximum(square.min(1), 0))
    return out


def held_out(stimuli: xr.Dataset, options: Split, points: Floats | None) -> NDArray[np.int8]:
    """Choose the sides of the kinds 'cluster', 'distant' and 'category'.

    Parameters
    ----------
    stimuli : Dataset
        StimulusSet; groups stay together.
    options : Split
    points : array of shape (n_stimuli, p) or None
        As `space` gives them; 'category' needs none.

    Returns
    -------
    int array of shape (n_folds, n_stimuli)

    Raises
    ------
    InputError
        Too few groups or categories, no table of categories, or a number of folds that does not fit the kind.
    """
    names, of = np.unique(stimuli["group"].values, return_inverse=True)
    if options.kind == "distant":
        assert points is not None
        return _distant(points, of, options)
    if not 2 <= options.n_folds <= len(names):
        raise InputError(
            f"split.kind {options.kind!r} cannot make split.n_folds {options.n_folds} of {len(names)} "
            f"groups of "
            "stimuli. Expected 2 or more, and no more than there are groups."
        )
    if options.kind == "category":
        return _categories(stimuli, of, options)
    assert points is not None
    return _clusters(points, of, options)


def _clusters(points: Floats, group: NDArray[np.int64], options: Split) -> NDArray[np.int8]:
    """Test each cluster of groups once (k-means of their mean features)."""
    from sklearn.cluster import KMeans

    centre = sum_groups(points, group) / np.bincount(group)[:, None]
    label = KMeans(options.n_folds, n_init=10, random_state=options.seed).fit_predict(centre)
    return (label[group] == np.arange(options.n_folds)[:, None]).astype(np.int8)


def _distant(points: Floats, group: NDArray[np.int64], options: Split) -> NDArray[np.int8]:
    """Test the groups that are farthest from all others; and, by the same training, as many that are near.

    Near ones are drawn from the half of the others that have the nearest neighbours. What one fold tests the
    other leaves out, so that both are trained on the same stimuli.
    """
    if options.n_folds != 1:
        raise InputError(
            f"split.kind 'distant' makes one fold far and one near, found split.n_folds {options.n_folds}, "
            f"expected "
            "1. Leave it out."
        )
    n_groups = int(group.max()) + 1
    distance = np.full(n_groups, np.inf, np.float32)
    np.minimum.at(distance, group, nearest(points, points, group))
    wanted = max(1, round(options.test_fraction * n_groups))
    order = np.argsort(-distance, kind="stable")
    far, rest = order[:wanted], order[wanted:]
    pool = rest[len(rest) // 2 :]
    if len(pool) < wanted or len(rest) == wanted:
        raise InputError(
            f"split.test_fraction {options.test_fraction:g} of {n_groups} groups is {wanted} far ones, and "
            f"{len(pool)} are near, expected as many or more. Lower it."
        )
    near = np.random.default_rng(options.seed).choice(pool, wanted, replace=False)
    side = np.full((2, n_groups), TRAIN, np.int8)
    side[0, far] = side[1, near] = TEST
    side[0, near] = side[1, far] = UNUSED
    return side[:, group]


def _categories(stimuli: xr.Dataset, group: NDArray[np.int64], options: Split) -> NDArray[np.int8]:
    """Deal the categories into sets; test what is mainly of a set, leave out what shows some of it.

    Stimuli without any category are trained on.
    """
    if "category" not in stimuli:
        raise InputError(
            f"The stimuli of {stimuli.attrs['dataset']!r} have no categories to hold out. Use split.kind "
            f"'cluster' "
            "or 'stimulus'."
        )
    table = sum_groups(np.nan_to_num(stimuli["category"].values), group)
    known, main = (table > 0).any(1), table.argmax(1)
    used = np.unique(main[known])
    if len(used) < options.n_folds:
        raise InputError(
            f"split.n_folds {options.n_folds} of {len(used)} categories that a stimulus is mainly of, "
            f"expected no "
            "more folds than categories. Lower it."
        )
    dealt = np.random.default_rng(options.seed).permutation(used)
    side = np.full((options.n_folds, len(table)), TRAIN, np.int8)
    for fold in range(options.n_folds):
        held = dealt[fold :: options.n_folds]
        side[fold, (table[:, held] > 0).any(1)] = UNUSED
        side[fold, known & np.isin(main, held)] = TEST
    return side[:, group]
