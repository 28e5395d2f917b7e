"""A folder of results such as a run leaves: a brain with a surface, electrodes over time, and neuroids without a place."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from neuroenc import datasets, splits
from neuroenc.arrays import make_features, save
from neuroenc.config import Comparison, Evaluation, Ridge, Split
from neuroenc.encoders.encode import encode
from neuroenc.evaluation.comparison import compare
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.explorer import write_explorer
from tests.conftest import toy_responses
from tests.explorer.browser import Page

FEW = Evaluation(n_bootstraps=100, n_permutations=100)
CONTRACT = dict.fromkeys(
    ("model", "weights", "layer", "pooling", "shape", "normalisation", "pixel_range", "preprocessing"), "x"
)
HOSTILE = [
    "</script><script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>", "\"'`;window.hacked=1;//",
    "a\u2028b\u2029c", "one\\u003c", "<!--<script>", "${window.hacked = 1}", "line\nline\r\ttab",
]  # fmt: skip


def features(rng, ids, layers, values=None):
    values = rng.normal(size=(len(ids), len(layers))) if values is None else values
    return make_features(values.astype("f4"), stimulus_id=ids, layer=np.array(layers, str), attrs=CONTRACT)


def write_subject(folder, subject, responses, split, models):
    """Fit, score and compare two models of one subject, and keep it all as a run does."""
    stem = f"{folder}/sub-{subject}/sub-{subject}"
    fits, scores = {}, {}
    for name, found in models.items():
        fits[name], _ = encode(responses, found, split, Ridge(alphas=(0, 3, 3)))
        scores[name] = evaluate(responses, fits[name], FEW)
        save(scores[name], f"{stem}_enc-ridge_feat-{name}_desc-scores.nc")
    save(responses, f"{stem}_responses.nc")
    comparison = compare(responses, fits, Comparison(better="two", than=["one"]), FEW)
    save(comparison, f"{stem}_comparison-better.nc")
    return responses, scores, comparison


@pytest.fixture(scope="session")
def results(tmp_path_factory, nsd_options):
    """The folder, and what was written of each subject: (responses, scores, comparison)."""
    folder, rng = tmp_path_factory.mktemp("results") / "run", np.random.default_rng(0)
    module = datasets.module(nsd_options)
    stimuli, responses = module.load_stimuli(nsd_options, ["01"]), module.load_responses(nsd_options, "01")
    ids = responses["neuroid_id"].values.astype("U60")
    ids[: len(HOSTILE)] = [f"{text} {k}" for k, text in enumerate(HOSTILE)]
    responses = responses.assign_coords(
        neuroid_id=("neuroid", ids), **{"roi_<b>bold": ("neuroid", np.arange(len(ids)) < 9)}
    )
    split = splits.make(stimuli, Split(n_inner=3))
    of = stimuli["stimulus_id"].values
    models = {"one": features(rng, of, ["a"] * 8), "two": features(rng, of, ["a"] * 4 + [HOSTILE[0]] * 4)}
    save(stimuli, folder / "stimuli.nc")
    save(split, folder / "splits.nc")
    written = {"01": write_subject(folder, "01", responses, split, models)}

    of = np.array([f"p{i:03d}" for i in range(120)])
    x = rng.normal(size=(120, 8))
    y = np.einsum("if,fnt->int", x, rng.normal(size=(8, 6, 4)) * [0, 0.3, 1, 0.1]) + rng.normal(
        size=(120, 6, 4)
    )
    models = {"one": features(rng, of, ["a"] * 8), "two": features(rng, of, ["a"] * 4 + ["b"] * 4, x)}
    for subject, place in (("02", 60.0), ("03", np.nan)):
        toy = toy_responses(rng, of, y)
        toy.attrs["space"] = "electrodes"
        at = (rng.random((3, 6)) - 0.5) * place
        at[:, 0] = np.nan  # one electrode without a place
        toy = toy.assign_coords(
            {axis: ("neuroid", v.astype("f4")) for axis, v in zip("xyz", at, strict=True)}
        )
        split = splits.make(_stimuli(of), Split(kind="stimulus", n_folds=2, n_inner=3))
        written[subject] = write_subject(folder, subject, toy, split, models)

    _write_words(folder, written["01"][1]["one"])
    gaps = [{"model": "two", "region": r, "gap": g} for r, g in (("all", 0.5), ("V1", 0.25), ("FFA", -0.1))]
    (folder / "sub-01/sub-01_desc-distance_scores.json").write_text(json.dumps({"gaps": gaps}))
    rows = [{"model": m} for m in ("one", "two")]
    (folder / "summary.json").write_text(json.dumps({"label": HOSTILE[0], "rows": rows}))
    return folder, written


def _stimuli(ids):
    from neuroenc.arrays import make_stimuli

    of = {
        "stimulus_id": ids,
        "pixel_index": np.arange(len(ids)),
        "split": np.full(len(ids), "train"),
        "group": ids,
    }
    return make_stimuli(of, attrs={"dataset": "toy", "pixels": "none"})


def _write_words(folder, scores):
    """Captions of voxels, every third confident, and pictures of a region."""
    import pandas as pd

    n = scores.sizes["neuroid"]
    table = pd.DataFrame({
        "neuroid_id": scores["neuroid_id"].values, "caption": [HOSTILE[k % 3] for k in range(n)],
        "words": ["house street blue" if k % 2 else "woman face" for k in range(n)],
        "confident": [k % 3 == 0 for k in range(n)], "test_r": np.linspace(-0.1, 0.5, n).round(5),
        "spearman": np.linspace(0, 0.3, n).round(5), "generated": ["A cat."] * n,
    })  # fmt: skip
    table.to_csv(folder / "sub-01/sub-01_desc-captions.csv", index=False)
    Image.new("RGB", (40, 20), "red").save(folder / "sub-01/sub-01_synthesis-V1.png")
    (folder / "sub-01/sub-01_synthesis-V1.json").write_text(
        json.dumps({"region": "V1", "caption": HOSTILE[1]})
    )


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory):
    out = tmp_path_factory.mktemp("explorer") / "a page"
    write_explorer(results[0], out)
    return out


@pytest.fixture(scope="module")
def browser(folder, tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    page = Page(f"{(folder / 'index.html').as_uri()}", profile)
    yield page
    page.close()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def page(browser, folder):
    """The page at some address; in the end nothing was complained of, and nothing but files was asked for."""

    def go(hash_=""):
        browser.go(f"{(folder / 'index.html').as_uri()}{hash_}")
        return browser

    yield go
    assert browser.complaints() == []
    asked = browser.requests()
    assert asked and all(u.startswith(("file:", "about:blank", "data:")) for u in asked)
    # eight of the page, a subject's, and the meshes
    assert browser.run("window.hacked === undefined && document.scripts.length") in (9, 10, 11)
