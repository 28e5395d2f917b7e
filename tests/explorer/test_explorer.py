"""The explorer's data are those of the results, and hold no code, whatever the results hold."""

import base64
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from neuroenc.arrays import load, save
from neuroenc.datasets.pixels import read_pixels
from neuroenc.errors import ContractError, InputError
from neuroenc.explorer import write_explorer
from neuroenc.explorer.scripts import assignment, packed
from tests.explorer.conftest import HOSTILE


def read(path):
    """What a script assigns."""
    text = path.read_text(encoding="ascii")
    found = re.fullmatch(r"[\w.]+(?:\['\w+'\])? = (.*);\n", text, re.S)
    return json.loads(found[1])


def unpack(array):
    values = np.frombuffer(base64.b64decode(array["data"]), array["dtype"])
    return values.reshape(array["shape"])


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    out = tmp_path_factory.mktemp("explorer") / "page"
    assert write_explorer(results[0], out) == ["01", "02", "03"]
    return out, {s: read(out / f"data/sub-{s}.js") for s in ("01", "02", "03")}


def same(array, values):
    np.testing.assert_array_equal(unpack(array), values)
    assert array["dtype"] == str(np.asarray(values).dtype)


def test_every_number_is_the_one_of_the_scores(results, written):
    folder, of = results
    for subject, (_, scores, comparison) in of.items():
        data = written[1][subject]
        assert [f["name"] for f in data["fits"]] == list(scores)
        for fit in data["fits"]:
            s = load(folder / f"sub-{subject}" / fit["file"], "scores")
            for metric in s["metric"].values:
                same(fit["arrays"][metric], s["score"].sel(metric=metric).values)
            for key in ("ceiling", "p", "q", "r_low", "r_high", "validation_r2"):
                same(fit["arrays"][key], s[key].values)
            named = np.array([*fit["layers"], ""])[unpack(fit["arrays"]["chosen_layer"])]
            np.testing.assert_array_equal(named, s["chosen_layer"].values)
            assert fit["about"]["n_test_stimuli"] == s.attrs["n_test_stimuli"]
        (c,) = data["comparisons"]
        for key in ("low", "high", "p", "q"):
            same(c["arrays"][key], comparison[key].values)
        same(c["arrays"]["difference"], comparison["difference"].sel(metric="pearson_r").values)
        assert data["ids"] == scores["one"]["neuroid_id"].values.tolist()


def test_maps_are_what_the_figures_draw(results, written):
    maps = {m["id"]: m for m in written[1]["01"]["maps"]}
    responses, scores, _ = results[1]["01"]
    one, two = scores["one"], scores["two"]
    same(maps["pearson_r:one"]["values"], one["score"].sel(metric="pearson_r").values)
    np.testing.assert_array_equal(
        unpack(maps["ceiling"]["values"]), np.sqrt(np.clip(one["ceiling"], 0, None))
    )
    layer = unpack(maps["layer:two"]["values"])
    good = two["q"].values < 0.05
    assert (layer[~good] == -1).all()
    assert [maps["layer:two"]["names"][k] for k in layer[good]] == two["chosen_layer"].values[good].tolist()
    assert "layer:one" not in maps  # which has but one layer
    best = unpack(maps["best"]["values"])
    r = np.stack([np.where(s["q"] < 0.05, s["score"].sel(metric="pearson_r"), -9) for s in (one, two)])
    np.testing.assert_array_equal(best, np.where(r.max(0) > -9, r.argmax(0), -1))
    topic = unpack(maps["words:0"]["values"])
    confident = np.arange(len(topic)) % 3 == 0
    assert (topic[~confident] == -1).all()
    assert {maps["words:0"]["names"][k] for k in topic[confident]} == {"person", "place"}
    gap = unpack(maps["gap:two"]["values"])
    for region, value in (("V1", 0.25), ("FFA", -0.1)):
        assert (gap[responses[f"roi_{region}"].values] == value).all()
    assert np.isnan(gap[~(responses["roi_V1"] | responses["roi_FFA"]).values]).all()


