"""Training and test sets by stimulus or group, seeded, made once, used by every model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc import __version__, neighbours
from neuroenc.arrays import check
from neuroenc.config import Split
from neuroenc.errors import InputError, LeakError
from neuroenc.real import sum_groups

TRAIN, TEST, UNUSED = neighbours.TRAIN, neighbours.TEST, neighbours.UNUSED
KINDS_OF_SPACE = ("cluster", "distant", "category")
FEWEST = 3  # test stimuli of a fold: of two, every r is 1 or -1
MOST = 1000  # folds: each is a fit of every model, and a column of the split


def make(stimuli: xr.Dataset, options: Split, features: xr.Dataset | None = None) -> xr.Dataset:
    """Divide a StimulusSet.

    Parameters
    ----------
    stimuli : Dataset
        A StimulusSet; nothing is parted that shares a `group`.
    options : Split
        Kind, share, repetitions, folds within training, seed.
    features : Dataset, optional
        Features of these stimuli: the space in which they are near or far.

    Returns
    -------
    Dataset
        `side(fold, stimulus)`: 0 train, 1 test, 2 neither. `inner(fold, stimulus)`: the validation fold a
        training stimulus belongs to, -1 for the others. Of stretches in time also `near(fold, stimulus,
        edge)`: the first and last inner fold within the embargo of a training stimulus, its own among them;
        it is not fitted where one of these is validated on. With features `distance(fold, stimulus)`, from a
        tested stimulus to the nearest training stimulus; of kind 'distant' the folds are called 'far' and
        'near' (`condition`).

    Raises
    ------
    InputError
        The dataset names no test stimuli, or there are too few groups; stimuli without onsets cannot be
        cut in time; a fold tests fewer than three stimuli, or trains on fewer than inner folds need.
    """
    if (options.features is None) != (features is None):
        raise InputError(
            f"split.features is {options.features!r}, and features are {'not ' * (features is None)}given. "
            "Give both (--features FILE.nc) or none."
        )
    space = None if features is None else neighbours.space(features, stimuli["stimulus_id"].values)
    if options.kind == "chronological":
        return _measured(_chronological(stimuli, options), space, options.features)
    group = stimuli["group"].values
    if options.kind in KINDS_OF_SPACE:
        side = neighbours.held_out(stimuli, options, space)
    else:
        tests = _test_sets(stimuli, options)
        side = np.full((len(tests), len(group)), TRAIN, np.int8)
        for fold, test in enumerate(tests):
            side[fold, test] = TEST
    inner = np.full(side.shape, -1, np.int16)
    for fold, sides in enumerate(side):
        train = np.flatnonzero(sides == TRAIN)
        if len(np.unique(group[train])) < options.n_inner:
            raise InputError(
                f"Cannot make {options.n_inner} inner folds of {len(np.unique(group[train]))} groups "
                f"({len(train)} training stimuli). Lower split.n_inner."
            )
        for number, validation in enumerate(_group_folds(group[train], options.n_inner, options.seed)):
            inner[fold, train[validation]] = number
    found = _measured(_split(stimuli, options, side, inner), space, options.features)
    return found.assign_coords(condition=("fold", ["far", "near"])) if options.kind == "distant" else found


def _measured(split: xr.Dataset, space: neighbours.Floats | None, name: str | None) -> xr.Dataset:
    """Add the distance of each tested stimulus to the nearest training stimulus."""
    if space is None:
        return split
    distance = np.full(split["side"].shape, np.nan, np.float32)
    for of, side in zip(distance, split["side"].values, strict=True):
        of[side == TEST] = neighbours.nearest(space[side == TEST], space[side == TRAIN])
    split["distance"] = ("fold", "stimulus"), distance
    return check(split.assign_attrs(features=name), "splits")


class Sizes(NamedTuple):
    """Numbers of stimuli, of the largest fold."""

    n_folds: int
    n_train: int
    n_test: int
    n_inner: int
    """Folds within training"""


def sizes(side: NDArray[np.int8], inner: NDArray[np.int16]) -> Sizes:
    """Count the stimuli of a split.

    Parameters
    ----------
    side, inner : arrays of shape (n_folds, n_stimuli)
        Of the stimuli that have responses.
    """
    n_train, n_test = (int((side == value).sum(1).max()) for value in (TRAIN, TEST))
    return Sizes(len(side), n_train, n_test, max(1, int(inner.max(initial=0)) + 1))


def _test_sets(stimuli: xr.Dataset, options: Split) -> list[NDArray[np.int64]]:
    """List the rows of each fold's test stimuli."""
    group = stimuli["group"].values
    names, member = np.unique(group, return_inverse=True)
    n_groups = len(names)
    if options.kind == "dataset":
        test = stimuli["split"].values == "test"
        if not test.any() or test.all():
            lacking = "test" if not test.any() else "training"
            raise InputError(
                f"The dataset {stimuli.attrs['dataset']!r} names no {lacking} stimuli. Use split.kind "
                "'stimulus' or 'group'."
            )
        return [np.flatnonzero(test)]
    if options.kind == "kfold":
        if not 2 <= options.n_folds <= n_groups:
            raise InputError(
                f"split.kind 'kfold' cannot make split.n_folds {options.n_folds} of {n_groups} "
                "groups of stimuli. Expected 2 or more, and no more than there are groups."
            )
        return _group_folds(group, options.n_folds, options.seed)
    if options.kind == "stimulus":
        n_test = int(np.ceil(n_groups * options.test_fraction))
        if n_test >= n_groups:
            raise InputError(
                f"split.test_fraction {options.test_fraction:g} of {n_groups} groups of stimuli leaves none "
                "to train on. Lower it."
            )
        kind = _kinds(stimuli, member) if options.stratify else None
        orders = [_order(n_groups, kind, options.seed + fold) for fold in range(options.n_folds)]
        return [np.flatnonzero(np.isin(member, order[:n_test])) for order in orders]
    if len(names) > MOST:
        raise InputError(
            f"split.kind 'group' would make {len(names)} folds, one for each group, expected at "
            f"most {MOST}. Use split.kind 'kfold' with split.n_folds: groups stay together there."
        )
    return [np.flatnonzero(group == g) for g in names]


