"""Hold a run on the simulated NSD against its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import binomtest
from tqdm import tqdm

from neuroenc import splits
from neuroenc.arrays import average_repeats
from neuroenc.config import Config, Ridge
from neuroenc.datasets import nsd
from neuroenc.decoders import nano as small
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError
from neuroenc.evaluation.ceilings import ceiling
from neuroenc.evaluation.scores import pearson_r
from neuroenc.features import nano
from neuroenc.files import existing
from neuroenc.hdf5 import open_hdf5
from neuroenc.records import row
from neuroenc.simulation import cortex, grammar, simulate
from neuroenc.simulation.train_decoders import STREAM
from neuroenc.simulation.train_network import training_scenes
from neuroenc.words import content_words

Row = dict[str, Any]
COMMAND = "neuroenc evaluate grade"
KINDS = {
    "early": tuple(cortex.WEDGES), "language": (cortex.LANGUAGE,),
    "category": tuple(set(cortex.PATCHES) - {cortex.LANGUAGE}),
}  # fmt: skip


def grade(
    config: Config,
    responses: dict[str, xr.Dataset],
    scores: dict[tuple[str, str], xr.Dataset],
    split: xr.Dataset,
    attention: dict[str, xr.Dataset] | None = None,
    captions: dict[str, pd.DataFrame] | None = None,
) -> list[Row]:
    """Grade every stage of a simulated run.

    Parameters
    ----------
    config : Config
        Of the run.
    responses : dict
        Responses by subject.
    scores : dict
        Scores by (subject, model).
    split : Dataset
    attention : dict, optional
        Maps of attention routing by subject, as `figures.attention.attention_arrays` returns them.
    captions : dict, optional
        Captions of voxels by subject, as `decoders.voxels.caption_voxels` returns them.

    Returns
    -------
    list of dict
        Rows: error of each ceiling, false positives among silent voxels, r of each model per kind
        of area against the known ceiling, what ridge reaches when given the true features.
    """
    root, options = nsd.root_of(config.dataset), config.simulate
    n_pictures = options.n_shared + options.n_subjects * options.n_unique
    with open_hdf5(root / nsd.STIMULI) as file:
        pixels = file[nsd.BRICK][:]
    pictures = simulate.caption(simulate.subject_scenes(n_pictures, options.seed), pixels, options.seed)
    energy = cortex.oriented_energy(pictures.pixels)
    ridge = next(e for e in config.encoders.values() if e.name == "ridge")
    rows = [_shared_pictures(pictures, options.seed)]
    for subject, data in responses.items():
        truth = truth_of(root, subject, data)
        labels = {"command": COMMAND, "seed": options.seed, "subject": subject}
        rows += _ceilings(data, truth, labels)
        for (who, model), s in scores.items():
            if who == subject:
                rows += _accuracy(s, truth, labels | {"model": model})
        if attention and subject in attention:
            rows += attention_in_boxes(attention[subject], pictures.scenes, labels)
        if captions and subject in captions:
            rows += captions_of_categories(captions[subject], truth, labels)
        rows += _true_features(data, truth, split, energy, pictures, ridge, labels)
    return rows


def _shared_pictures(pictures: simulate.Pictures, seed: int) -> Row:
    """Count the pictures of subjects on which small networks were trained; there should be none."""
    streams = {(nano.record()["n_pictures"], nano.record()["seed"])}
    for path in (small.PICTURES, small.CAPTIONS):
        of = small.record(path)
        streams.add((of["n_pictures"], of["seed"] + STREAM))
    trained = {repr(scene) for n, s in streams for scene in training_scenes(n, s)}
    shared = sum(repr(scene) in trained for scene in pictures.scenes)
    return row("pictures shared by network training and subjects", shared, unit="pictures",
               n=len(pictures.scenes), command=COMMAND, seed=seed)  # fmt: skip


def _ceilings(data: xr.Dataset, truth: xr.Dataset, labels: Row) -> list[Row]:
    """Hold each estimate of the ceiling against the one that is known."""
    known, test = truth["ceiling"].values, data["split"].values == "test"
    rows = []
    for method in ("ncsnr", "split_half", "explainable_variance"):
        found = ceiling(data["response"].values[test], data["stimulus_id"].values[test], method,
                        data["ncsnr"].values)  # fmt: skip
        error = (found - known)[np.isfinite(found - known)]
        rows += [
            row(f"ceiling error {what}", value, unit="share of variance", n=len(error), method=method,
                ceiling=float(known.mean()), **labels)
            for what, value in (("mean", error.mean()), ("median absolute", np.median(np.abs(error))))
        ]  # fmt: skip
    return rows


def _accuracy(s: xr.Dataset, truth: xr.Dataset, labels: Row) -> list[Row]:
    """Count false positives among silent voxels; give r of each kind of area beside its known ceiling."""
    silent, area, known = (truth[k].values for k in ("silent", "area", "ceiling"))
    p = s["p"].values[silent & np.isfinite(s["p"].values)]
    hits = int((p < 0.05).sum())
    exact = binomtest(hits, len(p)).proportion_ci(0.95)
    rows = [row("silent voxels with p < 0.05", hits / len(p), unit="share", n=len(p),
                interval=(exact.low, exact.high), null=0.05, **labels)]  # fmt: skip
    r = s["score"].sel(metric="pearson_r").values
    for kind, areas in KINDS.items():
        inside = np.isin(area, areas) & ~silent & np.isfinite(r)
        rows.append(row("mean test r", r[inside].mean(), unit="Pearson r", n=int(inside.sum()),
                        ceiling=float(np.sqrt(known[inside]).mean()), null=0.0, area_kind=kind,
                        **labels))  # fmt: skip
    return rows


def attention_in_boxes(maps: xr.Dataset, scenes: list[grammar.Scene], labels: Row) -> list[Row]:
    """Say how often the peak of a category area's map lies in a box of its objects, where there is one.

    Parameters
    ----------
    maps : Dataset
        `relevance` and `attention`, (stimulus, query, row, column).
    scenes : list of Scene
        By the number in the stimulus id.
    labels : dict
        Of the rows.

    Returns
    -------
    list of dict
        Rows; chance is the share of cells whose centre lies in a box.
    """
    names = list(maps["query_name"].values)
    at = (np.arange(maps.sizes["row"]) + 0.5) / maps.sizes["row"]
    graded = []
    for kind in ("relevance", "attention"):
        every: list[tuple[bool, float]] = []
        for area, (_, _, wanted) in cortex.PATCHES.items():
            if not wanted or area not in names:
                continue
            found = []
            for s, m in zip(maps["stimulus_id"].values, maps[kind].values[:, names.index(area)], strict=True):
                things = scenes[int(s.removeprefix("nsd-"))].things
                boxes = [t.box for t in things if t.category in wanted]
                if boxes:
                    inside = np.any([
                        ((at >= x0) & (at <= x1)) & ((at >= y0) & (at <= y1))[:, None]
                        for x0, y0, x1, y1 in boxes
                    ], axis=0)  # fmt: skip
                    found.append((bool(inside.ravel()[m.argmax()]), float(inside.mean())))
            every += found
            graded.append((area, found, kind))
        graded.append(("all", every, kind))
    return [
        row("peak of the map in the object's box", float(np.mean([h for h, _ in found])), unit="share",
            n=len(found), null=float(np.mean([c for _, c in found])), area=area, map=kind, **labels)
        for area, found, kind in graded if found
    ]  # fmt: skip


def truth_of(root: Path, subject: str, responses: xr.Dataset) -> xr.Dataset:
    """Read the truth of the neuroids of `responses`, in their order."""
    path = existing(root / "truth" / f"sub-{subject}.nc", made_by="Only simulated data can be graded.")
    truth = xr.load_dataset(path, engine="h5netcdf")
    place = {n: i for i, n in enumerate(truth["neuroid_id"].values)}
    wanted = responses["neuroid_id"].values
    if wanted[0] not in place:
        raise InputError(
            f"Neuroid {wanted[0]!r} is not in {path}, which knows voxels of the volume. Grade a run "
            "with dataset.space func1pt8mm."
        )
    return truth.isel(neuroid=[place[n] for n in wanted])


def captions_of_categories(table: pd.DataFrame, truth: xr.Dataset, labels: Row) -> list[Row]:
    """Grade captions: the word of the right category, and silence about silent voxels.

    Parameters
    ----------
    table : DataFrame
        Of `decoders.voxels.caption_voxels`, in the order of `truth`.
    truth : Dataset
        `preferred` and `silent` of each neuroid.
    labels : dict
        Of the rows.
    """
    words = grammar.category_words()
    preferred, silent = truth["preferred"].values, truth["silent"].values
    confident = table["confident"].to_numpy(bool)
    chosen = np.flatnonzero((preferred != "") & confident)
    named: list[tuple[str, NDArray[np.bool_], float | None]] = []
    for column in ("caption", "generated"):
        if column not in table:
            continue
        said = [set(content_words(str(c))) for c in table[column]]
        right = np.array([bool(said[v] & words[preferred[v]]) for v in chosen])
        guesses = [[bool(said[v] & some) for some in words.values()] for v in chosen]
        chance = np.mean(guesses) if guesses else np.nan
        kind = "caption" if column == "caption" else "generated caption"
        named.append((f"category word in the {kind} of a selective voxel", right, float(chance)))
    rows = []
    for name, hit, null in (
        *named,
        ("selective voxels with a confident caption", confident[preferred != ""], None),
        ("silent voxels with a confident caption", confident[silent], 0.05),
    ):
        if not len(hit):  # few pictures: no caption is confident
            continue
        exact = binomtest(int(hit.sum()), len(hit)).proportion_ci(0.95)
        rows.append(row(name, hit.mean(), unit="share", n=len(hit), interval=(exact.low, exact.high),
                        null=null, ceiling=1.0, **labels))  # fmt: skip
    return rows


def _true_features(
    responses: xr.Dataset, truth: xr.Dataset, split: xr.Dataset, energy: NDArray[np.float32],
    pictures: simulate.Pictures, encoder: Ridge, labels: Row,
) -> list[Row]:  # fmt: skip
    """Share of the attainable r that ridge reaches from what truly drives each voxel."""
    ids, mean = average_repeats(responses)
    side, inner = splits.sides(split, 0, ids, ids)
    train, test = side == splits.TRAIN, side == splits.TEST
    picture = np.array([int(s.removeprefix("nsd-")) for s in ids])
    area, field, silent = (truth[k].values for k in ("area", "field", "silent"))
    folds = splits.inner_folds(inner[train])
    low, high, number = encoder.alphas
    alphas = np.logspace(low - 3, high, number + 4)
    rows = []
    for kind, areas in KINDS.items():
        voxels = np.flatnonzero(np.isin(area, areas) & ~silent & np.isfinite(mean).all(0))
        if kind == "early":  # each voxel has features of its own
            pooled = cortex.pooled_energy(energy[picture], field[voxels])
            problems = [(X, voxels[[i]]) for i, X in enumerate(pooled)]
        else:
            driver = pictures.meaning if kind == "language" else pictures.objects
            problems = [(driver[picture], voxels)]
        r = np.full(len(area), np.nan)
        for X, members in tqdm(problems, f"true features, {kind}", disable=None, delay=2):
            X = (X - X[train].mean(0)) / np.maximum(X[train].std(0), 1e-12)
            ridge = RidgeCV(alphas, cv=folds).fit(X[train], mean[train][:, members])
            r[members] = pearson_r(mean[test][:, members], ridge.predict(X[test]))
        # what the noiseless response itself would score on these very test trials
        noiseless = truth["signal"].values
        place = {s: i for i, s in enumerate(truth["stimulus_id"].values)}
        rows_of = [place[s] for s in ids[test]]
        attainable = pearson_r(mean[test][:, voxels], noiseless[rows_of][:, voxels])
        rows.append(row("share of the attainable r from the true features",
                        r[voxels].mean() / attainable.mean(), unit="share", n=len(voxels),
                        area_kind=kind, ceiling=1.0, null=0.0, **labels))  # fmt: skip
    return rows
