"""Slices of volumes in the browser: the crosshair, colours, sides and keys are those of the files."""

import json

import nibabel as nib
import numpy as np
import pytest
from matplotlib import colormaps
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from neuroenc.arrays import load, save
from neuroenc.explorer import write_explorer
from neuroenc.explorer.run import Found
from neuroenc.explorer.slices import grid_of
from tests.explorer.browser import CHROMIUM
from tests.explorer.test_explorer import unpack
from tests.explorer.test_page import check, shown

SHAPE = (7, 9, 5)
AFFINES = {
    "RAS": np.diag([2.0, 2.0, 3.0, 1.0]),
    "LAS": np.diag([-2.0, 2.0, 3.0, 1.0]),
    "PSR": np.array([[0, 0, 3.0, 5], [-2.0, 0, 0, 1], [0, 2.0, 0, 0], [0, 0, 0, 1]]),
    "oblique": np.block([
        [Rotation.from_euler("xyz", [0, 10, 0], degrees=True).as_matrix() * [-1, 1, 1], np.zeros((3, 1))],
        [np.zeros((1, 3)), np.ones((1, 1))],
    ]),
}  # fmt: skip


def moved(responses, affine, rng):
    """The responses as of a grid of another orientation, each neuroid in a voxel of its own."""
    n = responses.sizes["neuroid"]
    shape = SHAPE if n < np.prod(SHAPE) else (9, 11, 10)
    at = np.stack(np.unravel_index(rng.permutation(np.prod(shape))[:n], shape))
    found = responses.assign_coords({a: ("neuroid", v.astype("f4")) for a, v in zip("xyz", at, strict=True)})
    found.attrs.update(affine=affine.ravel(), grid_shape=np.array(shape))
    return found


@pytest.mark.parametrize("name", AFFINES)
def test_axes_are_those_of_the_closest_canonical_image(results, name):
    """nibabel turns the image by itself: each neuroid is where the page says it is."""
    responses = moved(results[1]["01"][0], AFFINES[name], np.random.default_rng(1))
    found = Found("01", {}, {}, responses, {}, None, None, [], {}, {})
    grid = json.loads(json.dumps(grid_of(found)))
    voxels, (i, j, k) = unpack(grid["voxels"]), (responses[a].values.astype(int) for a in "xyz")
    np.testing.assert_array_equal(voxels, np.stack([i, j, k], 1))
    data = np.full(grid["shape"], -1)
    data[i, j, k] = np.arange(len(i))
    image = nib.as_closest_canonical(nib.Nifti1Image(data.astype("i4"), AFFINES[name]))
    turned = np.asarray(image.dataobj)
    for neuroid in range(0, len(i), 17):
        body = [grid["shape"][a] - 1 - voxels[neuroid, a] if flip else voxels[neuroid, a]
                for a, flip in zip(grid["axes"], grid["flips"], strict=True)]  # fmt: skip
        assert turned[tuple(body)] == neuroid
    np.testing.assert_allclose([grid["zooms"][a] for a in grid["axes"]], image.header.get_zooms(), rtol=1e-6)
    assert grid["degrees"] == pytest.approx(10 if name == "oblique" else 0, abs=1e-4)


def test_without_a_grid_or_a_place_for_it_there_are_no_slices(results):
    responses = results[1]["01"][0]
    bare = responses.copy()
    del bare.attrs["affine"]
    for found in (bare, responses.drop_vars("x"), results[1]["02"][0], None):
        assert grid_of(Found("01", {}, {}, found, {}, None, None, [], {}, {})) is None
    away = responses.assign_coords(x=responses["x"] + 1000)
    assert grid_of(Found("01", {}, {}, away, {}, None, None, [], {}, {})) is None


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


def seen(browser):
    """Neuroid, place on the page and colour of each cell with a neuroid, of all slices."""
    browser.frame()
    return np.array(
        browser.run("""(() => {
        const { width, height } = slices.canvas, all = slices.canvas.getContext("2d").getImageData(0, 0, width, height).data, out = [];
        slices.layout().forEach((box, p) => {
            const { wide, high, neuroids } = slices.slice(box.plane);
            neuroids.forEach((neuroid, i) => {
                if (neuroid < 0) return;
                const x = box.x + (i % wide + 0.25) * box.width / wide, y = box.y + (Math.floor(i / wide) + 0.25) * box.height / high;
                const k = 4 * (Math.floor(y) * width + Math.floor(x));
                out.push([p, neuroid, x, y, ...all.slice(k, k + 3)]);
            });
        });
        return out; })()""")
    )


