"""Surfaces of the user's own: read from FreeSurfer and GIFTI, and refused where they are of other vertices."""

import shutil

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from nilearn.datasets import load_fsaverage, load_fsaverage_data

from neuroenc.arrays import save
from neuroenc.errors import InputError
from neuroenc.explorer import write_explorer
from neuroenc.explorer.meshes import read_mesh
from tests.explorer.browser import CHROMIUM
from tests.explorer.test_explorer import read, unpack

SIDES = {"L": "left", "R": "right"}


def divided(places, faces):
    """A mesh of four times the faces, whose first vertices are those of the coarser one, as fsaverage's are."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    a, b, c = (len(places) + which.reshape(-1, 3)).T
    i, j, k = faces.T
    finer = np.concatenate([np.stack(t, 1) for t in ((i, a, c), (a, j, b), (c, b, k), (a, b, c))])
    return np.concatenate([places, places[unique].mean(1)]), finer


def surfaces(times=0):
    """Shape -> side -> (places, faces) of fsaverage5, or of a finer mesh."""
    out = {}
    for shape in ("inflated", "pial"):
        for side, part in SIDES.items():
            mesh = load_fsaverage("fsaverage5")[shape].parts[part]
            found = mesh.coordinates, mesh.faces
            for _ in range(times):
                found = divided(*found)
            out.setdefault(shape, {})[side] = found
    return out


def as_freesurfer(folder, found):
    folder.mkdir()
    for shape, parts in found.items():
        for side, (places, faces) in parts.items():
            nib.freesurfer.write_geometry(str(folder / f"{side.lower()}h.{shape}"), places, faces)
    sulc = load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts
    for side, (places, _) in found["pial"].items():
        values = np.resize(sulc[SIDES[side]].astype("f4"), len(places))
        nib.freesurfer.write_morph_data(str(folder / f"{side.lower()}h.sulc"), values)
    return folder


@pytest.fixture(scope="module")
def finer(tmp_path_factory):
    return as_freesurfer(tmp_path_factory.mktemp("mesh") / "fsaverage6", surfaces(1))


def test_surfaces_of_freesurfer_and_gifti_are_those_of_nilearn(tmp_path):
    ours, at = read_mesh(), as_freesurfer(tmp_path / "surf", surfaces())
    import nilearn

    packaged = f"{nilearn.__path__[0]}/datasets/data/fsaverage5"
    for mesh in (read_mesh(at), read_mesh(packaged)):
        assert mesh.n_vertices == {"L": 10242, "R": 10242}
        for shape in ("inflated", "pial"):
            for side in "LR":
                for got, expected in zip(mesh.shapes[shape][side], ours.shapes[shape][side], strict=True):
                    np.testing.assert_allclose(got, expected, atol=1e-4)
                np.testing.assert_allclose(mesh.sulc[side], ours.sulc[side], atol=1e-6)
    assert set(read_mesh(packaged).shapes) == {"inflated", "pial", "flat"} and set(read_mesh(at).shapes) == {
        "inflated",
        "pial",
    }


@pytest.fixture
def run_on_vertices(results, tmp_path):
    """The run as of vertices of some space; returns folder and the vertices of each neuroid."""

    def make(space, n_vertices, **attrs):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(results[0], folder)
        path = folder / "sub-01/sub-01_responses.nc"
        with xr.open_dataset(path, engine="h5netcdf") as found:
            responses = found.load()
        n = responses.sizes["neuroid"]
        vertex = np.random.default_rng(0).permutation(n_vertices)[:n]
        side = np.where(np.arange(n) % 2, "R", "L")
        responses = responses.drop_vars(["surface_L", "surface_R", "x", "y", "z"])
        responses = responses.assign_coords(vertex=("neuroid", vertex), hemisphere=("neuroid", side))
        responses.attrs = {k: v for k, v in responses.attrs.items() if k not in ("affine", "grid_shape")}
        responses.attrs.update(space=space, **attrs)
        save(responses, path)
        return folder, vertex, side

    return make


def test_a_finer_mesh_shows_every_vertex_and_fsaverage5_its_own(run_on_vertices, finer, tmp_path):
    folder, vertex, side = run_on_vertices("fsaverage6", 40962)
    for mesh, n in ((finer, 40962), (None, 10242)):
        write_explorer(folder, tmp_path / "out", mesh=mesh)
        data, meshes = (read(tmp_path / f"out/data/{name}.js") for name in ("sub-01", "meshes"))
        assert meshes["name"] == (mesh.name if mesh else "fsaverage5")
        for s in "LR":
            under, mine = unpack(data["surface"][s]), np.flatnonzero((side == s) & (vertex < n))
            assert under[vertex[mine]].tolist() == mine.tolist() and (under >= 0).sum() == len(mine)
            assert len(under) == n == len(unpack(meshes["shapes"]["inflated"][s]["places"]))
            assert unpack(meshes["shapes"]["inflated"][s]["faces"]).max() == n - 1


def test_vertices_of_another_mesh_are_refused_in_one_line(run_on_vertices, finer, tmp_path, run):
    for space, n, mesh in (
        ("fsLR:den-91k", 32492, []),
        ("fsaverage5", 10242, ["--mesh", finer]),
        ("own", 1000, []),
    ):
        attrs = {"n_vertices_L": n, "n_vertices_R": n} if space == "own" else {}
        folder, *_ = run_on_vertices(space, n, **attrs)
        status, _, said = run("explore", folder, "--out", tmp_path / "out", *mesh)
        assert (
            status == 2
            and said.count("\n") == 1
            and f"lie on a surface of {n} (left) and {n} (right)" in said
        )
        assert "--mesh" in said and not (tmp_path / "out").exists()
    folder, *_ = run_on_vertices("mine", 500)  # nothing says of which mesh
    write_explorer(folder, tmp_path / "out")
    assert read(tmp_path / "out/data/sub-01.js")["surface"] is None


@pytest.mark.parametrize("fault", ["none", "one side", "cut", "text", "other n", "values"])
def test_broken_surfaces_are_refused_in_one_line(tmp_path, fault):
    folder = as_freesurfer(tmp_path / "m", surfaces())
    at = folder / "rh.pial"
    if fault in ("none", "one side"):
        for path in folder.glob("*pial" if fault == "none" else "rh.pial"):
            path.unlink()
    elif fault == "cut":
        at.write_bytes(at.read_bytes()[:100_000])
    elif fault == "text":
        at.write_text("x" * 1000)
    elif fault == "values":
        (folder / "lh.sulc").write_bytes(b"")
    else:
        nib.freesurfer.write_geometry(str(at), *divided(*surfaces()["pial"]["R"]))
    with pytest.raises(InputError) as error:
        read_mesh(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_a_click_on_a_finer_mesh_asks_its_vertex(run_on_vertices, finer, tmp_path, browser):
    folder, _vertex, _side = run_on_vertices("fsaverage6", 40962)
    write_explorer(folder, tmp_path / "out", mesh=finer)
    browser.go(f"{(tmp_path / 'out/index.html').as_uri()}#subject=01&shape=pial&view=-90+0+1+0+0")
    assert browser.run("[...document.querySelectorAll('#shapes label')].map((l) => l.textContent)") == [
        "inflated",
        "folded",
    ]
    assert "400 lie under a vertex of fsaverage6" in browser.run(
        "document.querySelector('#counts').textContent"
    )
    found = browser.run("""(() => { const box = scene.canvas.getBoundingClientRect(), out = [];
        for (let i = 0; i < body.under.length; i++) if (body.under[i] >= 0) {
            const [x, y, facing] = scene.project(i);
            if (facing > 0.3 && scene.pick(x, y) === i) out.push([x + box.left, y + box.top, body.under[i]]);
        } return out; })()""")
    assert len(found) > 20
    for x, y, neuroid in found[::10]:
        browser.click(x, y)
        assert browser.run("state.voxel") == neuroid
    assert browser.complaints() == []
