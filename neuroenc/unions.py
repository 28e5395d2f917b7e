"""One split of several StimulusSets: what any of them tests, none trains on.

Sets are matched by a label of their stimuli, the concept, and by the content of pictures: what shares either
is one group. Copies that were scaled or compressed anew have other contents; only their label joins
them (the command warns of others).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from neuroenc import __version__
from neuroenc.arrays import check
from neuroenc.config import Split
from neuroenc.errors import InputError, invalid
from neuroenc.splits import FEWEST, TEST, TRAIN, UNUSED, guard

Texts = NDArray[np.str_]
KINDS = ("dataset", "stimulus", "kfold")


def union(
    stimuli: Mapping[str, xr.Dataset], options: Split, *, by: str = "caption",
    content: Mapping[str, Sequence[str] | Texts] | None = None, given: Mapping[str, xr.Dataset] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Divide several StimulusSets together.

    Parameters
    ----------
    stimuli : mapping
        Name of a set -> StimulusSet.
    options : Split
        Of kind 'dataset', each set keeps the test stimuli it names (or those of `given`), and what shows a
        concept that another set tests is left out ('neither'). Of kind 'stimulus' or 'kfold' concepts that
        all sets show are drawn, and all their stimuli are tested.
    by : str
        'caption'; 'category', the strongest; 'group': sets share no labels, each keeps its own groups, and
        only pictures of equal content join them; or a column of the sets.
    content : mapping, optional
        Set -> what tells the pixels of each stimulus apart, (n_stimuli,), as a hash.
    given : mapping, optional
        Set -> Splits, whose test stimuli take the place of those the set names.

    Returns
    -------
    Dataset
        Splits over the stimuli of all sets one after the other, with `set`; `group` is the concept, `content`
        what tells pictures apart. `part` gives the split of one set.

    Raises
    ------
    InputError
        A set without labels; another kind of split; no concept that all sets show; a set that tests or trains
        on too few.
    LeakError
        `given` trains, within its own set, on what it tests.
    """
    if options.kind not in KINDS:
        raise invalid("split.kind of several sets", options.kind, KINDS)
    names = list(stimuli)
    of_set = np.repeat(names, [s.sizes["stimulus"] for s in stimuli.values()])
    label = np.concatenate([labels(s, by, name) for name, s in stimuli.items()])
    ids = np.concatenate([s["stimulus_id"].values for s in stimuli.values()])
    each = ids if content is None else np.concatenate([content[name] for name in names])
    group = joined(label, each)
    if options.kind == "dataset":
        side = np.concatenate([_own(s, name, given) for name, s in stimuli.items()])[None]
    else:
        side = np.where(_drawn(group, of_set, options, own=by == "group"), TEST, TRAIN).astype(np.int8)
    inner = np.full(side.shape, -1, np.int16)
    for sides, folds in zip(side, inner, strict=True):
        sides[np.isin(group, group[sides == TEST]) & (sides == TRAIN)] = UNUSED
        trained, member = np.unique(group[sides == TRAIN], return_inverse=True)
        dealt = np.random.RandomState(options.seed).permutation(len(trained)) % options.n_inner
        folds[sides == TRAIN] = dealt[member]
    _enough(side, inner, of_set, options.n_inner)
    split = xr.Dataset(
        {"side": (("fold", "stimulus"), side), "inner": (("fold", "stimulus"), inner)},
        {
            "stimulus_id": ("stimulus", ids), "group": ("stimulus", group), "content": ("stimulus", each),
            "set": ("stimulus", of_set),
        },
        {
            "kind": "splits", "kind_of_split": options.kind, "seed": options.seed, "matched_by": by,
            "dataset": " + ".join(str(s.attrs["dataset"]) for s in stimuli.values()),
            "neuroenc_version": __version__,
        },
    )  # fmt: skip
    return apart(check(split, "splits"))


def apart(split: xr.Dataset) -> xr.Dataset:
    """Return a split of several sets if no content and no concept stands on both of its sides.

    Raises
    ------
    InputError
        It is the split of one set.
    LeakError
        Naming the first that does.
    """
    if "set" not in split.coords or "content" not in split.coords:
        raise InputError("This is the split of one set. Make one of all sets by `neuroenc split union`.")
    for side in split["side"].values:
        guard(split["content"].values, side, split["group"].values)
    return split


def part(split: xr.Dataset, name: str) -> xr.Dataset:
    """Return the split of one set.

    Raises
    ------
    InputError
        No such set.
    """
    of_set = split["set"].values
    if name not in of_set:
        raise invalid("set", name, list(dict.fromkeys(of_set.tolist())))
    return split.isel(stimulus=np.flatnonzero(of_set == name))


