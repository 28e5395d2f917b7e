import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageColor

from neuroenc import datasets, splits
from neuroenc.arrays import make_features
from neuroenc.config import Evaluation, Ridge, Split
from neuroenc.encoders.encode import encode
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.figures import maps, plots, style, summary, surface


@pytest.fixture(scope="module")
def scored(nsd_options):
    """Responses of the small NSD and the scores of two models of noise."""
    module = datasets.module(nsd_options)
    stimuli, responses = module.load_stimuli(nsd_options, ["01"]), module.load_responses(nsd_options, "01")
    split = splits.make(stimuli, Split(n_inner=3))
    rng, scores = np.random.default_rng(0), {}
    contract = dict.fromkeys(
        ("model", "weights", "layer", "pooling", "shape", "normalisation", "pixel_range", "preprocessing"),
        "x",
    )
    for model, layers in (("one", ["a"] * 8), ("two", ["a"] * 4 + ["b"] * 4)):
        features = make_features(
            rng.normal(size=(140, 8)).astype("f4"), stimulus_id=stimuli["stimulus_id"].values,
            layer=np.array(layers), attrs=contract,
        )  # fmt: skip
        predictions, _ = encode(responses, features, split, Ridge(alphas=(0, 3, 3)))
        scores[model] = evaluate(responses, predictions, Evaluation(n_bootstraps=100, n_permutations=100))
    return responses, scores


def test_a_time_course_needs_time(scored, tmp_path):
    with pytest.raises(InputError, match=r"no time bins to draw over. Leave figures.time_course out"):
        plots.draw_time_course(scored[1], tmp_path / "f.png")
    assert list(tmp_path.iterdir()) == []