def test_the_neuroid_under_a_vertex_and_its_regions(results, written):
    data, responses = written[1]["01"], results[1]["01"][0]
    for side in "LR":
        same(data["surface"][side], responses[f"surface_{side}"].values)
    for region in data["regions"]:
        np.testing.assert_array_equal(unpack(region["inside"]), responses[f"roi_{region['name']}"].values)
    assert [data["lies"] for data in written[1].values()] == ["surface", "brain", "nowhere"]
    affine = np.reshape(responses.attrs["affine"], (4, 4))
    at = np.stack([responses[a].values for a in "xyz"], 1) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(unpack(data["places"]), at, rtol=1e-5)
    x = results[1]["02"][0]["x"].values
    np.testing.assert_array_equal(unpack(written[1]["02"]["places"])[:, 0], x)


def test_vertices_of_fsaverage_are_the_neuroids(results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(results[0], folder)
    path = folder / "sub-01/sub-01_responses.nc"
    with xr.open_dataset(path, engine="h5netcdf") as found:
        responses = found.load()
    n = responses.sizes["neuroid"]
    vertex = np.random.default_rng(0).permutation(163_842)[:n]
    vertex[:50] = np.arange(50)
    responses = responses.drop_vars(["surface_L", "surface_R", "x", "y", "z"])
    responses = responses.assign_coords(
        vertex=("neuroid", vertex), hemisphere=("neuroid", np.where(np.arange(n) % 2, "R", "L"))
    )
    responses.attrs["space"] = "fsaverage"
    save(responses, path)
    write_explorer(folder, tmp_path / "out")
    data = read(tmp_path / "out/data/sub-01.js")
    assert data["lies"] == "surface"
    for odd, side in enumerate("LR"):
        under = unpack(data["surface"][side])
        mine = [i for i in range(n) if i % 2 == odd and vertex[i] < len(under)]
        assert under[vertex[mine]].tolist() == mine
        assert (under >= 0).sum() == len(mine) >= 25


def test_preferred_stimuli_are_the_tested_ones_of_the_largest_mean(results, written):
    folder, (responses, _, _) = results[0], results[1]["01"]
    found = written[1]["01"]["preferred"]
    split, stimuli = load(folder / "splits.nc", "splits"), load(folder / "stimuli.nc", "stimuli")
    tested = set(split["stimulus_id"].values[split["side"].values[0] == 1])
    table = pd.DataFrame(responses["response"].values, index=responses["stimulus_id"].values)
    mean = table[table.index.isin(tested)].groupby(level=0).mean()
    assert found["n"] == len(mean) == 20
    order, value = unpack(found["order"]), unpack(found["response"])
    said = dict(zip(stimuli["stimulus_id"].values, stimuli["caption"].values[:, 0], strict=True))
    for neuroid in range(0, 400, 37):
        best = mean[neuroid].sort_values(ascending=False).head(4)
        assert [found["stimuli"][k] for k in order[neuroid]] == best.index.tolist()
        np.testing.assert_allclose(value[neuroid], best.values, rtol=1e-5)
        assert [found["captions"][k] for k in order[neuroid]] == [said[n] for n in best.index]
    assert found["pictures"] is None and written[1]["02"]["preferred"] is None


def test_pictures_are_copied_where_they_are_asked_for(results, tmp_path):
    write_explorer(results[0], tmp_path / "out", pictures=True)
    found = read(tmp_path / "out/data/sub-01.js")["preferred"]
    stimuli = load(results[0] / "stimuli.nc", "stimuli")
    row = stimuli["stimulus_id"].values.tolist().index(found["stimuli"][3])
    shown = np.asarray(Image.open(tmp_path / "out" / found["pictures"][3]), float)
    true = read_pixels(stimuli, np.array([row]))[0]
    assert shown.shape == true.shape and np.abs(shown - true).mean() < 8
    away = [
        np.abs(np.asarray(Image.open(tmp_path / "out" / p), float) - true).mean() for p in found["pictures"]
    ]
    assert np.argmin(away) == 3


def test_no_text_ends_a_script(written):
    out, data = written
    texts = [*data["01"]["ids"], *data["01"]["captions"]["caption"], data["01"]["fits"][1]["layers"][1]]
    assert {f"{t} {k}" for k, t in enumerate(HOSTILE)} <= set(texts) and HOSTILE[0] in texts
    for path in (out / "data").iterdir():
        raw = path.read_bytes()
        assert b"<" not in raw and raw.isascii() and raw.count(b"\n") == 1
    assert read(out / "data/index.js")["label"] == HOSTILE[0]
    for text in HOSTILE:
        line = assignment("x", {text: [text]})
        assert "<" not in line and line.isascii() and json.loads(line[4:-2]) == {text: [text]}


def test_nothing_is_put_in_as_markup(written):
    """Texts reach the page as text alone."""
    scripts = "".join(p.read_text() for p in written[0].glob("*.js"))
    assert len(scripts) > 10_000
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "fetch(",
        "http",
    ):
        assert way not in scripts.replace("http://www.w3.org/2000/svg", ""), way


