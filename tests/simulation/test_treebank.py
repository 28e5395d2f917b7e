"""The simulated Brain Treebank: its films show what drives, and sites of integration are where it says."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from neuroenc import splits
from neuroenc.arrays import load
from neuroenc.config import Banded, Comparison, Dataset, Evaluation, Model, Ridge, Split
from neuroenc.datasets import treebank
from neuroenc.encoders.encode import encode
from neuroenc.evaluation.comparison import compare
from neuroenc.evaluation.effects import comparison_rows
from neuroenc.evaluation.integration import half_r, inverse_effectiveness, table_of_sites
from neuroenc.features.extract import extract
from neuroenc.simulation import treebank as simulation

pytest.importorskip("av")
pytest.importorskip("mne")
SPLIT = Split(kind="chronological", n_folds=5, n_inner=4, embargo=5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = tmp_path_factory.mktemp("simulated") / "treebank"
    simulation.simulate(made, 0)
    return made


def options(root, **changes):
    given = {"name": "treebank", "root": str(root), "reference": "none", "sessions": 1, "span": (-0.2, 1.0)}
    return Dataset(**given | changes)


@pytest.fixture(scope="module")
def stimuli(root):
    return treebank.load_stimuli(options(root, films=str(root / "films")), list(simulation.PATIENTS))


def test_deterministic_in_its_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "SECONDS", 60)
    hashes = []
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        simulation.simulate(tmp_path / name, seed)
        found = [p for p in sorted((tmp_path / name).rglob("*")) if p.suffix in (".mp4", ".npy")]
        hashes.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in found])
    assert hashes[0] == hashes[1] and not set(hashes[0]) & set(hashes[2])


def test_the_tree_passes_its_check(root):
    said = treebank.check_tree(options(root, films=str(root / "films")), ["1", "2", "3"])
    assert said[0].startswith("film-1.mp4, 900.0 s, cuts off by +0.00 s at 60 s, +0.00 s")
    assert said[3].startswith("sub_1_trial000: film-1, 256.0 Hz, 20 channels, ")
    truth = pd.read_csv(root / "truth.csv", dtype={"patient": str})
    assert truth.groupby(["patient", "kind"]).size().eq(4).all() and len(truth) == 60
    assert (truth["onset"].isna() == (truth["kind"] == "neither")).all()


def test_networks_of_pictures_see_what_drives(root, stimuli, tmp_path):
    """Luminance of the frame at a word, read from the film, holds the features of vision."""
    some = stimuli.isel(stimulus=slice(0, 300))
    extract(some, Model(extractor="luminance"), tmp_path / "f.nc")
    X = load(tmp_path / "f.nc", "features")["feature"].values
    X = (X - X.mean(0)) @ np.linalg.svd(X - X.mean(0), full_matrices=False)[2][:12].T
    v = np.load(root / "features/vision.npy")[:300]
    residual = v - v.mean(0) - X @ np.linalg.lstsq(X, v - v.mean(0), rcond=None)[0]
    assert (1 - residual.var(0) / v.var(0)).min() > 0.97


@pytest.fixture(scope="module")
def fitted(root, stimuli, tmp_path_factory):
    """Predictions of each model for each patient, with the responses."""
    folder = tmp_path_factory.mktemp("features")
    places = {n: str(root / f"features/{n}.npy") for n in ("vision", "language", "multimodal")}
    models = {n: Model(extractor="file", path=p) for n, p in places.items()}
    models["misaligned"] = models["multimodal"].model_copy(update={"misalign": 60.0})
    models["joined"] = Model(extractor="file", path={n: places[n] for n in ("vision", "language")})
    split = splits.make(stimuli, SPLIT)
    alphas = (0, 5, 6)
    features = {}
    for name, model in models.items():
        extract(stimuli, model, folder / f"{name}.nc")
        features[name] = load(folder / f"{name}.nc", "features")
    out = {}
    for patient in simulation.PATIENTS:
        responses = treebank.load_responses(options(root), patient)
        encoders = {n: Banded(alphas=alphas) if n == "joined" else Ridge(alphas=alphas) for n in models}
        out[patient] = responses, {
            n: encode(responses, features[n], split, encoders[n])[0] for n in models
        }  # fmt: skip
    return out


def compared(fitted, name):
    asked = Comparison(better=name, than=["vision", "language", "joined"])
    options = Evaluation(n_permutations=2000, n_bootstraps=100, ceiling="split_half")
    return {patient: compare(*found, asked, options) for patient, found in fitted.items()}


def test_sites_are_where_vision_and_language_are_multiplied(root, fitted):
    found = compared(fitted, "multimodal")
    table = table_of_sites(found)
    truth = pd.read_csv(root / "truth.csv", dtype={"patient": str})
    assert (table["neuroid_id"] == truth["patient"] + "_" + truth["electrode"]).all()
    product = (truth["kind"] == "product").to_numpy()
    site = table["site"].to_numpy()
    assert site[product].mean() >= 0.8
    assert site[~product].mean() <= 0.05
    late = table["start"] + 0.1 - (truth["onset"] + simulation.LASTS / 2)  # middles
    assert late[site & product].abs().median() <= 0.1
    group = [r for r in comparison_rows(found, "x") if (r["subject"], r["region"]) == ("all", "all")]
    joined = next(r for r in group if r["rival"] == "joined")  # patients are random
    assert joined["p"] < 0.05 and joined["method"].startswith("random effects of 3 subjects")


def test_misaligned_features_make_no_site(fitted):
    assert not table_of_sites(compared(fitted, "misaligned"))["site"].any()


def test_halves_of_the_films_agree_and_gain_falls_with_what_one_modality_says(root, fitted):
    patients = np.repeat(list(fitted), 20)
    r = {
        n: np.concatenate([half_r(responses, fits[n]).max(2) for responses, fits in fitted.values()], 1)
        for n in ("vision", "language", "multimodal")
    }  # fmt: skip
    driven = pd.read_csv(root / "truth.csv")["kind"].to_numpy() != "neither"
    assert np.corrcoef(r["multimodal"][:, driven])[0, 1] > 0.2
    best = np.maximum(r["vision"], r["language"])[:, driven]
    found = inverse_effectiveness(best, r["multimodal"][:, driven], patients[driven])
    assert found.rho < -0.3 and found.p < 0.01  # products say nothing to one modality, and gain most
