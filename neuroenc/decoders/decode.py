"""From Responses and Features to decoded embeddings of held-out pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, config, splits
from neuroenc.arrays import CONTRACT, average_repeats, check, join, same_neuroids, select_layers, trained
from neuroenc.decoders.match import likelihood
from neuroenc.decoders.retrieve import hits, retrieval
from neuroenc.decoders.target import Target
from neuroenc.devices import pick_device
from neuroenc.encoders.encode import transductive
from neuroenc.encoders.missing import by_stimulus, complete
from neuroenc.errors import InputError
from neuroenc.evaluation.identification import cosine, standardise_by
from neuroenc.real import deviation


def make(
    options: config.Embedding, folds: list[Any], *, n_times: int | None = None, checkpoint: Any = None
) -> Any:
    """Build the estimator a decoder's options describe.

    Parameters
    ----------
    options : RidgeDecoding or NetworkDecoding
    folds : list of (train, validation)
    n_times : int, optional
        Samples of an epoch, for networks that read epochs.
    checkpoint : path, optional
        From which a run trained by gradient is resumed.
    """
    values = options.model_dump(exclude={"name", "models", "layers", "prior", "front", "repeats"})
    if isinstance(options, config.RidgeDecoding):
        from neuroenc.decoders.ridge import RidgeDecoder

        low, high, number = values.pop("alphas")
        return RidgeDecoder(np.logspace(low, high, number).tolist(), cv=folds, **values)
    from neuroenc.decoders.network import BrainNetwork

    values["device"] = pick_device(values["device"])
    epochs = n_times if options.front == "atm" else None
    return BrainNetwork(cv=folds, checkpoint=checkpoint, n_times=epochs, **values)


def out_of_fold(
    options: config.Embedding,
    X: NDArray[Any],
    Y: NDArray[Any],
    inner: NDArray[np.int64],
    target: Target,
    n_times: int | None = None,
) -> NDArray[np.float32]:
    """Decode each training stimulus by a decoder that was fitted to the other inner folds.

    Parameters
    ----------
    options : RidgeDecoding or NetworkDecoding
    X, Y : arrays of shape (n, n_neuroids), (n, n_features)
        Responses and embeddings of the training stimuli.
    inner : int array of shape (n,)
        Inner fold of each.
    target : Target
        In whose components the result is.
    n_times : int, optional
        As in `make`.

    Returns
    -------
    array of shape (n, n_components)
    """
    out = np.empty((len(X), len(target.basis)), np.float32)
    for k in np.unique(inner):
        held, kept = inner == k, inner[inner != k]
        model = make(options, splits.inner_folds(kept), n_times=n_times).fit(X[~held], Y[~held])
        out[held] = target.transform(model.predict(X[held]))
    return out


def decode(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Embedding, *,
    shuffle: int | None = None, checkpoint: Callable[[int], Any] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Fit a decoder on the training stimuli of each fold and decode its test stimuli.

    Repeats are averaged; neuroids are standardised by the training stimuli, those that do not vary there are
    left out. NaN in the responses is a missing value: stimuli without any value are left out, then the
    neuroids, or else the stimuli, that lack some, whichever are the smaller share; the attribute `left_out`
    says so. Embeddings are decoded as whitened components, learned from those of the training stimuli.

    Parameters
    ----------
    responses, features, split : Dataset
        Responses, Features, Splits.
    options : RidgeDecoding or NetworkDecoding
    shuffle : int, optional
        Seed: deal the training embeddings anew to the training responses, for the null.
    checkpoint : callable, optional
        From fold to the file a training run is resumed from.

    Returns
    -------
    Dataset
        Embeddings: `embedding` and `true` (presentation, component) of the test stimuli of all folds; `mean`
        and `basis` lead from embeddings to components: (embedding - mean) @ basis'. With a prior also
        `sampled`, what it makes of `embedding`.

    Raises
    ------
    InputError
        No such layer; no neuroid varies; the features are categories.
    """
    ids, mean, group, left_out = by_stimulus(responses)
    kept, whole, incomplete = complete(mean.reshape(len(ids), -1))
    ids, mean, group = ids[kept], mean[kept], group[kept]
    left_out = "; ".join(filter(None, (left_out, incomplete)))
    n_times = mean.shape[2] if mean.ndim == 3 else None
    front, repeats = (getattr(options, k, None) for k in ("front", "repeats"))
    if front == "atm" and n_times is None:
        raise InputError("These responses have no time bins, which `front: atm` reads. Use `front: linear`.")
    response = repetitions(responses, ids) if repeats == "random" else mean.reshape(len(ids), 1, -1)
    if features.attrs["model"] == "category/table":
        raise InputError(
            "Stimuli share their categories, so that none can be retrieved by them. Use "
            "`neuroenc decode classify`."
        )
    features = select_layers(features, options.layers)
    embedding = join(features, ids)
    out: dict[str, list[Any]] = {
        k: [] for k in ("embedding", "sampled", "true", "id", "fold", "mean", "basis")
    }
    for fold in tqdm(range(split.sizes["fold"]), options.name, disable=None):
        side, inner = splits.sides(split, fold, ids, group)
        train, test = side == splits.TRAIN, side == splits.TEST
        centre, scale = response[train].mean((0, 1)), deviation(response[train], (0, 1))
        usable = whole & (scale > 0)
        if not usable.any():
            raise InputError(
                f"None of {response.shape[2]} neuroids is finite and varies over the training stimuli of "
                f"fold {fold}. Check the responses."
            )
        if front == "atm":  # an epoch keeps its shape: what does not vary is 0
            X = np.where(usable, response - centre, 0) / np.where(usable, scale, 1)
        else:
            X = (response[..., usable] - centre[usable]) / scale[usable]
        X = X[:, 0] if X.shape[1] == 1 else X
        Y = embedding[train]
        if shuffle is not None:
            Y = Y[np.random.default_rng((shuffle, fold)).permutation(len(Y))]
        folds = splits.inner_folds(inner[train])
        saved = checkpoint and checkpoint(fold)
        model = make(options, folds, n_times=n_times, checkpoint=saved).fit(X[train], Y)
        found = model.predict_components(X[test])
        if options.prior is not None:
            from neuroenc.decoders.prior import DiffusionPrior

            how = options.prior.model_dump(exclude={"guidance", "n_steps"})
            prior = DiffusionPrior(**how | {"device": pick_device(how["device"])}, cv=folds)
            prior.fit(
                out_of_fold(options, X[train], Y, inner[train], model.target_, n_times),
                model.target_.transform(Y),
            )
            out["sampled"].append(prior.sample(
                found, guidance=options.prior.guidance, n_steps=options.prior.n_steps, seed=options.prior.seed
            ))  # fmt: skip
        for key, values in (
            ("embedding", found), ("true", model.target_.transform(embedding[test])), ("id", ids[test]),
            ("fold", np.full(len(found), fold)), ("mean", model.target_.mean), ("basis", model.target_.basis),
        ):  # fmt: skip
            out[key].append(values)
    width = min(len(b) for b in out["basis"])  # folds of other sizes may have a component less
    decoded, true = (np.concatenate([v[:, :width] for v in out[k]]) for k in ("embedding", "true"))
    basis = np.stack([b[:width] for b in out["basis"]])
    sampled = {}
    if out["sampled"]:
        values = np.concatenate([v[:, :width] for v in out["sampled"]])
        sampled["sampled"] = (("presentation", "component"), values)
    dataset = xr.Dataset(
        sampled | {
            "embedding": (("presentation", "component"), decoded),
            "true": (("presentation", "component"), true),
            "mean": (("fold_index", "feature_index"), np.stack(out["mean"])),
            "basis": (("fold_index", "component", "feature_index"), basis),
        },
        {
            "stimulus_id": ("presentation", np.concatenate(out["id"])),
            "fold": ("presentation", np.concatenate(out["fold"])),
        },
        {k: features.attrs[k] for k in CONTRACT}
        | {
            "kind": "embeddings", "neuroenc_version": __version__, "dataset": responses.attrs["dataset"],
            "decoder": options.name, "transductive": transductive(responses, split),
            "left_out": left_out,
            "shuffled": "no" if shuffle is None else f"training pairs, seed {shuffle}",
        },
    )  # fmt: skip
    return check(dataset, "embeddings")