def labels(stimuli: xr.Dataset, by: str, name: str) -> Texts:
    """Return what stimuli show, spelled alike: lower case, blanks for underscores.

    Parameters
    ----------
    stimuli : Dataset
        A StimulusSet.
    by : str
        As in `union`.
    name : str
        Of the set.

    Raises
    ------
    InputError
        The stimuli carry no such label; the coordinates they have are named.
    """
    if by == "group":
        return np.array([f"{name}: {g}" for g in stimuli["group"].values])
    if by == "caption" and "caption" in stimuli and stimuli.sizes["caption_index"] == 1:
        found = stimuli["caption"].values[:, 0]
    elif by == "category" and "category" in stimuli:
        strength = np.nan_to_num(stimuli["category"].values)
        found = np.where(strength.any(1), stimuli["category_name"].values[strength.argmax(1)], "")
    elif by in stimuli.coords and stimuli[by].dims == ("stimulus",):
        found = _spelled(stimuli[by].values)
    else:
        columns = [str(c) for c, v in stimuli.coords.items() if v.dims == ("stimulus",)]
        raise InputError(
            f"The stimuli of the set {name!r} have no single label {by!r} by which sets are matched. "
            f"Allowed: caption (one a stimulus), category, group, {', '.join(columns)}."
        )
    spelled = [unicodedata.normalize("NFC", s).replace("_", " ").casefold().split() for s in found]
    empty = [i for i, words in enumerate(spelled) if not words]
    if empty:
        first = str(stimuli["stimulus_id"].values[empty[0]])
        raise InputError(
            f"{len(empty)} stimuli of the set {name!r} have no {by}, first {first!r}. Name it, or leave them "
            "out."
        )
    return np.array([" ".join(words) for words in spelled])


def _spelled(values: NDArray[np.generic]) -> Texts:
    """Spell the labels of a column: a missing number has none, and 3 is 3.0."""
    if values.dtype.kind != "f":
        return values.astype(str)
    numbers = values.tolist()
    return np.array(["" if np.isnan(v) else str(int(v)) if v.is_integer() else str(v) for v in numbers])


def joined(label: Texts, content: Texts) -> Texts:
    """Put what shares a label or a content into one group, called by the first of its labels.

    Parameters
    ----------
    label, content : arrays of text, (n,)
    """
    names, row = np.unique(label, return_inverse=True)
    column = np.unique(content, return_inverse=True)[1] + len(names)
    size = len(names) + len(label)
    edges = coo_array((np.ones(len(row)), (row, column)), (size, size))
    which = connected_components(edges, directed=False)[1][: len(names)]
    first = {p: n for n, p in reversed(list(enumerate(which)))}
    return np.asarray(names[[first[p] for p in which]][row])


def _own(stimuli: xr.Dataset, name: str, given: Mapping[str, xr.Dataset] | None) -> NDArray[np.int8]:
    """Return the side of each stimulus as its set names it, or as a split that is given does."""
    ids = stimuli["stimulus_id"].values
    if given is None or name not in given:
        return np.where(stimuli["split"].values == "test", TEST, TRAIN).astype(np.int8)
    split = given[name]
    if split.sizes["fold"] != 1:
        raise InputError(
            f"The split of {name!r} has {split.sizes['fold']} folds, expected 1: sets are parted once "
            "together. Use a split of one fold, or kind 'kfold' without splits."
        )
    side = dict(zip(split["stimulus_id"].values, split["side"].values[0], strict=True))
    guard(split["stimulus_id"].values, split["side"].values[0], split["group"].values)
    unknown = np.setdiff1d(split["stimulus_id"].values, ids)
    if len(unknown):
        raise InputError(
            f"{len(unknown)} stimuli of the split of {name!r} are not in its set, first {str(unknown[0])!r}. "
            "Use the split of these stimuli."
        )
    return np.array([side.get(s, UNUSED) for s in ids], np.int8)


def _drawn(group: Texts, of_set: Texts, options: Split, *, own: bool) -> NDArray[np.bool_]:
    """Draw groups that all sets show, or each set's own: what each fold tests, (n_folds, n_stimuli)."""
    every = [np.unique(group[of_set == name]) for name in dict.fromkeys(of_set.tolist())]
    pools = every
    if not own:
        count = np.unique(np.concatenate(every), return_counts=True)
        pools = [count[0][count[1] == len(every)]]
    folds = options.n_folds
    needed = max(2, folds) if options.kind == "kfold" else 2
    if (few := min(map(len, pools))) < needed or (options.kind == "kfold" and folds < 2):
        raise InputError(
            f"{few} concepts are shown by all of {len(every)} sets, and {folds} folds of kind "
            f"{options.kind!r} need {needed} of them, two folds or more of kfold. Match the sets by another "
            "column."
        )
    chosen: list[list[Texts]] = [[] for _ in range(folds)]
    for pool in pools:
        for fold in range(folds):
            if options.kind == "kfold":
                order = np.random.RandomState(options.seed).permutation(len(pool))
                chosen[fold].append(pool[np.array_split(order, folds)[fold]])
            else:
                order = np.random.RandomState(options.seed + fold).permutation(len(pool))
                chosen[fold].append(pool[order[: int(np.ceil(len(pool) * options.test_fraction))]])
    return np.stack([np.isin(group, np.concatenate(c)) for c in chosen])


def _enough(side: NDArray[np.int8], inner: NDArray[np.int16], of_set: Texts, n_inner: int) -> None:
    """Refuse a split in which a set tests fewer than three stimuli, or fills fewer than two inner folds."""
    for name in dict.fromkeys(of_set.tolist()):
        mine = of_set == name
        tested = (side[:, mine] == TEST).sum(1).min()
        trained = [folds[mine & (sides == TRAIN)] for sides, folds in zip(side, inner, strict=True)]
        filled = min(len(np.unique(folds)) for folds in trained)
        if tested < FEWEST or filled < 2:
            raise InputError(
                f"The set {name!r} tests {tested} stimuli and trains on those of {filled} of {n_inner} inner "
                f"folds, expected {FEWEST} and 2 or more, once concepts that other sets test are left out. "
                "Draw other concepts (split.seed, split.test_fraction), or leave the set out."
            )
