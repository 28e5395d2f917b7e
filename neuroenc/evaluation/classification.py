"""How well classes are told apart by scores; each fold by itself: scores of folds have no common scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import InputError
from neuroenc.evaluation.permutation import p_value
from neuroenc.evaluation.statistics import resample, widened
from neuroenc.files import without_nan

Floats = NDArray[np.float64]
METRICS = ("accuracy", "balanced_accuracy", "auc")


def choice(scores: ArrayLike) -> Floats:
    """Share of the decision that each class gets: 1 to the highest score, ties divided evenly.

    Parameters
    ----------
    scores : array of shape (n, n_classes)
        NaN never wins; a row without any number chooses nothing.

    Returns
    -------
    array of shape (n, n_classes)
    """
    s = np.asarray(scores, np.float64)
    known = np.where(np.isnan(s), -np.inf, s)
    best = (known == known.max(1, keepdims=True)) & ~np.isnan(s)
    return np.asarray(best / np.maximum(best.sum(1, keepdims=True), 1))


def _labels(label: ArrayLike, scores: Floats) -> NDArray[np.int64]:
    """Return the number of each row's class, which has a column in the scores."""
    found = np.asarray(label)
    if found.shape != scores.shape[:1] or found.dtype.kind not in "iu":
        raise InputError(
            f"label holds {found.dtype} of shape {found.shape}, expected a whole number for each of "
            f"{len(scores)} rows of scores."
        )
    wrong = found[(found < 0) | (found >= scores.shape[1])]
    if len(wrong):
        raise InputError(
            f"label holds {wrong[0]}, expected 0 to {scores.shape[1] - 1}: a column of the scores. Leave "
            "rows without a class out."
        )
    return found.astype(np.int64)


def confusion(scores: ArrayLike, label: ArrayLike) -> Floats:
    """Count decisions, (n_classes, n_classes): rows are true classes, columns chosen ones.

    Parameters
    ----------
    scores : array of shape (n, n_classes)
    label : int array of shape (n,)

    Raises
    ------
    InputError
        As `measures`.
    """
    chosen = choice(scores)
    out = np.zeros((chosen.shape[1],) * 2)
    np.add.at(out, _labels(label, chosen), chosen)
    return out


