"""Which region carries what: decode with a region taken away, alone, silenced or made noisy; find lesions so.

A region *carries* what is lost without it; it *holds* what it can say alone. The two differ, because regions
say much the same: what is lost without one says nothing of what the others could not make up for. Both are
measured with decoders that were fitted anew, and without (whose decoder still counts on the region).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import config, splits
from neuroenc.arrays import parcels, regions, same_neuroids
from neuroenc.decoders.decode import make, out_of_fold
from neuroenc.decoders.fused import row_cosine
from neuroenc.decoders.samples import lay_out, sample
from neuroenc.encoders.design import Design, design
from neuroenc.encoders.missing import by_stimulus
from neuroenc.errors import InputError, suggest
from neuroenc.evaluation.evaluate import together_at
from neuroenc.evaluation.identification import cosine
from neuroenc.evaluation.statistics import Resampling, bootstrap, resample
from neuroenc.ranking import ahead

Floats = NDArray[Any]
SCORES = ("cosine", "two_way", "top1")
HOW = ("left_out", "alone", "noise", "random_left_out")
N_RANDOM = 5  # draws of as many neuroids
LESIONS = ("silent", "scrambled")
LEVEL = 0.05


class Prepared(NamedTuple):
    """A fold: what was recorded, standardised by the training stimuli, and what is decoded."""

    X_train: NDArray[np.float32]
    X_test: NDArray[np.float32]
    Y_train: Design
    Y_test: Design
    ids: NDArray[np.str_]
    """Of the test stimuli"""
    inner: NDArray[np.int64]
    inside: dict[str, NDArray[np.bool_]]
    """Of each region, which columns"""
    n_times: int | None
    columns: NDArray[np.int64]
    """Of all values of a stimulus, those that are kept"""
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]

    @property
    def folds(self) -> list[Any]:
        """(train, validation) within the training stimuli."""
        return splits.inner_folds(self.inner)


def picture_scores(decoded: Floats, true: Floats) -> NDArray[np.float64]:
    """Score each picture by itself: the columns are `SCORES`.

    cosine of its decoded with its true embedding; two_way, the share of the other pictures whose embedding is
    further from what was decoded (chance 1/2; a tie is lost); top1, whether none is nearer (chance 1/n).

    Parameters
    ----------
    decoded, true : arrays of shape (n, n_components)

    Returns
    -------
    array of shape (n, 3)
    """
    similarity = cosine(decoded, true)
    before = ahead(similarity)
    return np.stack([np.diag(similarity), 1 - before / max(1, len(before) - 1), before == 0], 1)


def contributions(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Embedding, *,
    among: Sequence[str] = (), noise: float = 1.0, n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure what each score loses as each region is manipulated.

    `left_out`: the region is away, or without a new fit at its training mean; `alone`: all others are;
    `noise`: Gaussian noise of `noise` training standard deviations is added to each of its neuroids;
    `random_left_out`: as many neuroids, drawn from all, at their mean (five draws): what the size of the
    region alone would cost.

    Parameters
    ----------
    responses, features, split : Dataset
        Responses with regions (or parcels), Features, Splits.
    options : RidgeDecoding or NetworkDecoding
    among : sequence of str
        Regions; empty: all that have a neuroid.
    noise : float
    n_bootstraps, seed : int

    Returns
    -------
    list of dict
        For each region, manipulation, with and without a new fit, and score: `whole`, `value`, and their
        difference `change` with its 95 % interval (low, high), paired over pictures (over folds where each
        picture is tested in one of several: `resample`).

    Raises
    ------
    InputError
        No region; as `decode`.
    """
    for _ in prepare(responses, features, split, options, among):
        pass  # what is wrong in any fold is said before hours of work
    found: dict[tuple[str, str, bool], list[NDArray[np.float64]]] = {}
    whole, ids, fold_of = [], [], []
    sizes: dict[str, int] = {}
    for fold, p in enumerate(prepare(responses, features, split, options, among)):
        rng = np.random.default_rng((seed, fold))
        model = _fit(options, p, np.ones(p.X_train.shape[1], bool))
        whole.append(_scores(model, p.X_test, p))
        ids.append(p.ids)
        fold_of.append(np.full(len(p.ids), fold))
        for region, inside in tqdm(p.inside.items(), f"fold {fold}", disable=None):
            sizes[region] = len(np.unique(p.columns[inside] // (p.n_times or 1)))
            for how in HOW:
                changed = [manipulate(p.X_test, inside, how, noise, rng)
                           for _ in range(N_RANDOM if how == "random_left_out" else 1)]  # fmt: skip
                scores = np.mean([_scores(model, X, p) for X in changed], 0)
                found.setdefault((region, how, False), []).append(scores)
            for how, kept in (("left_out", ~inside), ("alone", inside)):
                again = _fit(options, p, kept)
                found.setdefault((region, how, True), []).append(_scores(again, p.X_test[:, kept], p))
    tested = np.concatenate(ids)
    samples = resample(
        tested, np.concatenate(fold_of), n=n_bootstraps, seed=seed,
        stretch=together_at(responses, tested, config.Evaluation().stretch),
    )  # fmt: skip
    return _rows(found, np.concatenate(whole), samples, sizes)


def manipulate(
    X: NDArray[np.float32], inside: NDArray[np.bool_], how: str, noise: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Change standardised responses, whose training mean is 0, as `contributions` or `find_lesion` says.

    Parameters
    ----------
    X : array of shape (n_stimuli, n_neuroids)
    inside : bool array of shape (n_neuroids,)
        The region.
    how : str
        Of `HOW` or `LESIONS`. `silent`: the region stands at its mean; `scrambled`: its responses are those
        to other stimuli, so that they vary as before and say nothing.
    noise : float
        Standard deviation, of `noise`.
    rng : Generator
    """
    out = X.copy()
    if how == "noise":
        out[:, inside] += noise * rng.standard_normal((len(X), int(inside.sum())), np.float32)
    elif how == "scrambled":
        out[:, inside] = X[rng.permutation(len(X))][:, inside]
    elif how == "random_left_out":
        out[:, rng.permutation(inside)] = 0
    else:
        out[:, ~inside if how == "alone" else inside] = 0
    return out


def prepare(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Embedding,
    among: Sequence[str] = (),
) -> Iterator[Prepared]:  # fmt: skip
    """Lay out each fold as `decode` does, and say which columns are of which region.

    Raises
    ------
    InputError
        No region, or none of this name; one without neuroids that vary, or with all; the network reads
        epochs, whose neuroids are read together; as `decode`.
    """
    if getattr(options, "front", "linear") == "atm" or getattr(options, "repeats", "mean") == "random":
        raise InputError(
            "Contributions are measured on the mean response by decoders that read neuroids side by side. "
            "Use `front: linear` and `repeats: mean`, or a ridge decoder."
        )
    member = _regions(responses, among)
    if odd := [k for k in ("subjects", "sessions", "augment") if getattr(options, k, None)]:
        raise InputError(f"The decoder has `{odd[0]}`, which contributions do not read. Leave it out.")
    samples = sample(responses, options)
    for fold in range(split.sizes["fold"]):
        sides = lay_out(samples, features, split, fold, options)
        X, Y, test = sides.response, sides.embedding, sides.tested()
        assert X.centre is not None and X.scale is not None
        inside = {k: m[X.columns // (samples.n_times or 1)] for k, m in member.items()}
        _parted(inside, fold)
        yield Prepared(
            X.take(sides.train)[:], test[:], Y.take(sides.train), Y.take(sides.test), sides.ids[sides.test],
            sides.inner, inside, samples.n_times, X.columns, X.centre, X.scale,
        )  # fmt: skip


def _parted(inside: Mapping[str, NDArray[np.bool_]], fold: int) -> None:
    """Refuse a region that has nothing to decode from, or without which nothing is left."""
    for region, mask in inside.items():
        if not mask.any():
            raise InputError(
                f"No neuroid of the region {region!r} is finite and varies over the training stimuli of fold "
                f"{fold}. Name the other regions (--region)."
            )
        if mask.all():
            raise InputError(
                f"All neuroids that are decoded lie in the region {region!r}: nothing is left without it. "
                "Name the other regions (--region)."
            )


def _regions(responses: xr.Dataset, among: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return the neuroids of each region, of an atlas those of each parcel."""
    known = {k: m for k, m in regions(responses).items() if m.any()}
    if not known and "parcel" in responses.coords:
        known = {f"{side}{'_' if side else ''}{name}": m for (side, name), m in parcels(responses).items()}
    for name in among:
        if name not in known:
            raise InputError(f"No region {name!r}. {suggest(name, known)}")
    if not known:
        raise InputError(
            "These responses have no regions, whose contributions could be told apart. Give `regions` or an "
            "atlas to the dataset."
        )
    return {k: m for k, m in known.items() if not among or k in among}


def _fit(options: config.Embedding, p: Prepared, kept: NDArray[np.bool_]) -> Any:
    return make(options, p.folds).fit(Design(p.X_train[:, kept]), p.Y_train)


def _scores(model: Any, X: NDArray[np.float32], p: Prepared) -> NDArray[np.float64]:
    return picture_scores(model.predict_components(X), model.target_.transform(p.Y_test))


def _rows(
    found: Mapping[tuple[str, str, bool], list[NDArray[np.float64]]], whole: NDArray[np.float64],
    samples: Resampling, sizes: Mapping[str, int],
) -> list[dict[str, Any]]:  # fmt: skip
    """Lay out means over pictures, and intervals of their differences to the whole."""
    keys = list(found)
    each = np.stack([np.concatenate(found[k]) for k in keys], 1)  # (n_pictures, n_conditions, n_scores)
    flat = (each - whole[:, None]).reshape(len(whole), -1)

    def statistic(cut: slice) -> Any:
        def weighted(k: NDArray[np.int64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
            total = weight.sum(1, keepdims=True)
            with np.errstate(invalid="ignore"):  # a sample that holds none of a fold
                return np.asarray(weight @ flat[k, cut] / total)

        return np.stack([flat[k, cut].mean(0) for k in samples.rows]), weighted

    limits, _ = bootstrap(statistic, flat.shape[1], samples, {}, [0.025, 0.975])
    limits = limits.reshape(2, *each.shape[1:])

    def mean(values: NDArray[np.float64]) -> float:
        return float(np.mean([values[k].mean() for k in samples.rows]))

    return [
        {"region": region, "n": sizes[region], "how": how, "refit": refit, "score": score,
         "whole": mean(whole[:, s]), "value": mean(each[:, c, s]),
         "change": mean(each[:, c, s] - whole[:, s]), "low": float(limits[0, c, s]),
         "high": float(limits[1, c, s])}
        for c, (region, how, refit) in enumerate(keys) for s, score in enumerate(SCORES)
    ]  # fmt: skip


class Found(NamedTuple):
    """What a recording's regions say of themselves."""

    region: str
    """Whose own decoding falls short by most"""
    z: dict[str, float]
    """Mean cosine of each region, less that of held-out training pictures, in standard errors"""
    p: float
    """Of the lowest z, one-sided, by Šidák for the number of regions"""


class LesionFinder:
    """Tell a lesioned recording from a whole one, and name the region.

    A decoder for each region alone is fitted to the whole recordings of training pictures. What it makes of
    pictures it was not fitted to (inner folds, n_0 pictures) says what is usual of the cosine to the true
    embedding: z = (m - m_0) / (s_0 sqrt(1 / n + 1 / n_0)), m of n pictures of the recording in question. All
    regions of a bad recording are low; a lesion is where z is lowest, and lower than chance allows. Where
    training pictures were shown less often than those in question, their mean is lower and z too high: then
    fewer lesions are found, not more.

    Parameters
    ----------
    options : RidgeDecoding or NetworkDecoding
    prepared : Prepared
        A fold.
    """

    def __init__(self, options: config.Embedding, prepared: Prepared) -> None:
        self.prepared = p = prepared
        self.models, self.usual = {}, {}
        for region, inside in p.inside.items():
            model = _fit(options, p, inside)
            X = Design(p.X_train[:, inside])
            decoded = out_of_fold(options, X, p.Y_train, p.inner, model.target_)
            self.models[region] = model
            self.usual[region] = row_cosine(decoded, model.target_.transform(p.Y_train))

    def find(self, X: NDArray[np.float32], true: Design) -> Found:
        """Find the region.

        Parameters
        ----------
        X : array of shape (n_pictures, n_neuroids)
            Standardised by the whole recordings.
        true : Design of shape (n_pictures, n_features)
        """
        from scipy.stats import norm  # loads for a second

        z = {}
        for region, inside in self.prepared.inside.items():
            model, usual = self.models[region], self.usual[region]
            own = row_cosine(model.predict_components(X[:, inside]), model.target_.transform(true))
            error = usual.std(ddof=1) * np.sqrt(1 / len(own) + 1 / len(usual))
            z[region] = float((own.mean() - usual.mean()) / error)
        lowest = min(z, key=z.__getitem__)
        return Found(lowest, z, float(-np.expm1(len(z) * np.log1p(-norm.cdf(z[lowest])))))


def try_lesions(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Embedding, *,
    among: Sequence[str] = (), n_recordings: int = 4, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Lesion the test recordings region by region, and see whether lesion and region are found.

    Parameters
    ----------
    responses, features, split, options, among
        As in `contributions`.
    n_recordings : int
        Parts into which the test pictures of a fold are dealt, each a recording of its own.
    seed : int

    Returns
    -------
    list of dict
        A row for each recording, whole (`lesion` is empty) and with each lesion: `region`, what was `named`,
        `z` of that and `p`.

    Raises
    ------
    InputError
        Fewer than ten test pictures a recording; as `contributions`.
    """
    for fold, p in enumerate(prepare(responses, features, split, options, among)):
        if len(p.ids) < 10 * n_recordings:
            raise InputError(
                f"{len(p.ids)} test pictures of fold {fold} are too few for {n_recordings} recordings of "
                "ten. Ask for fewer recordings."
            )
    rows = []
    for fold, p in enumerate(prepare(responses, features, split, options, among)):
        finder, rng = LesionFinder(options, p), np.random.default_rng((seed, fold, 1))
        for n, part in enumerate(np.array_split(rng.permutation(len(p.ids)), n_recordings)):
            X, true = p.X_test[part], p.Y_test.take(part)
            tried = [("", "", X)] + [
                (how, region, manipulate(X, inside, how, 0.0, rng))
                for region, inside in p.inside.items() for how in LESIONS
            ]  # fmt: skip
            for how, region, changed in tried:
                found = finder.find(changed, true)
                rows.append({"fold": fold, "recording": n, "n_pictures": len(part), "lesion": how,
                             "region": region, "named": found.region, "z": found.z[found.region],
                             "p": found.p})  # fmt: skip
    return rows


def count_lesions(tried: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count what `try_lesions` found.

    Returns
    -------
    dict
        Recordings that were `lesioned`; of these `named` right, and of these `found`, with p below .05; those
        that were `whole`, and of these `false_alarms`.
    """
    hurt = [r for r in tried if r["lesion"]]
    named = [r for r in hurt if r["named"] == r["region"]]
    return {
        "lesioned": len(hurt), "named": len(named), "found": sum(r["p"] < LEVEL for r in named),
        "whole": len(tried) - len(hurt),
        "false_alarms": sum(not r["lesion"] and r["p"] < LEVEL for r in tried),
    }  # fmt: skip


def suspect(
    recording: xr.Dataset, responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset,
    options: config.Embedding, *, among: Sequence[str] = (),
) -> Found:  # fmt: skip
    """Hold another recording of the same neuroids against the whole ones.

    Parameters
    ----------
    recording : Dataset
        Responses of the neuroids of `responses` to pictures that the first fold does not train on.
    responses, features, split, options, among
        As in `contributions`; the first fold counts.

    Raises
    ------
    InputError
        Other neuroids; missing values; pictures that were trained on, or fewer than ten; as `contributions`.
    """
    same_neuroids(recording, responses)
    p = next(prepare(responses, features, split, options, among))
    ids, mean, group, _ = by_stimulus(recording)
    side, _ = splits.sides(split, 0, ids, group)
    ids, mean = ids[side == splits.TEST], mean[side == splits.TEST]
    values = mean.reshape(len(ids), int(np.prod(mean.shape[1:])))[:, p.columns]
    if len(ids) < 10 or not np.isfinite(values).all():
        raise InputError(
            f"{len(ids)} pictures of the recording are tested in the first fold, with "
            f"{int((~np.isfinite(values)).sum())} values missing; expected ten or more without. Record the "
            "test pictures."
        )
    X = ((values - p.centre) / p.scale).astype(np.float32)
    return LesionFinder(options, p).find(X, design(features, ids, options.layers).flattened())
