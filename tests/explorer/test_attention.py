"""Where regions look, over the pictures that a neuroid answered to most: the numbers of the file, and no others."""

import shutil

import numpy as np
import pytest
import xarray as xr

from neuroenc.arrays import load
from neuroenc.errors import InputError
from neuroenc.explorer import write_explorer
from tests.explorer.browser import CHROMIUM
from tests.explorer.test_explorer import read, unpack

QUERIES = ["V1", "FFA", "none"]
FILE = "sub-01/sub-01_enc-ridge_feat-one_attention.nc"


def looked(stimulus_id, rows=4, columns=4):
    shape = (len(stimulus_id), len(QUERIES), rows, columns)
    relevance = np.random.default_rng(0).normal(size=shape).astype("f4")
    dims = ("stimulus", "query", "row", "column")
    return xr.Dataset(
        {"relevance": (dims, relevance), "attention": (dims, np.abs(relevance))},
        {"stimulus_id": ("stimulus", stimulus_id), "query_name": ("query", QUERIES)},
    )


@pytest.fixture(scope="module")
def attended(results, tmp_path_factory):
    """A run with maps of all stimuli but one, in another order, and its explorer."""
    folder = tmp_path_factory.mktemp("attended") / "run"
    shutil.copytree(results[0], folder)
    stimuli, split = load(folder / "stimuli.nc", "stimuli"), load(folder / "splits.nc", "splits")
    tested = split["stimulus_id"].values[split["side"].values[0] == 1]
    maps = looked(tested[::-1][1:].astype(str))
    maps.to_netcdf(folder / FILE, engine="h5netcdf")
    write_explorer(folder, folder.parent / "out", pictures=True)
    assert len(stimuli["stimulus_id"]) > len(tested) == maps.sizes["stimulus"] + 1
    return folder, maps, read(folder.parent / "out/data/sub-01.js")


def expected(maps, names, query):
    """Relevance as shares of the cell at which colours are full, of the stimuli that have a map."""
    number = {s: i for i, s in enumerate(maps["stimulus_id"].values)}
    known = [s for s in names if s in number]
    values = maps["relevance"].values[[number[s] for s in known], QUERIES.index(query)].clip(0)
    top = np.quantile(values.max((1, 2)), 0.7)
    return dict(zip(known, np.clip(values / top, 0, 1), strict=True)), top


def test_shares_are_those_of_the_file(attended):
    _, maps, data = attended
    (found,) = data["attention"]
    names, shares, row = data["preferred"]["stimuli"], unpack(found["shares"]), unpack(found["row"])
    assert found["fit"] == "one" and found["queries"] == QUERIES
    missing = set(names) - set(maps["stimulus_id"].values)
    assert {n for n, k in zip(names, row, strict=True) if k < 0} == missing and len(missing) == 1
    for q, query in enumerate(QUERIES):
        share, top = expected(maps, names, query)
        assert found["top"][q] == pytest.approx(top, rel=1e-6)
        for name, k in zip(names, row, strict=True):
            if k >= 0:
                np.testing.assert_allclose(shares[k, q] / 255, share[name], atol=0.5 / 255 + 1e-6)
    assert shares.dtype == np.uint8  # a byte a cell


def test_there_are_none_without_pictures_of_words_or_of_other_runs(attended, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(attended[0], folder)
    write_explorer(folder, tmp_path / "out")
    assert read(tmp_path / "out/data/sub-01.js")["attention"] == []
    looked(attended[1]["stimulus_id"].values, 1, 9).to_netcdf(folder / FILE, engine="h5netcdf", mode="w")
    write_explorer(folder, tmp_path / "out", pictures=True)
    assert read(tmp_path / "out/data/sub-01.js")["attention"] == []
    attended[1].isel(row=0).to_netcdf(folder / FILE, engine="h5netcdf", mode="w")
    for text in (None, b"no netCDF"):
        if text:
            (folder / FILE).write_bytes(text)
        with pytest.raises(InputError, match=r"Cannot read the maps of attention in .*\. Make them again\.$"):
            write_explorer(folder, tmp_path / "out", pictures=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_the_page_lays_them_over_the_pictures_of_the_region(attended, results, browser):
    folder, maps, data = attended
    responses, names = results[1]["01"][0], data["preferred"]["stimuli"]
    inside = {name: responses[f"roi_{name}"].values for name in ("V1", "FFA")}
    asked = {name: np.flatnonzero(mask)[-1] for name, mask in inside.items()}
    asked["none"] = np.flatnonzero(~inside["V1"] & ~inside["FFA"])[-1]
    for query, neuroid in asked.items():
        browser.go(f"{(folder.parent / 'out/index.html').as_uri()}#subject=01&voxel={neuroid}")
        share, _ = expected(maps, names, query)
        found = browser.run("""[...document.querySelectorAll('#preferred tr')].map((row) => {
            const canvas = row.querySelector('.seen canvas');
            return [row.dataset.stimulus, canvas?.getAttribute('aria-label'),
                    canvas && [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 3)];
        })""")
        order = [names[k] for k in unpack(data["preferred"]["order"])[neuroid]]
        assert [name for name, *_ in found] == order
        assert [name for name, label, _ in found if label] == [name for name in order if name in share]
        for name, label, alpha in found:
            if label:
                assert label == f"Where {query} looks in {name}"
                np.testing.assert_allclose(alpha, 255 * 0.85 * share[name].ravel() ** 0.7, atol=3)
        said = browser.run("document.querySelector('#attention-about').textContent")
        assert (
            "voxels of no region" if query == "none" else query
        ) in said and "not this voxel's own" in said
        browser.run("document.querySelector('.seen').scrollIntoView()")  # pictures come when they are seen
        browser.wait("document.querySelector('.seen img').naturalWidth > 0")
    assert browser.complaints() == []