def _kinds(stimuli: xr.Dataset, member: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the category of each group, the one that is largest in it."""
    if "category" not in stimuli:
        raise InputError(
            f"The stimuli of {stimuli.attrs['dataset']!r} carry no categories, and `split.stratify` deals "
            "these evenly. Leave it out."
        )
    return np.asarray(sum_groups(np.nan_to_num(stimuli["category"].values), member).argmax(1))


def _order(n: int, kind: NDArray[np.int64] | None, seed: int) -> NDArray[np.int64]:
    """Shuffle groups; any first part of them holds the same share of each kind."""
    order = np.random.RandomState(seed).permutation(n)
    if kind is None:
        return order
    place = np.empty(n)
    for k in np.unique(kind):
        of_kind = kind[order] == k
        place[of_kind] = (np.arange(of_kind.sum()) + 0.5) / of_kind.sum()
    return order[np.argsort(place, kind="stable")]


def _group_folds(group: NDArray[np.str_], n_folds: int, seed: int) -> list[NDArray[np.int64]]:
    """Deal groups to folds, as the shuffled `GroupKFold` of scikit-learn does, without its imports."""
    names, member = np.unique(group, return_inverse=True)
    order = np.random.RandomState(seed).permutation(len(names))
    return [np.flatnonzero(np.isin(member, part)) for part in np.array_split(order, n_folds)]


def _chronological(stimuli: xr.Dataset, options: Split) -> xr.Dataset:
    """Cut each film into stretches; each is tested once, and what is close to it in time is left out."""
    if "onset" not in stimuli.coords:
        raise InputError(
            f"The stimuli of {stimuli.attrs['dataset']!r} have no onsets. Use split.kind 'stimulus' "
            "or 'group'."
        )
    if options.n_folds < 2:
        raise InputError(
            "split.kind 'chronological' needs split.n_folds of 2 or more: each stretch is tested once."
        )
    onset = stimuli["onset"].values
    if not np.isfinite(onset).all():
        first = str(stimuli["stimulus_id"].values[~np.isfinite(onset)][0])
        raise InputError(
            f"{(~np.isfinite(onset)).sum()} of {len(onset)} stimuli have no onset (NaN), first {first!r}: "
            "what is close to them in time is not known. Leave them out, or give their onsets."
        )
    end = onset + (stimuli["duration"].values if "duration" in stimuli.coords else 0)
    film = stimuli["film"].values if "film" in stimuli.coords else np.full(len(onset), "")
    side = np.full((options.n_folds, len(onset)), TRAIN, np.int8)
    inner = np.full((options.n_folds, len(onset)), -1, np.int16)
    near = np.full((*inner.shape, 2), -1, np.int16)
    for name in np.unique(film):
        rows = np.flatnonzero(film == name)
        rows = rows[np.argsort(onset[rows], kind="stable")]
        for fold, test in enumerate(np.array_split(rows, options.n_folds)):
            if not len(test):
                raise InputError(f"{len(rows)} stimuli of {name!r} do not make {options.n_folds} folds.")
            low, high = onset[test[0]] - options.embargo, end[test].max() + options.embargo
            side[fold, rows[(end[rows] >= low) & (onset[rows] <= high)]] = UNUSED
            side[fold, test] = TEST
            train = rows[side[fold, rows] == TRAIN]
            stretches = np.array_split(train, options.n_inner)
            number = np.repeat(np.arange(options.n_inner), [len(s) for s in stretches])
            at, until = onset[train], np.maximum.accumulate(end[train])  # of all up to each
            first = np.searchsorted(until, at - options.embargo, "left")
            last = np.searchsorted(at, end[train] + options.embargo, "right") - 1
            inner[fold, train], near[fold, train] = number, number[np.stack([first, last], 1)]
    return _split(stimuli, options, side, inner, near)


def _split(
    stimuli: xr.Dataset, options: Split, side: NDArray[np.int8], inner: NDArray[np.int16],
    near: NDArray[np.int16] | None = None,
) -> xr.Dataset:  # fmt: skip
    group = stimuli["group"].values
    size = (side == TEST).sum(1)
    if size.min() < FEWEST:
        small = np.flatnonzero(size < FEWEST)
        one = int((side[small[0]] == TEST).argmax())
        raise InputError(
            f"{len(small)} of {len(size)} folds test fewer than {FEWEST} stimuli, first {size[small[0]]} "
            f"({str(stimuli['stimulus_id'].values[one])!r}, group {str(group[one])!r}): too few to "
            "correlate. Use fewer folds, larger groups (column `group` of the stimuli) or split.kind 'kfold'."
        )
    found: dict[str, Any] = {"side": (("fold", "stimulus"), side), "inner": (("fold", "stimulus"), inner)}
    if near is not None:
        found["near"] = (("fold", "stimulus", "edge"), near)
    split = xr.Dataset(
        found,
        {"stimulus_id": ("stimulus", stimuli["stimulus_id"].values), "group": ("stimulus", group)},
        {
            "kind": "splits", "kind_of_split": options.kind, "seed": options.seed,
            "dataset": stimuli.attrs["dataset"], "neuroenc_version": __version__,
        },
    )  # fmt: skip
    few = _too_few(split, options.n_inner)
    if few:
        raise InputError(
            f"{len(few)} of {len(side)} folds cannot make split.n_inner {options.n_inner} inner folds and "
            "fit each to stimuli that are not close in time, first "
            f"fold {few[0]} of {(side[few[0]] == TRAIN).sum()} training stimuli. Lower split.n_inner or "
            "split.embargo."
        )
    for fold in range(len(side)):
        guard(split["stimulus_id"].values, side[fold], group)
    return check(split, "splits")


def _too_few(split: xr.Dataset, n_inner: int) -> list[int]:
    """List the folds in which fewer inner folds than these leave something to fit."""
    train = [np.flatnonzero(side == TRAIN) for side in split["side"].values]
    inside = [inner_folds(_inner(split, fold, rows)) for fold, rows in enumerate(train)]
    return [k for k, folds in enumerate(inside) if sum(len(rows) > 0 for rows, _ in folds) < n_inner]


def shorten(split: xr.Dataset, responses: xr.Dataset, size: int) -> xr.Dataset:
    """Keep the first training stimuli of a seeded order, the same number in each fold; leave out the others.

    A larger size holds all stimuli of a smaller one. Test stimuli are as they were, and of those that stay
    the inner fold.

    Parameters
    ----------
    split : Dataset
        Splits; its seed draws the order.
    responses : Dataset
        Of one subject: stimuli without a response are not counted, and left out of training.
    size : int
        Training stimuli of each fold.

    Returns
    -------
    Dataset
        Splits.

    Raises
    ------
    InputError
        A fold has fewer training stimuli, or too few of an inner fold would stay to fit it.
    """
    response = responses["response"].values
    answered = np.isfinite(response).any(axis=tuple(range(1, response.ndim)))
    known = np.isin(split["stimulus_id"].values, responses["stimulus_id"].values[answered])
    order = np.argsort(split["stimulus_id"].values)  # whatever the order of rows is
    order = order[np.random.default_rng(split.attrs["seed"]).permutation(len(order))]
    out = split.copy(deep=True)
    for fold, side in enumerate(out["side"].values):
        train = order[(side == TRAIN)[order] & known[order]]
        if len(train) < size:
            raise InputError(
                f"learning_curve.sizes: {size} is more than the {len(train)} training stimuli with responses "
                f"of fold {fold}. Lower it; all of them are in the curve by themselves."
            )
        side[np.setdiff1d(np.flatnonzero(side == TRAIN), train[:size])] = UNUSED
    trained = out["side"] == TRAIN
    for name in {"inner", "near"} & set(out.data_vars):
        out[name] = out[name].where(trained, -1).astype(split[name].dtype).transpose(*split[name].dims)
    n_inner = int(split["inner"].max()) + 1
    if few := _too_few(out, n_inner):
        raise InputError(
            f"learning_curve.sizes: {size} training stimuli of fold {few[0]} do not make {n_inner} inner "
            "folds with something to fit in each. Raise it, or lower split.n_inner."
        )
    return check(out, "splits")


def guard(stimulus_id: ArrayLike, side: ArrayLike, group: ArrayLike) -> None:
    """Refuse a split in which one stimulus or one group stands on both sides.

    Parameters
    ----------
    stimulus_id, group : arrays of text, (n,)
    side : array of int, (n,)
        0 train, 1 test; other values are not used.

    Raises
    ------
    LeakError
        Naming the first that does.
    """
    side = np.asarray(side)
    for what, values in (("stimuli", np.asarray(stimulus_id)), ("groups", np.asarray(group))):
        both = np.intersect1d(values[side == TRAIN], values[side == TEST])
        if len(both):
            raise LeakError(
                f"{what} on both sides of the split: {len(both)}, first {str(both[0])!r}. Its "
                "training and test data are not independent. Split by stimulus and group."
            )


def sides(
    split: xr.Dataset, fold: int, stimulus_id: NDArray[np.str_], group: NDArray[np.str_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Look up side and inner fold of presentations, and guard them.

    Parameters
    ----------
    split : Dataset
        Splits.
    fold : int
    stimulus_id, group : arrays of text, (n_presentations,)
        Of the responses.

    Returns
    -------
    side : int array of shape (n_presentations,)
    inner : int array of shape (n_presentations, 3)
        The inner fold of each, and the first and last that it is near to.

    Raises
    ------
    InputError
        A stimulus is not in the split.
    LeakError
        A stimulus or group stands on both sides.
    """
    guard(split["stimulus_id"].values, split["side"].values[fold], split["group"].values)
    row = {s: i for i, s in enumerate(split["stimulus_id"].values)}
    missing = [s for s in dict.fromkeys(stimulus_id) if s not in row]
    if missing:
        raise InputError(
            f"{len(missing)} stimuli of the responses are not in the split, first {str(missing[0])!r}; the "
            f"split holds {len(row)}, first {str(next(iter(row), None))!r}. Make it from the same stimuli."
        )
    rows = np.array([row[s] for s in stimulus_id], int)
    side = split["side"].values[fold][rows]
    guard(stimulus_id, side, group)
    return side.astype(int), _inner(split, fold, rows)


def _inner(split: xr.Dataset, fold: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    own = split["inner"].values[fold][rows][:, None].astype(int)
    near = split["near"].values[fold][rows].astype(int) if "near" in split else np.repeat(own, 2, 1)
    return np.concatenate([own, near], 1)


def inner_folds(inner: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return rows to fit and rows to validate on, for each inner fold.

    Parameters
    ----------
    inner : int array of shape (n_training_rows, 3)
        As `sides` gives it.
    """
    own, first, last = inner.T
    return [(np.flatnonzero((k < first) | (k > last)), np.flatnonzero(own == k)) for k in np.unique(own)]
