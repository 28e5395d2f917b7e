"""Stacking: one mixture of encoders for each target, chosen on validation predictions, or their mean.

Wolpert (1992); Breiman (1996): weights that are not negative and sum to one. Lin, Naselaris, Kay, Wehbe
(2024), "Stacked regressions and structured variance partitioning", use the same for voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.arrays import check, regions
from neuroenc.blocks import columns
from neuroenc.config import Stack
from neuroenc.encoders.missing import by_stimulus, fittable, r2
from neuroenc.errors import InputError
from neuroenc.real import varies

Floats = NDArray[Any]
SHARPNESS = 40.0  # of the softmax of validation r, as Adeli et al. (2025) mix layers
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # of the common form, that are tried


def stack_weights(
    validation: Sequence[Floats], truth: Floats, *, stimulus: ArrayLike | None = None,
    groups: NDArray[Any] | None = None, select: bool = False,
) -> Floats:  # fmt: skip
    """Weights that minimise the squared error of the mixture.

    The error of a mixture is a quadratic form of each target's own. With few validation stimuli it is
    noisy, so it is blended with the mean form of the targets of the same group; how much is chosen by
    fitting on one half of the stimuli and scoring on the other.

    Parameters
    ----------
    validation : arrays of shape (n_samples, n_targets), one for each member
        Predictions of stimuli the members were not fitted to. A member that is NaN for a target takes
        no part in it.
    truth : array of shape (n_samples, n_targets)
        NaN where a value is missing.
    stimulus : array of text, (n_samples,), optional
        What the rows are of, which makes the halves those of any order of rows; None: every other row.
    groups : array of shape (n_targets,), optional
        Targets that are alike, e.g. a region; None: those with the same best member.
    select : bool
        Give all weight to the single best member.

    Returns
    -------
    array of shape (n_members, n_targets)
        Not negative, of sum one; NaN where no member predicts.

    Raises
    ------
    InputError
        Shapes that do not match.
    """
    odd = [v.shape for v in validation if v.shape != truth.shape or v.ndim != 2]
    if odd:
        raise InputError(
            f"Validation predictions of shape {odd[0]}, responses of {truth.shape}, expected both "
            "(n_stimuli, n_targets). Make both of the same stimuli and neuroids."
        )
    n_members, n_targets = len(validation), truth.shape[1]
    place = np.arange(len(truth)) if stimulus is None else np.argsort(np.argsort(stimulus, kind="stable"))
    there: Any = np.empty((n_members, n_targets), bool)
    whole, *halves = np.empty((3, n_targets, n_members, n_members))
    for cut in columns(n_members * len(truth), n_targets):
        residual, there[:, cut] = _residuals(np.stack([v[:, cut] for v in validation]), truth[:, cut])
        whole[cut] = _forms(residual, there[:, cut])
        for half, rows in zip(halves, (place % 2 == 0, place % 2 == 1), strict=True):
            half[cut] = _forms(residual[:, rows], there[:, cut])
    if select:
        weights = np.eye(n_members)[np.diagonal(whole, axis1=1, axis2=2).argmin(1)]
    else:
        error = [
            sum(
                np.einsum("ta,tab,tb->", w, other, w)
                for one, other in (halves, halves[::-1])
                for w in [_mixture(_blend(one, there, share, groups), there)]
            )
            for share in SHARES
        ]
        weights = _mixture(_blend(whole, there, SHARES[int(np.argmin(error))], groups), there)
    out = weights.T.copy()
    out[:, ~there.any(0)] = np.nan
    return out


def fixed_weights(validation: Sequence[Floats], truth: Floats, sharpness: float = 0.0) -> Floats:
    """Weights that are not fitted: exp(sharpness r) of each member's validation r over their sum.

    Parameters
    ----------
    validation, truth
        As in `stack_weights`.
    sharpness : float
        0: all members weigh the same. 40 is that of the published ensemble of layers (Adeli, Minni &
        Kriegeskorte 2025, arXiv 2505.17329, in their code).

    Returns
    -------
    array of shape (n_members, n_targets)
        Of sum one; 0 of a member that does not predict a target, NaN where none does. A member without an r,
        whose validation predictions are constant, weighs as one of r 0.
    """
    weights: Floats = np.zeros((len(validation), truth.shape[1]))
    for cut in columns(3 * len(truth), truth.shape[1]):
        known = np.isfinite(truth[:, cut])
        for weight, one in zip(weights[:, cut], validation, strict=True):
            there: Any = np.isfinite(one[:, cut]).all(0) & known.any(0)
            y, own = (_unit(v[:, cut], known) for v in (truth, np.where(there, one[:, cut], 0)))
            weight[:] = np.where(there, np.exp(sharpness * (y * own).sum(0)), 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(weights / weights.sum(0))


def _unit(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Bring the known values of each column to mean 0 and length 1; 0 where they do not vary."""
    known = known & varies(values, known=known)
    centred: Floats = np.where(known, values, 0).astype(float)
    centred -= np.where(known, centred.sum(0) / np.maximum(known.sum(0), 1), 0)
    length = np.sqrt((centred**2).sum(0))
    return np.asarray(centred / np.where(length > 0, length, 1))


