"""From Responses of several recordings and one split of their sets to embeddings in one space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import splits, unions
from neuroenc.arrays import CONTRACT, average_repeats, select_layers
from neuroenc.config import JointDecoding, RidgeDecoding
from neuroenc.decoders.decode import DecodedFold, join_folds
from neuroenc.decoders.fused import fuse, modality_of, row_cosine
from neuroenc.decoders.samples import sample
from neuroenc.devices import pick_device
from neuroenc.encoders.design import design
from neuroenc.encoders.encode import transductive
from neuroenc.errors import InputError, invalid
from neuroenc.real import deviation

if TYPE_CHECKING:
    from neuroenc.decoders.joint import JointDecoder

Floats = NDArray[Any]
FUSED = "fused"
SHARED = ("sensors", "MNI", "fsaverage", "fsLR")  # how spaces begin whose neuroids two people have alike


class Recording(NamedTuple):
    """What is read of one recording in a fold."""

    name: str
    train: Floats
    """(n_train, n_neuroids), standardised by the training stimuli; what does not vary there is 0"""
    inner: NDArray[np.int64]
    """Inner fold of each training stimulus"""
    picture: Floats
    text: Floats | None
    """Embeddings of the training stimuli"""
    test: Floats
    """(n_test, n_neuroids), means over all repetitions"""
    few: list[Floats]
    """Means over so many as `JointDecoding.repeats` says"""
    ids: NDArray[np.str_]
    concept: NDArray[np.str_]
    """Of the test stimuli"""
    true: Floats
    n_times: int | None
    """Of epochs that are read as such"""
    position: Floats | None
    """(n_neuroids, 3), where a graph reads them"""
    left_out: str


def decode_recordings(
    responses: Mapping[str, xr.Dataset], features: Mapping[str, xr.Dataset], split: xr.Dataset,
    options: JointDecoding, *, texts: Mapping[str, xr.Dataset] | None = None, leave_out: Iterable[str] = (),
    shuffle: int | None = None,
) -> dict[str, xr.Dataset]:  # fmt: skip
    """Fit one decoder to the training stimuli of all recordings and decode the test stimuli of each.

    Parameters
    ----------
    responses : mapping
        Recording (MODALITY:SUBJECT) -> Responses.
    features : mapping
        Modality -> Features of its stimuli, of one model.
    split : Dataset
        Splits of the sets, called as the modalities (`unions.union`).
    options : JointDecoding
    texts : mapping, optional
        Modality -> Features of texts of its stimuli.
    leave_out : iterable of str
        Recordings that are not trained on, as those of a new subject: they are read through the adapters of
        others of their modality. Centre and scale are those of their own training stimuli.
    shuffle : int, optional
        Seed: deal the training embeddings of each recording anew, for the null.

    Returns
    -------
    dict
        Recording -> Embeddings of its test stimuli, in one space: beside what the other decoders write,
        `few(number, presentation, component)`, decoded from the mean of `n_repeats(number)` repetitions, and
        `concept`. Also 'fused' -> Embeddings of concepts, the mean over the modalities that were trained on
        and show them (`fused.fuse`).

    Raises
    ------
    InputError
        Features of several models, or of no set; nothing left to train on; a recording that is left out and
        whose channels no other of its modality has.
    LeakError
        The split trains on what it tests in another set.
    """
    unions.apart(split)
    out = _known(list(leave_out), responses)
    contract = _contract(features, options.layers, responses, "features")
    if texts is not None:
        _contract(texts, [], responses, "texts")
    if shuffle is not None and shuffle < 0:
        raise InputError(f"The seed of shuffling is {shuffle}, expected 0 or more.")
    if not set(responses) - set(out):
        raise InputError("All recordings are left out: there is none to train on.")
    others = {name: _others(name, out, responses) for name in out}
    folds: dict[str, list[DecodedFold]] = {}
    few: dict[str, list[Floats]] = {name: [] for name in responses}
    said: dict[str, dict[str, str]] = {}
    concepts: dict[str, list[Any]] = {name: [] for name in responses}
    for fold in tqdm(range(split.sizes["fold"]), "folds of all recordings", disable=None):
        parts = {name: read(name, r, features, texts, split, fold, options) for name, r in responses.items()}
        model = fit({n: p for n, p in parts.items() if n not in out}, options, fold, shuffle)
        found = {}
        for name, p in parts.items():
            through = [name] if name not in out else _adapters(model, p, others[name], options)
            said[name] = {"left_out": p.left_out, "adapter": _spoken(name, through, options)}
            found[name] = model.predict_components(p.test, name, through)
            few[name].append(np.array([model.predict_components(x, name, through) for x in p.few]))
            concepts[name].append(p.concept)
            true = model.target_.transform(p.true)
            folds.setdefault(name, []).append(DecodedFold(p.ids, found[name], true, model.target_))
        label = {n: p.concept for n, p in parts.items() if n not in out}
        names, together = fuse(label, {n: found[n] for n in label})
        _, true = fuse(label, {n: folds[n][-1].true for n in label})
        folds.setdefault(FUSED, []).append(DecodedFold(names, together, true, model.target_))
    attrs = contract | {
        "decoder": "joint", "recordings": ", ".join(n for n in responses if n not in out),
        "shuffled": "no" if shuffle is None else f"training pairs of each recording, seed {shuffle}",
    }  # fmt: skip
    made = {
        name: join_folds(folds[name], attrs | said[name] | about(name, r, folds[name][0].ids, split, options))
        for name, r in responses.items()
    }
    for name, of_folds in few.items():
        width = made[name].sizes["component"]
        values = np.concatenate([v[..., :width] for v in of_folds], 1) if options.repeats else None
        if values is not None:
            made[name]["few"] = (("number", "presentation", "component"), values)
            made[name] = made[name].assign_coords(n_repeats=("number", options.repeats))
        made[name] = made[name].assign_coords(concept=("presentation", np.concatenate(concepts[name])))
    return made | {FUSED: join_folds(folds[FUSED], attrs | {"dataset": split.attrs["dataset"]})}


def read(
    name: str, responses: xr.Dataset, features: Mapping[str, xr.Dataset],
    texts: Mapping[str, xr.Dataset] | None, split: xr.Dataset, fold: int, options: JointDecoding,
) -> Recording:  # fmt: skip
    """Read one recording in a fold.

    Parameters
    ----------
    name : str
        MODALITY:SUBJECT.
    responses, features, texts, split, fold, options
        As in `decode_recordings`.
    """
    modality = modality_of(name)
    of_set = unions.part(split, modality)
    seen = windowed(responses, options.window.get(modality), name)
    samples = sample(seen, RidgeDecoding())
    side, inner = splits.sides(of_set, fold, samples.ids, samples.group)
    train, test = side == splits.TRAIN, side == splits.TEST
    if not train.any() or not test.any():
        raise InputError(
            f"Of {name!r} {train.sum()} stimuli are trained on and {test.sum()} tested in fold {fold}, "
            "expected one or more of each. Make the split from the stimuli of these responses."
        )
    centre, scale = samples.response[train].mean(0), deviation(samples.response[train])
    usable = samples.whole & (scale > 0)
    if not usable.any():
        raise InputError(f"No neuroid of {name!r} varies over the training stimuli of fold {fold}.")

    def scaled(values: Floats) -> Floats:
        found = np.where(usable, values - centre, 0) / np.where(usable, scale, 1)
        return np.nan_to_num(found).astype(np.float32)  # of a few repetitions all may lack a value

    ids = samples.ids[test]
    concept = dict(zip(of_set["stimulus_id"].values, of_set["group"].values, strict=True))
    of = {
        key: None if given is None else design(given[modality], samples.ids, layers).flattened()
        for key, given, layers in (("picture", features, options.layers), ("text", texts, []))
    }
    picture, text = of["picture"], of["text"]
    assert picture is not None
    front = options.front.get(modality, "linear")
    n_times = samples.n_times or (1 if front == "graph" else None)
    return Recording(
        name, scaled(samples.response[train]), inner[train][:, 0], picture.take(train)[:],
        None if text is None else text.take(train)[:], scaled(samples.response[test]),
        [scaled(_mean_of(seen, ids, k, options.seed)) for k in options.repeats], ids,
        np.array([concept[s] for s in ids]), picture.take(test)[:],
        None if front == "linear" else n_times, positions(seen, name) if front == "graph" else None,
        samples.left_out,
    )  # fmt: skip


def positions(responses: xr.Dataset, name: str) -> Floats:
    """Return where neuroids are, (n_neuroids, 3): as recorded, else where the 10-05 system has their names.

    Raises
    ------
    InputError
        One has no place.
    """
    where = np.stack([responses[axis].values for axis in "xyz"], 1)
    if np.isfinite(where).all() and len(np.unique(where, axis=0)) > 1:
        return where
    standard = standard_places()
    channels = [channel.lower() for channel in _channels(responses, name)]
    unknown = [channel for channel in channels if channel not in standard]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(channels)} neuroids of {name!r} have no `x`, `y`, `z` and no name of "
            f"the 10-05 system, first {unknown[0]!r}; `front: graph` joins those that lie near each other. "
            "Give their places, or use another front."
        )
    return np.array([standard[channel] for channel in channels])


def standard_places() -> dict[str, Floats]:
    """Return where the 10-05 system has its names, in lower case."""
    from mne.channels import make_standard_montage

    places = make_standard_montage("colin27_1005").get_positions()["ch_pos"]
    return {str(channel).lower(): np.asarray(place) for channel, place in places.items()}


def windowed(responses: xr.Dataset, window: tuple[float, float] | None, name: str) -> xr.Dataset:
    """Keep the time bins that lie in a window (s); None: all.

    Raises
    ------
    InputError
        There are no time bins, or none lies in the window.
    """
    if window is None:
        return responses
    if "time_bin" not in responses.dims:
        raise InputError(f"The responses of {name!r} have no time bins, of which `window` names some.")
    start, stop = responses["start"].values, responses["stop"].values
    inside = (start >= window[0] - 1e-6) & (stop <= window[1] + 1e-6)
    if not inside.any():
        raise InputError(
            f"No time bin of {name!r} lies between {window[0]:g} and {window[1]:g} s; they go from "
            f"{start.min():g} to {stop.max():g} s."
        )
    return responses.isel(time_bin=inside)


def _mean_of(responses: xr.Dataset, ids: NDArray[np.str_], n: int, seed: int) -> Floats:
    """Average `n` repetitions of each stimulus, drawn at random, or all where there are fewer."""
    shown = responses["stimulus_id"].values
    order = np.random.default_rng((seed, n)).permutation(len(shown))
    taken = np.concatenate([order[shown[order] == s][:n] for s in ids])
    names, mean = average_repeats(responses.isel(presentation=np.sort(taken)))
    row = {s: i for i, s in enumerate(names)}
    return np.asarray(mean.reshape(len(mean), -1)[[row[s] for s in ids]])


def fit(
    parts: Mapping[str, Recording], options: JointDecoding, fold: int = 0, shuffle: int | None = None
) -> JointDecoder:
    """Fit one decoder to what is read of recordings."""
    from neuroenc.decoders.joint import JointDecoder

    n_times: dict[str, int] = {}
    for name, p in parts.items():
        if p.n_times is not None and n_times.setdefault(modality_of(name), p.n_times) != p.n_times:
            raise InputError(
                f"{name!r} has {p.n_times} time bins, another recording of its modality "
                f"{n_times[modality_of(name)]}. Name a window that all have."
            )
    asked = {m for m, front in options.front.items() if front == "atm"} & {modality_of(n) for n in parts}
    if lacking := sorted(asked - n_times.keys()):
        raise InputError(f"Recordings of {lacking[0]!r} have no time bins, which `front: atm` reads.")
    dealt = {
        name: np.arange(len(p.train)) if shuffle is None
        else np.random.default_rng((shuffle, fold, k)).permutation(len(p.train))
        for k, (name, p) in enumerate(parts.items())
    }  # fmt: skip
    numbers = range(1 + max(int(p.inner.max()) for p in parts.values()))
    folds = {
        name: [(np.flatnonzero(p.inner != k), np.flatnonzero(p.inner == k)) for k in numbers]
        for name, p in parts.items()
    }
    how = options.model_dump(exclude={"layers", "front", "window", "repeats", "adapter"})
    position = {n: p.position for n, p in parts.items() if p.position is not None}
    how |= {"device": pick_device(options.device), "n_times": n_times, "position": position}
    model = JointDecoder(**how, cv=folds)
    texts = {n: p.text[dealt[n]] for n, p in parts.items() if p.text is not None}
    pictures = {n: p.picture[dealt[n]] for n, p in parts.items()}
    return model.fit({n: p.train for n, p in parts.items()}, pictures, texts or None)


def _others(new: str, out: list[str], responses: Mapping[str, xr.Dataset]) -> list[str]:
    """Name the recordings that are trained on and whose adapters can read one that is not."""
    modality = modality_of(new)
    known, space = _channels(responses[new], new), str(responses[new].attrs["space"])
    others = [
        n for n in responses
        if n not in out and modality_of(n) == modality and responses[n].attrs["space"] == space
        and space.startswith(SHARED) and _channels(responses[n], n) == known
    ]  # fmt: skip
    if not others:
        raise InputError(
            f"{new!r} (space {space!r}) is left out of training, and no other recording of {modality!r} "
            f"has its neuroids by name in a space that people share ({', '.join(SHARED)}): there is no "
            "adapter to read it through. Leave out another, or bring them to one space."
        )
    return others


def _adapters(model: JointDecoder, new: Recording, others: list[str], options: JointDecoding) -> list[str]:
    """Name the recordings through whose adapters one is read that was not trained on."""
    if options.adapter == "mean":
        return others
    true = model.target_.transform(new.picture)
    near = [row_cosine(model.predict_components(new.train, new.name, [n]), true).mean() for n in others]
    return [others[int(np.argmax(near))]]


def _channels(responses: xr.Dataset, name: str) -> list[str]:
    subject = name.partition(":")[2]
    return [str(n).removeprefix(f"{subject}_") for n in responses["neuroid_id"].values]


def _spoken(name: str, through: list[str], options: JointDecoding) -> str:
    if through == [name]:
        return "its own"
    if options.adapter == "chosen":
        return f"of {through[0]}, best on training stimuli of {name}"
    return "mean of " + ", ".join(through)


def about(
    name: str, responses: xr.Dataset, tested: NDArray[np.str_], split: xr.Dataset, options: JointDecoding
) -> dict[str, Any]:
    """Say of what the embeddings of a recording are, for their attributes."""
    seen = windowed(responses, options.window.get(modality_of(name)), name)
    timed = "time_bin" in seen.dims
    shown = seen["stimulus_id"].values
    counts = np.unique(shown[np.isin(shown, tested)], return_counts=True)[1]
    low, high = int(counts.min()), int(counts.max())
    of_set = unions.part(split, modality_of(name))
    window = f"{seen['start'].values.min():.3g} to {seen['stop'].values.max():.3g} s" if timed else "none"
    return {
        "dataset": responses.attrs["dataset"], "recording": name, "channels": seen.sizes["neuroid"],
        "window": window, "repeats": str(low) if low == high else f"{low} to {high}", "most_repeats": high,
        "transductive": transductive(seen, of_set),
    }  # fmt: skip


def _known(names: list[str], responses: Mapping[str, xr.Dataset]) -> list[str]:
    for name in names:
        if name not in responses:
            raise invalid("leave-out", name, responses)
    return names


def _contract(
    features: Mapping[str, xr.Dataset], layers: list[str], responses: Mapping[str, xr.Dataset], what: str
) -> dict[str, Any]:
    """Return the contract that the features of all modalities share."""
    first: dict[str, Any] = {}
    for modality in dict.fromkeys(modality_of(n) for n in responses):
        if modality not in features:
            raise InputError(
                f"There are no {what} of the stimuli of {modality!r}, only of "
                f"{', '.join(features) or 'none'}. Name them by modality."
            )
        found = select_layers(features[modality], layers).attrs
        if found["model"] == "category/table":
            raise InputError("Stimuli share their categories, so that none can be retrieved by them.")
        first = first or {k: found[k] for k in CONTRACT}
        for key in CONTRACT:
            if found[key] != first[key]:
                raise InputError(
                    f"The {what} of {modality!r} have {key} {found[key]!r}, those before {first[key]!r}. "
                    "Extract all by the same model section."
                )
    return first
