"""Pairs made by an encoder: responses it predicts for pictures a subject never saw, with noise as measured.

The noise is Gaussian with the covariance of the encoder's residuals on the validation stimuli of the fold,
its correlations shrunk towards none as makes held-out residuals most likely (`match.choose_shrinkage`). It
holds what the encoder does not explain as well as what repeats differently.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc import splits
from neuroenc.arrays import average_repeats, same_contract, same_neuroids, select_layers, trained
from neuroenc.decoders.index import copies_of
from neuroenc.decoders.match import Noise, choose_shrinkage
from neuroenc.encoders.design import Design, design
from neuroenc.encoders.store import predict_fits
from neuroenc.errors import InputError, InputWarning, LeakError

Floats = NDArray[np.float32]


class Encoder(NamedTuple):
    """A fitted encoder of one subject, and what it reads."""

    weights: str | Path
    predictions: xr.Dataset
    """Of the same folds; its validation stimuli say how noisy responses are"""
    features: xr.Dataset
    """Of all pictures that may be taken"""
    pictures: xr.Dataset | None = None
    """Embeddings of pictures of a folder, which `features` are of; None: those of the stimuli"""


class Pairs(NamedTuple):
    """Made responses beside the embeddings of their pictures."""

    ids: NDArray[np.str_]
    response: Floats
    """(n, n_neuroids), standardised as the measured ones"""
    embedding: Floats
    """(n, n_features)"""


def make_pairs(
    encoder: Encoder, responses: xr.Dataset, split: xr.Dataset, fold: int, features: xr.Dataset,
    layers: list[str], measured: Design, n: int, seed: int,
) -> Pairs:  # fmt: skip
    """Predict responses to pictures that the subject did not see, and add noise.

    They are of the training side of the split, or of a folder without those that are tested in the fold,
    whatever they are called: pictures of the same embedding.

    Parameters
    ----------
    encoder : Encoder
    responses, split : Dataset
        Of the subject; what is tested in the fold, or parted from it by an embargo, is not taken.
    fold : int
    features : Dataset
        The embeddings that are decoded.
    layers : list of str
        Of these; empty: all.
    measured : Design of shape (n_stimuli, n_neuroids)
        The subject's responses, as they are standardised and without what is left out.
    n : int
        Pairs. Of fewer pictures each comes again, with other noise.
    seed : int

    Raises
    ------
    ContractError
        The embeddings of the pictures of a folder are others than those that are decoded.
    InputError
        The subject saw every picture of the training side, or all of a folder are tested; the encoder lacks a
        neuroid, the fold or the features of a picture.
    LeakError
        The encoder was fitted to what is tested in the fold.
    """
    same_neuroids(responses, encoder.predictions)
    _same_fold(encoder.predictions, split, fold)
    assert measured.centre is not None and measured.scale is not None
    shown = features if encoder.pictures is None else encoder.pictures
    if encoder.pictures is None:
        pool = unseen(responses, split, fold)
    else:
        pool = untested(encoder.pictures, features, split, fold, layers)
    rng = np.random.default_rng((seed, fold))
    order = rng.permutation(pool)
    ids = np.resize(order, n)
    taken, again = np.unique(ids, return_inverse=True)
    rows = {s: i for i, s in enumerate(encoder.features["stimulus_id"].values)}
    if absent := [s for s in taken if s not in rows]:
        raise InputError(
            f"{len(absent)} of {len(taken)} training pictures have no features that the encoder reads, first "
            f"{str(absent[0])!r}. Extract them from the same pictures."
        )
    read = encoder.features.isel(stimulus=[rows[s] for s in taken])
    predicted = predict_fits(encoder.weights, read, fold).values.reshape(len(taken), -1)
    residual = residuals(encoder.predictions, responses, fold)[:, measured.columns] / measured.scale
    made = (predicted[:, measured.columns] - measured.centre) / measured.scale
    lacking = int((~(np.isfinite(made).all(0) & np.isfinite(residual).all(0))).sum())
    if lacking:
        raise InputError(
            f"The encoder predicts {made.shape[1] - lacking} of {made.shape[1]} neuroids that are decoded. "
            "Fit it to the same responses, without neuroids that lack values."
        )
    noise = draw_noise(residual, n, rng)
    embedding = design(shown, taken, layers).flattened()[:]
    return Pairs(ids, (made[again] + noise).astype(np.float32), embedding[again])


def unseen(responses: xr.Dataset, split: xr.Dataset, fold: int) -> NDArray[np.str_]:
    """List the pictures of the training side that a subject did not see."""
    train = split["stimulus_id"].values[split["side"].values[fold] == splits.TRAIN]
    pool = np.setdiff1d(train, responses["stimulus_id"].values)
    if not len(pool):
        raise InputError(
            f"The subject saw all {len(train)} training pictures, so that none is left to predict. Leave "
            "`augment` out, list the stimuli of more subjects, or name a folder of pictures."
        )
    return np.asarray(pool)


def untested(
    pictures: xr.Dataset, features: xr.Dataset, split: xr.Dataset, fold: int, layers: list[str]
) -> NDArray[np.str_]:
    """List the pictures of a folder that are not tested in a fold."""
    same_contract(select_layers(pictures, layers).attrs, select_layers(features, layers).attrs)
    tested = split["stimulus_id"].values[split["side"].values[fold] == splits.TEST]
    tested = tested[np.isin(tested, features["stimulus_id"].values)]
    ids = np.asarray(pictures["stimulus_id"].values)
    pool = design(pictures, ids, layers).flattened()
    copies = copies_of(design(features, tested, layers).flattened()[:], pool, ids)
    if copies.all():
        raise InputError(
            f"All {len(ids)} pictures of the folder are tested in fold {fold}, and none is left to predict. "
            "Give other pictures."
        )
    if copies.any():
        warnings.warn(
            f"{copies.sum()} of {len(ids)} pictures of the folder are tested in fold {fold}, first "
            f"{str(ids[copies][0])!r}: they are left out.", InputWarning, stacklevel=2,
        )  # fmt: skip
    return ids[~copies]


def _same_fold(predictions: xr.Dataset, split: xr.Dataset, fold: int) -> None:
    """Refuse an encoder without this fold, or one that was fitted to what the fold tests."""
    if fold not in predictions["held_fold"].values:
        n = len(np.unique(predictions["held_fold"].values))
        raise InputError(
            f"The encoder's predictions hold {n} folds with validation stimuli, none of them fold {fold}. "
            "Fit the encoder by the split of the decoder."
        )
    tested = split["stimulus_id"].values[split["side"].values[fold] == splits.TEST]
    leaked = tested[trained(predictions, tested)[fold]]
    if len(leaked):
        raise LeakError(
            f"The encoder was fitted to {len(leaked)} of {len(tested)} stimuli that fold {fold} tests, first "
            f"{str(leaked[0])!r}. Fit it by the split of the decoder."
        )


def residuals(predictions: xr.Dataset, responses: xr.Dataset, fold: int) -> NDArray[np.float64]:
    """Return what an encoder leaves of the validation stimuli of a fold, (n_held, n_targets)."""
    ids, mean = average_repeats(responses)
    row = {s: i for i, s in enumerate(ids)}
    inner = predictions["held_fold"].values == fold
    held = [row[s] for s in predictions["held_stimulus_id"].values[inner]]
    foreseen = predictions["validation"].values[inner].reshape(len(held), -1)
    return np.asarray(mean.reshape(len(mean), -1)[held].astype(float) - foreseen)


def draw_noise(residual: NDArray[Any], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw from a Gaussian with the covariance of residuals, correlations shrunk; the mean is 0.

    With scales d, correlations R and shrinkage s the covariance is diag(d) [(1 - s) R + s I] diag(d).

    Parameters
    ----------
    residual : array of shape (n_held, n_neuroids)
    n : int
    rng : Generator

    Returns
    -------
    array of shape (n, n_neuroids)
    """
    varies = np.abs(residual).max(0) > 0
    out = np.zeros((n, residual.shape[1]))
    of = Noise.fit(residual[:, varies])
    s = choose_shrinkage(residual[:, varies])
    shared = (rng.normal(size=(n, len(of.variance))) * np.sqrt(of.variance)) @ of.direction
    alone = rng.normal(size=(n, len(of.scale)))
    out[:, varies] = of.scale * (np.sqrt(1 - s) * shared + np.sqrt(s) * alone)
    return out


def number_of_pairs(n_measured: int, share: float) -> int:
    """Say how many made pairs are their share of all."""
    return round(n_measured * share / (1 - share))


def mixed(
    X: Design, Y: Design, folds: list[Any], made: Pairs
) -> tuple[Floats, Floats, list[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Put made pairs behind the measured ones; they are fitted in each inner fold, validated on in none."""
    rows = len(X) + np.arange(len(made.ids))
    return (
        np.concatenate([X[:], made.response]),
        np.concatenate([Y[:], made.embedding]),
        [(np.concatenate([fitted, rows]), held) for fitted, held in folds],
    )