def auc(scores: ArrayLike, positive: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Area under the ROC curve: P(s⁺ > s⁻) + P(s⁺ = s⁻) / 2.

    Parameters
    ----------
    scores : array of shape (n,)
        A pair with a NaN counts as lost.
    positive : bool array of shape (n,), or 0 and 1
    weight : array of shape (n_samples, n), optional
        How often each row counts in each bootstrap sample; None: once, in a single sample.

    Returns
    -------
    array of shape (n_samples,)
        NaN where one side is empty.

    Raises
    ------
    InputError
        Labels that are not true or false: -1 would be true.
    """
    s, p = np.asarray(scores, np.float64), np.asarray(positive)
    if s.ndim != 1 or p.shape != s.shape or not np.isin(p, (0, 1)).all():
        raise InputError(
            f"scores has shape {s.shape}, positive {p.shape} with {np.unique(p)[:3].tolist()}, expected (n,) "
            "each, and positive true or false."
        )
    p = p.astype(bool)
    w = np.ones((1, len(s))) if weight is None else np.asarray(weight, np.float64)
    won = (s[p][:, None] > s[~p]) + 0.5 * (s[p][:, None] == s[~p])
    with np.errstate(invalid="ignore"):
        return np.asarray(((w[:, p] @ won) * w[:, ~p]).sum(1) / (w[:, p].sum(1) * w[:, ~p].sum(1)))


def measures(scores: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> dict[str, Floats]:
    """Score the decisions of one fold.

    Parameters
    ----------
    scores : array of shape (n, n_classes)
    label : int array of shape (n,)
    weight : array of shape (n_samples, n), optional
        As in `auc`.

    Returns
    -------
    dict
        Each of shape (n_samples,). `accuracy`; `balanced_accuracy`, the mean over the classes that are there;
        `auc`, of two classes that of the difference of their scores, of more the mean of each class against
        the rest, over the classes that are there. NaN where a class is not defined.

    Raises
    ------
    InputError
        A label is no whole number from 0 to n_classes - 1: -1 would be the last class.
    """
    s = np.asarray(scores, np.float64)
    label = _labels(label, s)
    w = np.ones((1, len(s))) if weight is None else np.asarray(weight, np.float64)
    right = choice(s)[np.arange(len(s)), label]
    own = np.eye(s.shape[1])[label]
    with np.errstate(invalid="ignore"):
        recall = ((w * right) @ own) / (w @ own)
        accuracy = (w @ right) / w.sum(1)
    if s.shape[1] == 2:
        area = auc(s[:, 1] - s[:, 0], label == 1, w)
    else:
        area = _mean(np.stack([auc(s[:, k], label == k, w) for k in np.unique(label)], 1), 1)
    return {"accuracy": accuracy, "balanced_accuracy": _mean(recall, 1), "auc": area}


def over_folds(
    scores: ArrayLike, label: ArrayLike, fold: ArrayLike, group: ArrayLike | None = None, *,
    n_bootstraps: int = 1000, seed: int = 0,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Average the measures of all folds, with an interval over what is independent.

    Parameters
    ----------
    scores : array of shape (n, n_classes)
    label, fold : int arrays of shape (n,)
    group : array of shape (n,), optional
        What is drawn together, as `statistics.resample` has it; None: no interval.
    n_bootstraps, seed : int

    Returns
    -------
    dict
        Metric -> value, per_fold (NaN where a fold defines none) and low, high (95 %).
    """
    s, label, fold = np.asarray(scores), np.asarray(label), np.asarray(fold)
    rows = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    per_fold = {
        m: np.concatenate(v)
        for m, v in _turned([measures(s[r], label[r]) for r in rows]).items()
    }  # fmt: skip
    out: dict[str, dict[str, Any]] = {
        m: {"value": float(_mean(v, 0)), "per_fold": v.tolist()} for m, v in per_fold.items()
    }
    if group is None:
        return out
    for m, v in per_fold.items():
        kept = np.flatnonzero(np.isin(fold, np.unique(fold)[np.isfinite(v)]))
        low, high = np.nan, np.nan
        if len(kept):
            found = _resampled(s, label, fold, np.asarray(group), kept, m, n_bootstraps, seed)
            if (known := np.isfinite(found)).any():
                low, high = np.quantile(found[known], [0.025, 0.975]).clip(0, 1)
                low, high = widened(low, high, len(np.unique(np.asarray(group)[kept])))
        out[m] |= {"low": float(low), "high": float(high)}
    return out


def _resampled(
    s: Floats, label: NDArray[np.int64], fold: NDArray[np.int64], group: NDArray[Any],
    kept: NDArray[np.int64], metric: str, n: int, seed: int,
) -> Floats:  # fmt: skip
    """Resample a measure of the folds that define it, (n,)."""
    s, label, fold = s[kept], label[kept], fold[kept]
    samples = resample(group[kept], fold, n_stimuli=len(np.unique(group)), n=n, seed=seed)
    of_folds = np.stack([measures(s[r], label[r])[metric] for r in samples.rows])
    return samples.of(of_folds, lambda r, weight: measures(s[r], label[r], weight)[metric][:, None])[:, 0]


def chance(label: ArrayLike, fold: ArrayLike, n_classes: int) -> dict[str, float]:
    """Give what needs no brain: `uniform`, 1 / k, and `majority`, the accuracy of the best constant answer.

    Parameters
    ----------
    label, fold : int arrays of shape (n,)
    n_classes : int
    """
    label, fold = np.asarray(label), np.asarray(fold)
    most = [np.bincount(label[fold == f]).max() / (fold == f).sum() for f in np.unique(fold)]
    return {"uniform": 1 / n_classes, "majority": float(np.mean(most))}


def assess(classes: xr.Dataset) -> dict[str, Any]:
    """Score what `decoders.classify` found.

    Parameters
    ----------
    classes : Dataset
        Classes.

    Returns
    -------
    dict
        `windows`: for each time bin start, stop (s) and `scores`: of each metric value, low, high, per_fold,
        null (mean of the labels dealt anew), p, and p_corrected: against the highest time bin of each
        permutation, so that any of all bins is below a level by chance as rarely as the level says. None
        where unknown, as AUC where no fold tests two classes. `best`: metric (AUC, without it accuracy) and
        window where it is highest. `confusion`: of that window; `chance`; `absent`: classes a fold does not
        test.
    """
    score, label, fold = (classes[k].values for k in ("class_score", "label", "fold"))
    names = classes["class"].values.astype(str)
    null = {m: classes["null"].sel(metric=m).values for m in METRICS}
    windows: list[dict[str, Any]] = []
    for t in range(score.shape[1]):
        found = over_folds(
            score[:, t], label, fold, classes["group"].values,
            n_bootstraps=int(classes.attrs["n_bootstraps"]), seed=int(classes.attrs["seed"]),
        )  # fmt: skip
        for m, s in found.items():
            s["null"] = float(_mean(null[m][:, t], 0))
            s["p"] = float(p_value(s["value"], null[m][:, t]))
            s["p_corrected"] = float(p_value(s["value"], null[m].max(1)))
        windows.append({"start": float(classes["start"].values[t]), "stop": float(classes["stop"].values[t]),
                        "scores": found})  # fmt: skip
    course = {m: np.array([w["scores"][m]["value"] for w in windows]) for m in METRICS}
    metric = "auc" if np.isfinite(course["auc"]).all() else "accuracy"
    best = int(course[metric].argmax())
    absent = {
        str(f): [str(n) for k, n in enumerate(names) if k not in label[fold == f]] for f in np.unique(fold)
    }
    out: dict[str, Any] = without_nan({
        "classes": names.tolist(), "n": len(label), "n_permutations": classes.sizes["permutation"],
        "chance": chance(label, fold, len(names)), "windows": windows,
        "best": {"window": best, "metric": metric}, "confusion": confusion(score[:, best], label).tolist(),
        "absent": {f: v for f, v in absent.items() if v},
    })  # fmt: skip
    return out


def _mean(values: Floats, axis: int) -> Floats:
    """Mean over what is a number; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis) / known.sum(axis))


def _turned(tables: list[dict[str, Floats]]) -> dict[str, list[Floats]]:
    return {m: [t[m] for t in tables] for m in METRICS}
