"""Which class was seen? Classes of held-out stimuli, straight from the responses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, config, splits
from neuroenc.arrays import average_repeats, check
from neuroenc.blocks import columns
from neuroenc.decoders.discriminants import discriminants
from neuroenc.encoders.design import Design
from neuroenc.encoders.encode import transductive
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError, invalid
from neuroenc.evaluation.classification import METRICS, over_folds
from neuroenc.real import deviation

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
    """Cut, average and join time bins.

    Parameters
    ----------
    responses : Dataset
    options : Classifying

    Returns
    -------
    values : array of shape (n_presentations, n_features, n_windows)
        Of joined bins one window, whose features are those of all bins.
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
    if options.time == "joined":
        return values.reshape(len(values), -1, 1), start[:1], stop[-1:]
    return values, start, stop


def fit_predict(
    X: Any, label: Ints, new: Floats, n_classes: int, folds: list[Any], options: config.Classifying
) -> Floats:
    """Fit to training responses and score the classes of new ones.

    Parameters
    ----------
    X, new : array or Design of shape (n, n_features), array of shape (m, n_features)
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
        Ridge: the predicted indicator of each class, one alpha per class (of a class that no validation fold
        holds beside another the one that is best for the others); lda: the discriminants.
    """
    if options.estimator == "ridge":
        candidates = np.sort(np.logspace(*options.alphas))
        every = np.arange(len(X))
        indicator = np.eye(n_classes)[label].transpose(1, 0, 2).reshape(len(X), -1)
        cv = folds if len(candidates) > 1 else [(every, every)]  # there is nothing to choose
        ridge = RidgeCV(candidates, cv=cv, dtype="float64").fit(X, indicator)
        found = ridge.cv_scores_.reshape(-1, len(label), n_classes)
        silent = ~found.any(0)
        if silent.any():
            shared = candidates[found.sum(2).argmax(0)]
            shared = np.where(found.any((0, 2)), shared, shared[0])
            ridge.alpha_ = np.where(silent, shared[:, None], ridge.alpha_.reshape(silent.shape)).ravel()
            ridge = ridge.refit(X, indicator)
        return np.asarray(ridge.predict(new)).reshape(len(new), len(label), n_classes).transpose(1, 0, 2)
    # a class that labels dealt anew lack is not chosen
    out = np.full((len(label), len(new), n_classes), -np.inf)
    for k, one in enumerate(label):
        there, own = np.unique(one, return_inverse=True)
        if len(there) == 1:
            out[k][:, there] = 0
            continue
        found = discriminants(X, own, new)
        if len(there) == 2:  # how far from the boundary, on both sides
            found = (found - found[:, ::-1]) / 2
        out[k][:, there] = found
    return out


def dealt(label: Ints, group: NDArray[np.str_], rng: np.random.Generator) -> Ints:
    """Deal labels of stimuli anew under the null: within groups of several classes, among groups of one.

    Parameters
    ----------
    label : int array of shape (n_stimuli,)
    group : array of shape (n_stimuli,)
    rng : Generator
    """
    names, member = np.unique(group, return_inverse=True)
    rows = [np.flatnonzero(member == g) for g in range(len(names))]
    pure = [r for r in rows if len(set(label[r].tolist())) == 1]
    out = label.copy()
    for r, one in zip(pure, rng.permutation([label[r[0]] for r in pure]), strict=True):
        out[r] = one
    for r in rows:
        if len(set(label[r].tolist())) > 1:
            out[r] = rng.permutation(label[r])
    return out


class Table(NamedTuple):
    """What is classified: a row for each stimulus, or for each presentation."""

    X: Floats  # (n_rows, n_features, n_windows)
    start: Floats  # (n_windows,), s
    stop: Floats
    stimulus_id: NDArray[np.str_]  # (n_rows,)
    group: NDArray[np.str_]
    label: Ints
    classes: list[str]
    n_unlabelled: int  # presentations left out