@pytest.mark.parametrize(
    "values",
    [[1.5, np.nan, -np.inf], np.arange(6, dtype="i4").reshape(2, 3), [True, False], np.array([1, 2], ">f8")],
)
def test_arrays_come_back_bit_by_bit(values):
    array = packed(values)
    json.dumps(array, allow_nan=False)
    np.testing.assert_array_equal(unpack(array), np.asarray(values))


def test_an_explorer_is_replaced_and_nothing_else(results, tmp_path, run):
    out = tmp_path / "out"
    status, said, _ = run("explore", results[0], "--out", out)
    assert status == 0 and said == f"{out}/index.html: 3 subjects\n"
    (out / "data/sub-99.js").write_text("")
    write_explorer(results[0], out)
    assert not (out / "data/sub-99.js").exists()
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is there and no explorer"):
        write_explorer(results[0], other)
    assert (other / "thesis.txt").exists()


def test_what_is_no_run_is_refused_in_one_line(results, tmp_path, run):
    status, _, said = run("explore", tmp_path, "--out", tmp_path / "out")
    assert status == 2 and said.count("\n") == 1 and "holds no scores of encoders" in said
    status, _, said = run("explore", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert status == 2 and said.startswith("neuroenc: File not found") and said.count("\n") == 1
    folder = tmp_path / "run"
    shutil.copytree(results[0], folder)
    shutil.copy(folder / "sub-02/sub-02_responses.nc", folder / "sub-01/sub-01_responses.nc")
    with pytest.raises(ContractError, match=r"have (1|4) time bins|neuroids"):
        write_explorer(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fits_have_the_names_of_the_summary(results, tmp_path):
    folder = tmp_path / "run"
    (folder / "sub-01").mkdir(parents=True)
    for encoder in ("ridge", "pls"):
        shutil.copy(results[0] / "sub-01/sub-01_enc-ridge_feat-one_desc-scores.nc",
                    folder / f"sub-01/sub-01_enc-{encoder}_feat-one_desc-scores.nc")  # fmt: skip
    (folder / "summary.json").write_text(
        json.dumps({"label": "x", "rows": [{"model": "one"}, {"model": "one-pls"}]})
    )
    write_explorer(folder, tmp_path / "out")
    data = read(tmp_path / "out/data/sub-01.js")
    assert {f["name"]: f["file"] for f in data["fits"]} == {
        "one": "sub-01_enc-ridge_feat-one_desc-scores.nc", "one-pls": "sub-01_enc-pls_feat-one_desc-scores.nc",
    }  # fmt: skip
    assert data["lies"] == "space" and not (tmp_path / "out/data/meshes.js").exists()  # without responses
