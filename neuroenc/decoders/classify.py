"""Which class was seen? Classes of held-out stimuli, straight from the responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, config, splits
from neuroenc.arrays import average_repeats, check
from neuroenc.encoders.encode import transductive
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError, invalid
from neuroenc.evaluation.classification import METRICS, over_folds

Ints = NDArray[np.int64]
Floats = NDArray[Any]
DTYPES = "Uiub"  # of labels: text, whole numbers, yes or no


def labels(stimuli: xr.Dataset, target: str) -> tuple[list[str], dict[str, int]]:
    """Read the label of each stimulus.

    Parameters
    ----------
    stimuli : Dataset
        StimulusSet.
    target : str
        'category': the strongest of each stimulus; 'category:NAME': whether NAME is there; else a column of
        text, whole numbers or truth values.

    Returns
    -------
    classes : list of str
        In the order of the table of categories, else sorted.
    label : dict
        Stimulus to number of its class; without those that have none.

    Raises
    ------
    InputError
        No such target, or a stimulus with several strongest categories.
    """
    ids = stimuli["stimulus_id"].values.tolist()
    table, _, name = target.partition(":")
    if table == "category" and "category" in stimuli:
        strength = stimuli["category"].values
        names = stimuli["category_name"].values.astype(str).tolist()
        if name:
            if name not in names:
                raise invalid("target", target, [f"category:{n}" for n in names])
            present = strength[:, names.index(name)] > 0
            return [f"no {name}", name], dict(zip(ids, present.astype(int).tolist(), strict=True))
        best = strength == strength.max(1, keepdims=True)
        several = (best.sum(1) > 1) & (strength.max(1) > 0)
        if several.any():
            raise InputError(
                f"{several.sum()} of {len(ids)} stimuli have several strongest categories, first "
                f"{ids[int(several.argmax())]!r}. Ask for one of them: target 'category:{names[0]}'."
            )
        kept = np.flatnonzero(strength.max(1) > 0)
        return names, {ids[i]: int(best[i].argmax()) for i in kept}
    columns = [
        str(k) for k, v in stimuli.coords.items()
        if v.dims == ("stimulus",) and v.dtype.kind in DTYPES and k != "stimulus_id"
    ]  # fmt: skip
    if target not in columns:
        raise invalid("target", target, [*(["category"] if "category" in stimuli else []), *columns])
    values = stimuli[target].values.astype(str)
    classes = sorted(set(values.tolist()) - {""})
    return classes, {s: classes.index(v) for s, v in zip(ids, values.tolist(), strict=True) if v}


def windows(responses: xr.Dataset, options: config.Classifying) -> tuple[Floats, Floats, Floats]:
    """Cut and average time bins.

    Parameters
    ----------
    responses : Dataset
    options : Classifying

    Returns
    -------
    values : array of shape (n_presentations, n_neuroids, n_windows)
    start, stop : arrays of shape (n_windows,)
        s; NaN for responses without time bins. What is left over at the end is left out.

    Raises
    ------
    InputError
        No time bins, or none in the window; a width that is not a number of bins.
    """
    values = responses["response"].values
    if values.ndim == 2:
        if options.window or options.bin_width or options.time == "each":
            raise InputError(
                "These responses have no time bins. Leave `window`, `bin_width` and `time` out "
                "of the classifier."
            )
        return values[..., None], np.full(1, np.nan), np.full(1, np.nan)
    start, stop = responses["start"].values.astype(float), responses["stop"].values.astype(float)
    if options.window:
        low, high = options.window
        inside = (start > low - 1e-6) & (stop < high + 1e-6)
        if not inside.any():
            raise InputError(
                f"No time bin lies in the window {low:g} to {high:g} s; they go from "
                f"{start[0]:g} to {stop[-1]:g} s."
            )
        values, start, stop = values[..., inside], start[inside], stop[inside]
    if options.bin_width:
        each = float(np.median(stop - start))
        n = round(options.bin_width / each)
        if n < 1 or abs(n * each - options.bin_width) > 1e-3 * each * n or n > len(start):
            raise InputError(
                f"bin_width {options.bin_width:g} s is no number of the {len(start)} time bins of {each:g} s."
            )
        k = len(start) // n
        values = values[..., : k * n].reshape(*values.shape[:2], k, n).mean(-1)
        start, stop = start[: k * n : n], stop[n - 1 : k * n : n]
    return values, start, stop


def fit_predict(
    X: Floats, label: Ints, new: Floats, n_classes: int, folds: list[Any], options: config.Classifying
) -> Floats:
    """Fit to training responses and score the classes of new ones.

    Parameters
    ----------
    X, new : arrays of shape (n, n_features), (m, n_features)
        Standardised.
    label : int array of shape (n_labellings, n)
        Several labellings of the same rows, each fitted by itself.
    n_classes : int
    folds : list of (rows to fit, rows to validate)
        For alpha.
    options : Classifying

    Returns
    -------
    array of shape (n_labellings, m, n_classes)
        Ridge: the predicted indicator of each class, one alpha per class; lda: the discriminants.
    """
    if options.estimator == "ridge":
        low, high, number = options.alphas
        indicator = np.eye(n_classes)[label].transpose(1, 0, 2)
        ridge = RidgeCV(np.logspace(low, high, number), cv=folds, dtype="float64")
        predicted = ridge.fit(X, indicator.reshape(len(X), -1)).predict(new)
        return np.asarray(predicted).reshape(len(new), len(label), n_classes).transpose(1, 0, 2)
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    out = np.empty((len(label), len(new), n_classes))
    for k, one in enumerate(label):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X, one)
        found = model.decision_function(new)
        out[k] = np.stack([-found / 2, found / 2], 1) if n_classes == 2 else found
    return out


def dealt(label: Ints, group: NDArray[np.str_], rng: np.random.Generator) -> Ints:
    """Deal labels of stimuli anew under the null: within groups, or among groups of one class each.

    Parameters
    ----------
    label : int array of shape (n_stimuli,)
    group : array of shape (n_stimuli,)
    rng : Generator
    """
    names, member = np.unique(group, return_inverse=True)
    rows = [np.flatnonzero(member == g) for g in range(len(names))]
    if any(len(set(label[r].tolist())) > 1 for r in rows):
        out = label.copy()
        for r in rows:
            out[r] = rng.permutation(label[r])
        return out
    return rng.permutation(np.array([label[r[0]] for r in rows]))[member]


def classify(
    responses: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset, options: config.Classifying
) -> xr.Dataset:
    """Fit a classifier on the training stimuli of each fold and score the classes of its test stimuli.

    The same is done after the labels have been dealt anew, `n_permutations` times.

    Parameters
    ----------
    responses, stimuli, split : Dataset
        Responses, StimulusSet, Splits.
    options : Classifying

    Returns
    -------
    Dataset
        Classes: `class_score` (presentation, time_bin, class) of the test stimuli of all folds, `label`, and
        `null` (permutation, metric, time_bin), what shuffled labels reach. One time bin if bins are joined.

    Raises
    ------
    InputError
        No such target; fewer than two classes; a class with fewer than two training stimuli, or in the test
        stimuli alone; no neuroid varies.
    """
    classes, known = labels(stimuli, options.target)
    shown = responses["stimulus_id"].values
    labelled = np.array([s in known for s in shown])
    if not labelled.any():
        raise InputError(f"No stimulus of the responses has a label {options.target!r}. Check the stimuli.")
    responses = responses.isel(presentation=labelled)
    values, start, stop = windows(responses, options)
    if options.standardise == "run":
        values = within_runs(values, responses["run"].values)
    ids, group = responses["stimulus_id"].values, responses["group"].values
    if options.repeats == "mean":
        ids, values = average_repeats(responses.drop_vars("response").assign(
            response=(("presentation", "neuroid", "window"), values)))  # fmt: skip
        first = dict(zip(responses["stimulus_id"].values[::-1], group[::-1], strict=True))
        group = np.array([first[s] for s in ids])
    present = sorted({known[s] for s in ids})
    classes = [classes[k] for k in present]
    if len(classes) < 2:
        raise InputError(
            f"All {len(set(ids.tolist()))} stimuli are of one class of {options.target!r}, {classes[0]!r}. "
            "Choose a target with two classes or more."
        )
    stimulus, at, row = np.unique(ids, return_index=True, return_inverse=True)
    label = np.array([present.index(known[s]) for s in stimulus])
    rng = np.random.default_rng(options.seed)
    every = np.stack([label, *(dealt(label, group[at], rng) for _ in range(options.n_permutations))])
    parts = [values.reshape(len(ids), -1)] if options.time == "joined" else list(np.moveaxis(values, 2, 0))
    if options.time == "joined":
        start, stop = start[:1], stop[-1:]
    found, rows, fold_of = [], [], []
    for fold in tqdm(range(split.sizes["fold"]), "classifier", disable=None):
        side, inner = splits.sides(split, fold, ids, group)
        train, test = np.flatnonzero(side == splits.TRAIN), np.flatnonzero(side == splits.TEST)
        enough(label, row[train], row[test], classes, fold)
        folds = splits.inner_folds(inner[train])
        scores = [
            fit_predict(
                *standardised(X, train, test, fold, every[:, row[train]]), len(classes), folds, options
            )
            for X in parts
        ]
        found.append(np.stack(scores, 2))
        rows.append(test)
        fold_of.append(np.full(len(test), fold))
    score, tested, folds_of = np.concatenate(found, 1), np.concatenate(rows), np.concatenate(fold_of)
    null = np.array([
        [[s[m]["value"] for s in each] for m in METRICS]
        for each in (
            [over_folds(score[k, :, t], every[k][row[tested]], folds_of) for t in range(len(parts))]
            for k in range(1, len(every))
        )
    ])  # fmt: skip
    dataset = xr.Dataset(
        {
            "class_score": (("presentation", "time_bin", "class"), score[0]),
            "null": (("permutation", "metric", "time_bin"), null),
        },
        {
            "stimulus_id": ("presentation", ids[tested]), "group": ("presentation", group[tested]),
            "fold": ("presentation", folds_of), "label": ("presentation", label[row[tested]]),
            "class": ("class", np.array(classes)), "metric": ("metric", np.array(METRICS)),
            "start": ("time_bin", start), "stop": ("time_bin", stop),
        },
        {
            "kind": "classes", "neuroenc_version": __version__, "dataset": responses.attrs["dataset"],
            "target": options.target, "estimator": options.estimator, "seed": options.seed,
            "n_bootstraps": options.n_bootstraps, "n_unlabelled": int((~labelled).sum()),
            "transductive": "neuroids are standardised within each run" if options.standardise == "run"
            else transductive(responses, split),
        },
    )  # fmt: skip
    return check(dataset, "classes")


def within_runs(values: Floats, run: Ints) -> Floats:
    """Standardise each neuroid within each run; what does not vary there becomes 0."""
    out = np.empty(values.shape, np.float32)
    for r in np.unique(run):
        one = values[run == r].astype(np.float64)
        spread = one.std(0)
        out[run == r] = (one - one.mean(0)) / np.where(spread > 0, spread, 1)
    return out


def standardised(X: Floats, train: Ints, test: Ints, fold: int, label: Ints) -> tuple[Floats, Ints, Floats]:
    """Scale neuroids by the training stimuli; leave out those that are not finite or do not vary there."""
    X = X.astype(np.float64)
    centre, scale = X[train].mean(0), X[train].std(0)
    usable = np.isfinite(scale) & (scale > 0)
    if not usable.any():
        raise InputError(
            f"None of {X.shape[1]} responses is finite and varies over the training stimuli of fold {fold}. "
            "Check the responses."
        )
    X = np.nan_to_num((X[:, usable] - centre[usable]) / scale[usable], posinf=0, neginf=0)
    return X[train], label, X[test]


def enough(label: Ints, train: Ints, test: Ints, classes: list[str], fold: int) -> None:
    """Refuse a fold whose training stimuli lack a class.

    Parameters
    ----------
    label : int array of shape (n_stimuli,)
    train, test : int arrays
        Stimulus of each row.
    classes : list of str
    fold : int

    Raises
    ------
    InputError
        Naming the class.
    """
    count = np.bincount(label[np.unique(train)], minlength=len(classes))
    if not len(test):
        raise InputError(f"Fold {fold} has no test stimuli with a label. Use another split.")
    lacking = np.flatnonzero(count < 2)
    if len(lacking):
        k = int(lacking[0])
        tested = int((label[np.unique(test)] == k).sum())
        raise InputError(
            f"Fold {fold} trains on {count[k]} stimuli of class {classes[k]!r} and tests "
            f"{tested}; two or more "
            "are needed to learn it. Use another split or target."
        )