def test_nifti_has_every_value_where_its_voxel_is(scored, tmp_path, tree):
    responses, scores = scored
    maps.write_nifti(responses, scores, tmp_path / "m.nii.gz")
    image = nib.load(tmp_path / "m.nii.gz")
    names = json.loads((tmp_path / "m.json").read_text())["volumes"]
    assert image.shape[3] == len(names) == 7
    roi = nib.load(tree / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz")
    np.testing.assert_array_equal(image.affine, roi.affine)
    volume = image.get_fdata()[..., names.index("two_r")]
    mask = roi.get_fdata() > 0
    np.testing.assert_allclose(
        volume[mask], scores["two"]["score"].sel(metric="pearson_r"), rtol=1e-6, atol=1e-7
    )
    assert np.isnan(volume[~mask]).all()


def test_gifti_has_the_values_of_the_voxel_below_each_vertex(scored, tmp_path):
    responses, scores = scored
    for side in "LR":
        maps.write_gifti(responses, scores, side, tmp_path / "m.func.gii")
        image = nib.load(tmp_path / "m.func.gii")
        arrays = {a.meta["Name"]: a.data for a in image.darrays}
        index = responses[f"surface_{side}"].values
        r = scores["one"]["score"].sel(metric="pearson_r").values
        np.testing.assert_array_equal(arrays["one_r"][index >= 0], r[index[index >= 0]])
        assert np.isnan(arrays["one_r"][index < 0]).all()


def test_maps_that_cannot_be_are_explained(scored, tmp_path):
    responses, scores = scored
    with pytest.raises(ContractError, match="no mapping from the volume to the surface"):
        maps.write_gifti(responses.drop_vars("surface_L"), scores, "L", tmp_path / "x.func.gii")
    flat = responses.copy()
    del flat.attrs["grid_shape"]
    with pytest.raises(ContractError, match="no grid; use GIFTI"):
        maps.write_nifti(flat, scores, tmp_path / "x.nii.gz")


@pytest.mark.parametrize("draw", [plots.draw_regions, plots.draw_scatter, plots.draw_layers])
def test_figures_are_drawn(scored, tmp_path, draw):
    draw(scored[1], tmp_path / "f.png")
    pixels = np.asarray(Image.open(tmp_path / "f.png").convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_surface_shows_both_hemispheres(scored, tmp_path):
    surface.draw_surface(*scored, tmp_path / "f.png")
    pixels = np.asarray(Image.open(tmp_path / "f.png").convert("RGB")).astype(int)
    brain = (np.ptp(pixels, axis=2) > 40)[: len(pixels) // 3]  # coloured, not grey
    columns = np.array_split(brain[:, : int(0.86 * brain.shape[1])], 4, axis=1)
    assert all(c.sum() > 100 for c in columns)


def test_between_two_names_no_third_is_drawn(scored, tmp_path):
    responses, _ = scored
    values = 2.0 * np.random.default_rng(0).integers(0, 2, responses.sizes["neuroid"])
    surface._draw(responses, [surface.Map("zone", values, ["a", "b", "c"])], "t", tmp_path / "f.png")
    pixels = np.asarray(Image.open(tmp_path / "f.png").convert("RGB"))
    brain = pixels[:, : int(0.8 * pixels.shape[1])]
    counts = [(brain == np.array(ImageColor.getrgb(c))).all(2).sum() for c in style.COLOURS[:3]]
    assert counts[0] > 30 and counts[2] > 30 and counts[1] == 0


def test_words_on_the_surface_are_those_of_confident_voxels(scored, tmp_path, monkeypatch):
    responses = scored[0]
    n = responses.sizes["neuroid"]
    words = ["red woman pizza", "house big", "blue", "pizza woman", "sky"]
    table = pd.DataFrame({
        "words": [words[v % 5] for v in range(n)], "confident": np.arange(n) % 5 < 4,
        "neuroid_id": responses["neuroid_id"].values,
    })  # fmt: skip
    surface.draw_words_on_surface(responses, table, tmp_path / "f.png", n_words=3)
    pixels = np.asarray(Image.open(tmp_path / "f.png").convert("RGB")).astype(int)
    assert (np.ptp(pixels, axis=2) > 40).sum() > 1000
    shown = []
    monkeypatch.setattr(surface, "_draw", lambda responses, maps, title, path: shown.append((maps, title)))
    surface.draw_words_on_surface(responses, table, tmp_path / "f.png", n_words=3)
    maps, title = shown[0]
    topic, person, place, food, first = (m.values[:5] for m in maps)
    assert maps[0].names == ["person", "place", "food", "none"]
    np.testing.assert_array_equal(topic, [0, 1, 3, 2, np.nan])
    np.testing.assert_array_equal(person, [1, 0, 0, 1, np.nan])
    np.testing.assert_array_equal(place, [0, 1, 0, 0, np.nan])
    np.testing.assert_array_equal(food, [1, 0, 0, 1, np.nan])
    assert maps[4].names == ["blue", "house", "pizza", "another"]
    np.testing.assert_array_equal(first, [3, 1, 0, 2, np.nan])
    assert f"{(np.arange(n) % 5 < 4).sum()} of {n} voxels are confident" in title
    surface.draw_words_on_surface(responses, table.assign(confident=False), tmp_path / "f.png")
    assert all(np.isnan(m.values).all() for m in shown[1][0])


def test_no_model_is_left_out_of_a_figure(scored, tmp_path, monkeypatch):
    """More models than colours: each is still drawn, and named in the legend."""
    drawn = []
    monkeypatch.setattr(plots.style, "save", lambda figure, path: drawn.append(figure))
    many = {f"m{i}": scored[1]["one"] for i in range(11)}
    plots.draw_regions(many, tmp_path / "f.png")
    (ax,) = drawn[0].axes
    names = [t.get_text() for t in ax.get_legend().get_texts()]
    assert set(many) <= set(names)
    looks = {
        (c.lines[0].get_color(), c.lines[0].get_marker()) for c in ax.containers if c.get_label() in many
    }
    assert len(looks) == 11


def test_a_finer_mesh_is_drawn_on_the_coarse_one(scored, tmp_path):
    """fsaverage has 163,842 vertices per hemisphere, fsaverage5 the first 10,242 of them."""
    responses, scores = scored
    fine = responses.drop_vars(["surface_L", "surface_R"])
    for side in "LR":
        index = np.full(163_842, -1)
        index[:10_242] = responses[f"surface_{side}"].values
        index[10_242:] = 0
        fine[f"surface_{side}"] = (f"vertex_{side}", index)
    for name, dataset in (("a", responses), ("b", fine)):
        surface.draw_surface(dataset, scores, tmp_path / f"{name}.png")
    a, b = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in "ab")
    np.testing.assert_array_equal(a, b)


def test_summary_and_tidy_table(scored, tmp_path):
    scores = {("01", m): s for m, s in scored[1].items()}
    summary.summarise(
        scores, label="toy", command="cmd", seed=0, out=tmp_path / "s.json", table=tmp_path / "t.parquet",
        page=tmp_path / "p.html",
    )  # fmt: skip
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    for key in summary.KEYS:
        assert all(key in r for r in rows)
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert len(table) == 2 * 400
    mean = next(r for r in rows if r.get("region") == "all" and r["model"] == "two")
    assert table[table["model"] == "two"]["pearson_r"].mean() == pytest.approx(mean["value"], abs=1e-5)
    assert "two" in summary.short_table({"rows": rows})
    assert "<table" in (tmp_path / "p.html").read_text()


def test_names_of_regions_are_text_whatever_they_hold(tmp_path):
    from neuroenc.figures import style

    fig, axes = style.figure()
    axes.set_title(r"$\frac{$ and 50 $")
    style.save(fig, tmp_path / "f.png")
    assert np.asarray(Image.open(tmp_path / "f.png")).std() > 0