def repetitions(responses: xr.Dataset, ids: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return the repetitions of each stimulus, (n_stimuli, n_repetitions, n_neuroids).

    Parameters
    ----------
    responses : Dataset
    ids : array of text, (n_stimuli,)
        A stimulus with fewer repetitions than another one has its own again, in turn. What a repetition lacks
        is the mean of the stimulus' others.
    """
    shown = responses["stimulus_id"].values
    rows = [np.flatnonzero(shown == s) for s in ids]
    most = max(len(r) for r in rows)
    values = responses["response"].values.reshape(len(shown), -1)
    found = values[np.stack([np.resize(r, most) for r in rows])]
    names, mean = average_repeats(responses)
    row = {s: i for i, s in enumerate(names)}
    instead = mean.reshape(len(mean), 1, -1)[[row[s] for s in ids]]
    return np.where(np.isfinite(found), found, instead)


def score(
    embeddings: xr.Dataset, *, n_way: int | None = None, n_bootstraps: int = 1000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Retrieve the test pictures of each fold among themselves by cosine; average over folds.

    Parameters
    ----------
    embeddings : Dataset
    n_way, n_bootstraps, seed
        As in `retrieval`.

    Returns
    -------
    dict
        Metric -> value, low, high, chance. The interval averages those of the folds, which overlap in
        training data, so that more folds do not narrow it.
    """
    fold = embeddings["fold"].values
    tables = [
        retrieval(
            cosine(embeddings["embedding"].values[fold == f], embeddings["true"].values[fold == f]),
            n_way=n_way, n_bootstraps=n_bootstraps, seed=seed,
        )
        for f in np.unique(fold)
    ]  # fmt: skip
    return _mean(tables)


def target_of(embeddings: xr.Dataset, fold: int) -> Target:
    """Return the space of components of a fold."""
    return Target(embeddings["mean"].values[fold], embeddings["basis"].values[fold])


def restore(embeddings: xr.Dataset, fold: int, name: str = "embedding") -> NDArray[np.float32]:
    """Return embeddings of a fold in the network's own space, (n_pictures, n_features).

    Parameters
    ----------
    embeddings : Dataset
    fold : int
    name : {"embedding", "sampled", "true"}
    """
    found = embeddings[name].values[embeddings["fold"].values == fold]
    return target_of(embeddings, fold).inverse(found)


def prior_gain(
    embeddings: xr.Dataset, *, n_bootstraps: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compare what the prior sampled with the plain projection it was given.

    Parameters
    ----------
    embeddings : Dataset
        With `sampled`.
    n_bootstraps, seed
        Of the pictures.

    Returns
    -------
    dict
        Measure -> plain, prior, and gain with its interval (low, high) over pictures. `cosine` to the truth;
        `top1`, of the fold's pictures; `length`, root mean square of the components, which is 1 for pictures.
    """
    fold = embeddings["fold"].values
    drawn = np.random.default_rng(seed).integers(0, len(fold), (n_bootstraps, len(fold)))
    out = {}
    each: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name in ("embedding", "sampled"):
        found, true = embeddings[name].values, embeddings["true"].values
        top1, near = np.empty(len(fold)), np.empty(len(fold))
        for f in np.unique(fold):
            similarity = cosine(found[fold == f], true[fold == f])
            near[fold == f], top1[fold == f] = np.diag(similarity), hits(similarity, 1)
        each[name] = {"cosine": near, "top1": top1, "length": (found.astype(float) ** 2).mean(1)}
    for measure in ("cosine", "top1", "length"):
        plain, sampled = each["embedding"][measure], each["sampled"][measure]
        root = np.sqrt if measure == "length" else np.asarray
        change = root(sampled[drawn].mean(1)) - root(plain[drawn].mean(1))
        low, high = np.quantile(change, [0.025, 0.975])
        values = {"plain": root(plain.mean()), "prior": root(sampled.mean())}
        values |= {"gain": values["prior"] - values["plain"], "low": low, "high": high}
        out[measure] = {k: float(v) for k, v in values.items()}
    return out


def match(
    responses: xr.Dataset, predictions: xr.Dataset, *, n_way: int | None = None, n_bootstraps: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Retrieve the test pictures by an encoder: the likelihood of each response under its predictions.

    Parameters
    ----------
    responses, predictions : Dataset
        Of one subject; the covariance of the noise is that of the predictions' validation stimuli.
    n_way, n_bootstraps, seed
        As in `retrieval`.

    Returns
    -------
    dict
        As `score`.
    """
    same_neuroids(responses, predictions)
    ids, mean, *_ = by_stimulus(responses)
    kept, whole, _ = complete(mean.reshape(len(ids), -1))
    ids, measured = ids[kept], np.where(whole, mean[kept].reshape(kept.sum(), -1), np.nan)
    predictions = predictions.isel(
        presentation=np.isin(predictions["stimulus_id"].values, ids),
        held=np.isin(predictions["held_stimulus_id"].values, ids),
    )
    row = {s: i for i, s in enumerate(ids)}
    fold, held_fold = predictions["fold"].values, predictions["held_fold"].values
    tested = np.array([row[s] for s in predictions["stimulus_id"].values])
    held = np.array([row[s] for s in predictions["held_stimulus_id"].values])
    fitted = trained(predictions, ids)
    tables = []
    for f in np.unique(fold):
        test, inner = fold == f, held_fold == f
        y, predicted, seen, foreseen = standardise_by(
            measured[fitted[f]], measured[tested[test]],
            predictions["prediction"].values[test].reshape(test.sum(), -1), measured[held[inner]],
            predictions["validation"].values[inner].reshape(inner.sum(), -1),
        )  # fmt: skip
        similarity = likelihood(y, predicted, seen - foreseen)
        tables.append(retrieval(similarity, n_way=n_way, n_bootstraps=n_bootstraps, seed=seed))
    return _mean(tables)


def _mean(tables: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: float(np.mean([t[name][key] for t in tables])) for key in tables[0][name]}
        for name in tables[0]
    }