def _residuals(validation: Floats, truth: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Errors of the members in units of each target's deviation, and which members predict which target."""
    vary = varies(truth)
    validation, truth = validation.astype(float), truth.astype(float)
    known = np.isfinite(truth)
    number = np.maximum(known.sum(0), 1)
    there: Any = np.isfinite(validation).all(1) & known.any(0)
    mean = np.where(known, truth, 0).sum(0) / number
    deviation = np.sqrt(np.where(known, (truth - mean) ** 2, 0).sum(0) / number)
    residual = np.where(there[:, None] & known, (validation - truth) / np.where(vary, deviation, 1), 0)
    return residual * np.sqrt(len(truth) / number), there


def _forms(residual: Floats, there: Any) -> Floats:
    """Mean products of the members' errors, (n_targets, n_members, n_members)."""
    gram = np.einsum("ant,bnt->tab", residual, residual, optimize=True) / max(1, residual.shape[1])
    return gram + np.where(there.T, 0, 1e6)[:, :, None] * np.eye(len(residual))  # absent members get weight 0


def _blend(forms: Floats, there: Any, share: float, groups: NDArray[Any] | None) -> Floats:
    """Blend each target's form with the mean of its group."""
    best = np.diagonal(forms, axis1=1, axis2=2).argmin(1) if groups is None else groups
    mean = np.empty_like(forms)
    for member in np.unique(best):
        # only targets that all members predict say something of all members
        whole = (best == member) & there.all(0)
        mean[best == member] = forms[whole].mean(0) if whole.any() else forms[best == member]
    return (1 - share) * forms + share * np.where(there.all(0)[:, None, None], mean, forms)


def _mixture(forms: Floats, there: Any, n_steps: int = 1000) -> Floats:
    """Minimise w' F w over the simplex by accelerated projected gradient (Beck and Teboulle 2009)."""
    scale = np.maximum(np.linalg.eigvalsh(forms)[:, -1][:, None], 1e-300)
    absent = scale[:, 0] >= 1e6  # their step is set by the members that are there
    if absent.any():
        kept = np.where(there.T[absent, :, None] & there.T[absent, None, :], forms[absent], 0)
        scale[absent] = np.maximum(np.linalg.eigvalsh(kept)[:, -1][:, None], 1e-300)
    weights = np.where(there.T, 1.0, 0.0)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1)
    ahead, momentum = weights, 1.0
    for _ in range(n_steps):
        slope = np.einsum("tab,tb->ta", forms, ahead)
        new = _simplex(ahead - slope / scale, there.T)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = np.where(there.T, new + (momentum - 1) / following * (new - weights), 0)
        change = np.abs(new - weights).max(initial=0.0)
        weights, momentum = new, following
        if change < 1e-7:
            break
    return weights