def tabulate(responses: xr.Dataset, stimuli: xr.Dataset, options: config.Classifying) -> Table:
    """Lay out the responses to stimuli that have a label.

    Parameters
    ----------
    responses, stimuli : Dataset
        Responses, StimulusSet.
    options : Classifying

    Raises
    ------
    InputError
        No such target, no stimulus with a label, or all of one class.
    """
    names, known = labels(stimuli, options.target)
    labelled = np.isin(responses["stimulus_id"].values, list(known))
    if not labelled.any():
        raise InputError(f"No stimulus of the responses has a label {options.target!r}. Check the stimuli.")
    responses = responses.isel(presentation=labelled)
    X, start, stop = windows(responses, options)
    if options.standardise == "run":
        session = np.char.add(responses["session"].values.astype(str), "/")  # each counts its runs anew
        X = within_runs(X, np.char.add(session, responses["run"].values.astype(str)))
    ids, group = responses["stimulus_id"].values, responses["group"].values
    if options.repeats == "mean":
        group_of = dict(zip(ids.tolist(), group.tolist(), strict=True))
        single = xr.Dataset(
            {"response": (("presentation", "feature", "window"), X)}, {"stimulus_id": ("presentation", ids)}
        )
        ids, X = average_repeats(single)
        group = np.array([group_of[s] for s in ids])
    present, label = np.unique([known[s] for s in ids], return_inverse=True)
    classes = [names[k] for k in present]
    if len(classes) < 2:
        raise InputError(
            f"All {len(set(ids.tolist()))} stimuli are of one class of {options.target!r}, {classes[0]!r}. "
            "Choose a target with two classes or more."
        )
    return Table(X, start, stop, ids, group, label, classes, int((~labelled).sum()))


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
        Classes: `class_score` (presentation, time_bin, class) of the test stimuli of all folds, NaN for a row
        without any response; `label`, and `null` (permutation, metric, time_bin), what labels dealt anew
        reach. One time bin if bins are joined.

    Raises
    ------
    InputError
        As `tabulate`; a class with fewer than two training stimuli, or in the test stimuli alone; no neuroid
        varies; inner folds of one class each.
    """
    table = tabulate(responses, stimuli, options)
    _, at, stimulus = np.unique(table.stimulus_id, return_index=True, return_inverse=True)
    rng = np.random.default_rng(options.seed)
    anew = [dealt(table.label[at], table.group[at], rng)[stimulus] for _ in range(options.n_permutations)]
    labelling = np.stack([table.label, *anew])
    there = np.asarray(np.isfinite(table.X).any(axis=(1, 2)))
    if not there.all():
        gone = dict.fromkeys(table.stimulus_id[~there].tolist())
        tqdm.write(
            f"{(~there).sum()} of {len(there)} rows have no response (all NaN): left out of training, no "
            f"class in the test: {', '.join(list(gone)[:5])}{', …' if len(gone) > 5 else ''}"
        )
    scores, tested, fold_of = [], [], []
    for fold in tqdm(range(split.sizes["fold"]), "classifier", disable=None):
        side, inner = splits.sides(split, fold, table.stimulus_id, table.group)
        train, test = np.flatnonzero((side == splits.TRAIN) & there), np.flatnonzero(side == splits.TEST)
        enough(table, train, test, fold)
        folds = splits.inner_folds(inner[train])
        if options.estimator == "ridge" and options.alphas[2] > 1:
            choosable(table.label[train], folds, fold)
        each = []
        for X in np.moveaxis(table.X, 2, 0):
            A, B, missing = standardised(X, train, test, fold)
            score = fit_predict(A, labelling[:, train], B, len(table.classes), folds, options)
            score[:, missing] = np.nan
            each.append(score)
        scores.append(np.stack(each, 2))
        tested.append(test)
        fold_of.append(np.full(len(test), fold))
    score, rows, folds_of = np.concatenate(scores, 1), np.concatenate(tested), np.concatenate(fold_of)
    null = np.empty((options.n_permutations, len(METRICS), len(table.start)))
    for k, t in np.ndindex(options.n_permutations, len(table.start)):
        found = over_folds(score[k + 1, :, t], labelling[k + 1, rows], folds_of)
        null[k, :, t] = [found[m]["value"] for m in METRICS]
    return check(_dataset(table, score[0], rows, folds_of, null, options).assign_attrs(
        dataset=responses.attrs["dataset"],
        transductive="neuroids are standardised within each run" if options.standardise == "run"
        else transductive(responses, split),
    ), "classes")  # fmt: skip


def _dataset(
    table: Table, score: Floats, rows: Ints, fold: Ints, null: Floats, options: config.Classifying
) -> xr.Dataset:
    return xr.Dataset(
        {
            "class_score": (("presentation", "time_bin", "class"), score),
            "null": (("permutation", "metric", "time_bin"), null),
        },
        {
            "stimulus_id": ("presentation", table.stimulus_id[rows]),
            "group": ("presentation", table.group[rows]), "fold": ("presentation", fold),
            "label": ("presentation", table.label[rows]), "class": ("class", np.array(table.classes)),
            "metric": ("metric", np.array(METRICS)), "start": ("time_bin", table.start),
            "stop": ("time_bin", table.stop),
        },
        {
            "kind": "classes", "neuroenc_version": __version__, "target": options.target,
            "estimator": options.estimator, "seed": options.seed, "n_bootstraps": options.n_bootstraps,
            "n_unlabelled": table.n_unlabelled,
        },
    )  # fmt: skip


def within_runs(values: Floats, run: NDArray[Any]) -> Floats:
    """Standardise each neuroid within each run; what does not vary there becomes 0; NaN stays."""
    out = np.empty(values.shape, np.float32)
    for r in np.unique(run):
        one = values[run == r]
        spread, known = deviation(one, missing=True), np.isfinite(one)
        mean = np.where(known, one, 0).sum(0, dtype=np.float64) / np.maximum(known.sum(0), 1)
        out[run == r] = np.where(known, one - mean, np.nan) / np.where(spread > 0, spread, 1)
    return out


def standardised(X: Floats, train: Ints, test: Ints, fold: int) -> tuple[Design, Floats, NDArray[np.bool_]]:
    """Scale features by the training rows; leave out those that are not finite or do not vary there.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
        Read in blocks of features; the training rows that come back are read where they are indexed.
    train, test : int arrays
        Rows.
    fold : int

    Returns
    -------
    train : Design of shape (n_train, n_usable)
    test : array of shape (n_test, n_usable)
        A missing response is 0, the mean.
    missing : bool array of shape (n_test,)
        Test rows without any response.

    Raises
    ------
    InputError
        No feature is left.
    """
    centre, scale = np.empty((2, X.shape[1]))
    for cut in columns(len(train), X.shape[1]):
        part = X[train, cut].astype(np.float64)
        with np.errstate(invalid="ignore"):
            centre[cut], scale[cut] = part.mean(0), deviation(part)
    usable = np.isfinite(scale) & (scale > 0)
    if lacking := int((~np.isfinite(scale)).sum()):
        tqdm.write(
            f"{lacking} of {len(scale)} responses lack a value in training of fold {fold} and are left out"
        )
    if not usable.any():
        raise InputError(
            f"None of {X.shape[1]} responses is finite and varies over the training stimuli of fold "
            f"{fold}. Check the responses."
        )
    kept = np.flatnonzero(usable)
    given, new = (
        Design(X, rows=rows, columns=kept, centre=centre[kept], scale=scale[kept]) for rows in (train, test)
    )
    values = new[:]
    known = np.isfinite(values)
    return given, np.where(known, values, 0), np.asarray(~known.any(1))


def choosable(label: Ints, folds: list[Any], fold: int) -> None:
    """Refuse inner folds of which none holds two classes: no alpha predicts them better than another.

    Parameters
    ----------
    label : int array of shape (n_training_rows,)
    folds : list of (rows to fit, rows to validate)
    fold : int

    Raises
    ------
    InputError
    """
    if not any(len(fit) and np.ptp(label[held]) for fit, held in folds):
        raise InputError(
            f"Each of {len(folds)} inner folds of fold {fold} holds stimuli of one class, by which no alpha "
            "can be chosen. Lower split.n_inner, or give the classifier one alpha (`alphas: [2, 2, 1]`) or "
            "`estimator: lda`."
        )


def enough(table: Table, train: Ints, test: Ints, fold: int) -> None:
    """Refuse a fold whose training stimuli lack a class.

    Parameters
    ----------
    table : Table
    train, test : int arrays
        Rows.
    fold : int

    Raises
    ------
    InputError
        Naming the class.
    """
    if not len(test):
        raise InputError(f"Fold {fold} has no test stimuli with a label. Use another split.")
    for k, name in enumerate(table.classes):
        n, tested = (len(set(table.stimulus_id[r[table.label[r] == k]].tolist())) for r in (train, test))
        if n < 2:
            raise InputError(
                f"Fold {fold} trains on {n} stimuli of class {name!r} and tests {tested}; two or more are "
                "needed to learn it. Use another split or target."
            )