@needs_browser
def test_cells_have_the_colours_of_the_values_and_are_asked_by_a_click(page, results):
    responses, scores, _ = results[1]["01"]
    browser = page("#subject=01&map=pearson_r:two&shape=slices&regions=&high=0.5&voxel=7")
    at = np.stack([responses[a].values for a in "xyz"], 1).astype(int)
    assert browser.run("slices.toVoxel(slices.cross)") == at[7].tolist()
    cells = seen(browser)
    assert len(cells) > 60 and set(cells[:, 0]) == {0, 1, 2} and (cells[:, 1] == 7).sum() == 3
    r = scores["two"]["score"].sel(metric="pearson_r").values[cells[:, 1].astype(int)]
    away = np.abs(colormaps["cividis"](np.clip(r / 0.5, 0, 1))[:, :3] * 255 - cells[:, 4:]).max(1)
    assert np.mean(away < 3) > 0.9  # the crosshair lies over some
    left, top = browser.run(
        "(() => { const b = slices.canvas.getBoundingClientRect(); return [b.left, b.top]; })()"
    )
    for _, neuroid, x, y, *_ in cells[:: len(cells) // 6]:
        browser.run("ask(7)")
        browser.click(x + left, y + top)
        check(shown(browser), scores, int(neuroid))
        assert browser.run("slices.toVoxel(slices.cross)") == at[int(neuroid)].tolist()
        said = browser.run("document.querySelector('#asked-voxel').textContent")
        assert said == ", ".join(map(str, at[int(neuroid)]))
    browser.wait("location.hash.includes('at=')")


@needs_browser
@pytest.mark.parametrize("name", ["LAS", "PSR"])
def test_keys_and_sides_follow_the_affine(browser, results, tmp_path, name):
    rng, affine = np.random.default_rng(2), AFFINES[name]
    responses = moved(results[1]["01"][0], affine, rng).drop_vars(["surface_L", "surface_R"])
    at = {a: responses[a] for a in "xyz"}
    for path in (results[0] / "sub-01").glob("*ridge*scores.nc"):
        save(load(path, "scores").assign_coords(at), tmp_path / f"run/sub-01/{path.name}")
    save(responses, tmp_path / "run/sub-01/sub-01_responses.nc")
    write_explorer(tmp_path / "run", tmp_path / "out")
    browser.go(f"{(tmp_path / 'out/index.html').as_uri()}#subject=01&shape=slices&voxel=50")
    place = lambda: apply_affine(affine, browser.run("slices.toVoxel(slices.cross)"))  # noqa: E731
    browser.run("document.querySelector('#slices').focus(); slices.move([3, 3, 3])")
    for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("PageUp", 1, 1), ("PageDown", 1, -1),
                            ("ArrowUp", 2, 1), ("ArrowDown", 2, -1)):  # fmt: skip
        before = place()
        browser.key(key)
        by = place() - before
        assert by[axis] * sign > 1 and np.abs(np.delete(by, axis)).max() < 1e-6, key
        neuroid = browser.run("slices.chosen()")
        assert browser.run("state.voxel") == neuroid
    # of two voxels the one more to the right, or higher, is drawn there
    cells, mm = seen(browser), apply_affine(affine, np.stack([responses[a].values for a in "xyz"], 1))
    for plane, (across, up) in enumerate([(0, 2), (1, 2), (0, 1)]):
        mine = cells[cells[:, 0] == plane]
        where = mm[mine[:, 1].astype(int)]
        assert np.corrcoef(mine[:, 2], where[:, across])[0, 1] > 0.999
        assert np.corrcoef(mine[:, 3], where[:, up])[0, 1] < -0.999
    assert browser.run("ENDS[0]") == ["L", "R"] and browser.complaints() == []


@needs_browser
def test_a_voxel_of_no_neuroid_is_said_to_be_none_and_the_address_keeps_the_crosshair(page, results):
    browser = page("#subject=01&shape=slices&regions=")
    inside = browser.run("[slices.first.map((v, d) => v + slices.size[d] - 1), slices.first]")
    empty = next(b for b in inside if browser.run(f"slices.under[slices.cell({b})]") < 0)
    browser.run(f"askCross({empty})")
    voxel = browser.run("slices.toVoxel(slices.cross)")
    assert browser.run("document.querySelector('#asked').textContent") == (
        f"No neuroid lies at voxel {', '.join(map(str, voxel))}."
    )
    browser.wait("location.hash.includes('at=') && !location.hash.includes('voxel=')")
    again = page(browser.run("location.hash"))
    assert again.run("slices.toVoxel(slices.cross)") == voxel and again.run("state.voxel") == -1
    page("#subject=01&shape=slices&at=9999+-5+x")
    page("#subject=01&shape=slices&at=9999+-5+1")
    assert browser.run(
        "slices.cross.every((v, d) => v >= slices.first[d] && v < slices.first[d] + slices.size[d])"
    )
    page("#subject=02&shape=slices")  # electrodes have no grid
    assert browser.run("slices === null && state.shape === 'points'")