def _simplex(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """Project rows on the simplex of the members that are there (Duchi et al. 2008)."""
    values = np.where(there, values, -np.inf)
    ordered = -np.sort(-values, axis=1)
    finite = np.isfinite(ordered)
    excess = np.cumsum(np.where(finite, ordered, 0), axis=1) - 1
    number = np.arange(1, values.shape[1] + 1)
    positive = finite & (ordered - excess / number > 0)
    rho = np.maximum(positive.sum(1), 1)
    shift = excess[np.arange(len(values)), rho - 1] / rho
    return np.maximum(np.where(there, values - shift[:, None], 0), 0)


def stack(predictions: Sequence[Floats], weights: Floats) -> Floats:
    """Mix members' predictions.

    Parameters
    ----------
    predictions : arrays of shape (n_samples, n_targets), one for each member
    weights : array of shape (n_members, n_targets)

    Returns
    -------
    array of shape (n_samples, n_targets)
    """
    out: Floats = np.empty(predictions[0].shape, predictions[0].dtype)
    for cut in columns(*out.shape):
        mixed = np.where(np.isnan(weights[:, cut]).all(0), np.nan, np.zeros((len(out), 1)))
        for one, weight in zip(predictions, weights[:, cut], strict=True):
            mixed += np.where(weight > 0, one[:, cut], 0) * np.nan_to_num(weight)
        out[:, cut] = mixed
    return out


def stack_predictions(
    responses: xr.Dataset, members: dict[str, xr.Dataset], options: Stack | None = None
) -> xr.Dataset:
    """Mix the predictions of several encoders.

    Parameters
    ----------
    responses : Dataset
        Responses the members were fitted to.
    members : mapping
        Name -> predictions of the same splits.
    options : Stack, optional
        How they weigh. Weights are learned on the validation stimuli of the members.

    Returns
    -------
    Dataset
        Predictions; the members stand where layers do, `weight(fold, layer, …)` are the mixtures.

    Raises
    ------
    InputError
        Members of other stimuli, neuroids or folds.
    """
    options = options or Stack()
    names, datasets = list(members), list(members.values())
    base = datasets[0]
    for name, other in members.items():
        for coord in (
            "stimulus_id", "fold", "held_stimulus_id", "held_fold", "neuroid_id", "training_stimulus_id",
            "training",
        ):  # fmt: skip
            if not np.array_equal(base[coord].values, other[coord].values):
                raise InputError(
                    f"Predictions {names[0]!r} and {name!r} differ in {coord!r}. Fit both with the same "
                    "split and responses."
                )
    ids, mean, *_ = by_stimulus(responses)
    row = {s: i for i, s in enumerate(ids)}
    shape = base["prediction"].shape[1:]
    named = base["held_stimulus_id"].values
    truth = mean[[row[s] for s in named]].reshape(len(named), -1)
    validation = [d["validation"].values.reshape(len(truth), -1) for d in datasets]
    tested = [d["prediction"].values.reshape(base.sizes["presentation"], -1) for d in datasets]
    out = base.copy(deep=True)
    n_folds = base["chosen_layer"].shape[0]
    weights, score = np.empty((2, n_folds, len(names), truth.shape[1]), np.float32)
    prediction, held = np.empty_like(tested[0]), np.empty_like(validation[0])
    alike = np.zeros(truth.shape[1], int)
    for mask in regions(responses).values():  # neuroids of the same regions
        alike = np.unique(2 * alike + np.repeat(mask, len(alike) // len(mask)), return_inverse=True)[1]
    for fold in range(n_folds):
        rows, test = base["held_fold"].values == fold, base["fold"].values == fold
        seen, shown = truth[rows], [v[rows] for v in validation]
        weight = (
            stack_weights(shown, seen, stimulus=named[rows], groups=alike, select=options.select)
            if options.weights == "learned"
            else fixed_weights(shown, seen, SHARPNESS if options.weights == "softmax" else 0)
        )
        weights[fold] = weight
        fits = fittable(seen, [(slice(None), None)])
        score[fold] = [np.where(np.isfinite(v).all(0) & fits, r2(seen, v), np.nan) for v in shown]
        prediction[test], held[rows] = stack([v[test] for v in tested], weight), stack(shown, weight)
    out["prediction"] = (base["prediction"].dims, prediction.reshape(-1, *shape))
    out["validation"] = (base["validation"].dims, held.reshape(-1, *shape))
    dims = base["prediction"].dims[1:]
    out = out.drop_vars(["validation_r2", "layer_name"]).assign_coords(layer_name=("layer", np.array(names)))
    for name, values in (("weight", weights), ("validation_r2", score)):
        out[name] = (("fold", "layer", *dims), values.reshape(n_folds, len(names), *shape))
    out["alpha"] = out["alpha"] * np.nan
    best = np.array(names)[np.nan_to_num(weights).argmax(1)].reshape(n_folds, *shape)
    out["chosen_layer"] = (base["chosen_layer"].dims, best)
    out.attrs |= {
        "encoder": "select" if options.select else "stack",
        "model": " + ".join(names),
        "weights": "of the members",
    }
    return check(out, "predictions")
