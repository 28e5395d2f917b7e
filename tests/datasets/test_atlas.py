"""Label files of every kind, laid on volumes, meshes and grayordinates; what does not fit is one line."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from layouts import bids, glmsingle
from layouts.labels import (
    NAMES,
    SHAPE,
    VERTICES,
    grayordinates,
    numbers,
    volume,
    write_annot,
    write_dlabel,
    write_gifti,
    write_table,
)
from layouts.server import serve
from PIL import Image

from neuroenc.arrays import load, parcels, save
from neuroenc.config import Dataset, parse
from neuroenc.config.dataset import ATLASES
from neuroenc.datasets import atlas_sources, custom, module
from neuroenc.datasets.atlas import Where, _onto, add_parcels
from neuroenc.datasets.from_bids import Choices, convert
from neuroenc.datasets.label_files import Part, read_names, read_surface
from neuroenc.errors import InputError

N = 8


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path, rng):
    """Recordings of one experiment in a volume, on a mesh, and in both; a label file of each kind."""
    (tmp_path / "pictures").mkdir()
    ids = [f"p{i}" for i in range(4)]
    for i in ids:
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"pictures/{i}.png")
    pd.DataFrame({"stimulus_id": ids, "file": [f"{i}.png" for i in ids]}).to_csv(
        tmp_path / "stimuli.csv", index=False
    )
    pd.DataFrame({"stimulus_id": ids * 2}).to_csv(tmp_path / "trials.csv", index=False)
    mask = np.zeros(SHAPE, "u1")
    mask[1:4, 1:5, 1:3] = 1
    volume(tmp_path / "mask.nii.gz", mask)
    volume(tmp_path / "bold.nii.gz", rng.standard_normal((*SHAPE, N)).astype("f4"))
    np.save(tmp_path / "flat.npy", rng.standard_normal((N, int(mask.sum()))))
    np.save(tmp_path / "sites.npy", rng.standard_normal((N, 6)))
    pd.DataFrame({
        "neuroid_id": [f"v{i}" for i in range(6)], "hemisphere": ["L"] * 3 + ["R"] * 3,
        "vertex": [0, 10, 19, 3, 4, 5],
    }).to_csv(tmp_path / "sites.csv", index=False)  # fmt: skip
    for side in ("left", "right"):
        arrays = [nib.gifti.GiftiDataArray(rng.standard_normal(VERTICES).astype("f4")) for _ in range(N)]
        nib.save(nib.gifti.GiftiImage(darrays=arrays), tmp_path / f"{side}.func.gii")
    axis = grayordinates()
    rows = nib.cifti2.ScalarAxis([str(i) for i in range(N)])
    values = rng.standard_normal((N, len(axis))).astype("f4")
    nib.save(nib.Cifti2Image(values, (rows, axis)), tmp_path / "all.dscalar.nii")
    shown = {"presentations": "trials.csv"}
    description = {
        "name": "Mine", "units": "z", "stimuli": {"table": "stimuli.csv", "pictures": "pictures"},
        "subjects": {
            "nifti": shown | {"responses": "bold.nii.gz", "mask": "mask.nii.gz"},
            "npy": shown | {"responses": "flat.npy", "mask": "mask.nii.gz"},
            "gifti": shown | {"responses": {"left": "left.func.gii", "right": "right.func.gii"}},
            "cifti": shown | {"responses": "all.dscalar.nii"},
            "sites": shown | {"responses": "sites.npy", "neuroids": "sites.csv"},
            "bare": shown | {"responses": "sites.npy"},
        },
    }  # fmt: skip
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(description))
    return tmp_path


def given(root, atlas, **more):
    return Dataset(name="custom", root=str(root), atlas=str(atlas), **more)


def labelled(root, subject, atlas, **more):
    options = given(root, atlas, **more)
    return add_parcels(custom.load_responses(options, subject), options, subject)


def expected(found):
    return [NAMES.get(int(n), "") for n in found]


@pytest.mark.parametrize("ending", [".tsv", ".txt", ".json", "named.txt"])
@pytest.mark.parametrize("subject", ["nifti", "npy"])
def test_voxels_get_the_label_at_their_place(folder, rng, subject, ending, tmp_path):
    labels = numbers(rng, SHAPE)
    volume(folder / "atlas.nii.gz", labels.astype("i2"))
    beside = ending.startswith(".")
    write_table(folder / f"{'atlas' if beside else ''}{ending}")
    more = {} if beside else {"atlas_labels": str(folder / ending)}
    found = labelled(folder, subject, folder / "atlas.nii.gz", **more)
    inside = np.argwhere(nib.load(folder / "mask.nii.gz").get_fdata() > 0)
    assert found["parcel"].values.tolist() == [NAMES.get(int(labels[tuple(at)]), "") for at in inside]
    assert set(found["parcel"].values) == {"", *NAMES.values()}
    save(found, tmp_path / "found.nc")
    assert load(tmp_path / "found.nc", "responses").identical(found)
    masks = parcels(found)
    assert {name for _, name in masks} == set(NAMES.values())
    for (side, name), mask in masks.items():
        assert side == "" and mask.tolist() == [p == name for p in found["parcel"].values]


def test_without_a_table_numbers_are_names(folder, rng):
    labels = numbers(rng, SHAPE) - 1
    volume(folder / "atlas.nii", labels.astype("i2"))
    found = labelled(folder, "nifti", folder / "atlas.nii")["parcel"].values
    inside = nib.load(folder / "mask.nii.gz").get_fdata() > 0
    assert found.tolist() == [str(v) if v > 0 else "" for v in labels[inside]]


@pytest.mark.parametrize(("name", "write"), [
    ("{hemi}.x.annot", write_annot), ("x_hemi-{hemi}.label.gii", write_gifti), ("x.{hemi}.label.gii", write_gifti),
])  # fmt: skip
@pytest.mark.parametrize("hemispheres", [("lh", "rh"), ("L", "R"), ("left", "right")])
def test_vertices_get_the_label_of_their_number(folder, rng, name, write, hemispheres):
    left, right = (numbers(rng, VERTICES) for _ in range(2))
    for side, labels in zip(hemispheres, (left, right), strict=True):
        write(folder / name.replace("{hemi}", side), labels)
    found = labelled(folder, "gifti", folder / name)
    assert found["parcel"].values.tolist() == expected(left) + expected(right)
    assert set(parcels(found)) == {(h, n) for h in "LR" for n in NAMES.values()}


def test_vertices_of_a_table_get_the_label_of_their_number(folder, rng):
    about = yaml.safe_load((folder / "dataset.yaml").read_text())
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about | {"space": "fsaverage5"}))
    left, right = (numbers(rng, 10242) for _ in range(2))
    write_annot(folder / "lh.x.annot", left)
    write_annot(folder / "rh.x.annot", right)
    found = labelled(folder, "sites", folder / "{hemi}.x.annot")["parcel"].values
    assert found.tolist() == expected([*left[[0, 10, 19]], *right[[3, 4, 5]]])


def test_grayordinates_get_labels_of_meshes_and_voxels(folder, rng):
    axis = grayordinates()
    labels = numbers(rng, len(axis))
    write_dlabel(folder / "x.dlabel.nii", labels)
    found = labelled(folder, "cifti", folder / "x.dlabel.nii")
    assert found["parcel"].values.tolist() == expected(labels)
    # of whole meshes, in another order: by vertex, not by place in the file
    whole = (nib.cifti2.BrainModelAxis.from_surface(np.arange(VERTICES), VERTICES, "CortexRight")
             + nib.cifti2.BrainModelAxis.from_surface(np.arange(VERTICES), VERTICES, "CortexLeft"))  # fmt: skip
    right, left = (numbers(rng, VERTICES) for _ in range(2))
    write_dlabel(folder / "mesh.dlabel.nii", np.concatenate([right, left]), axis=whole)
    found = labelled(folder, "cifti", folder / "mesh.dlabel.nii")["parcel"].values
    assert found.tolist() == expected(left[2:12]) + expected(right[:9]) + [""] * 3
    write_gifti(folder / "L.label.gii", left, "CortexLeft")
    write_gifti(folder / "R.label.gii", right, "CortexRight")
    assert labelled(folder, "cifti", folder / "{hemi}.label.gii")["parcel"].values.tolist() == found.tolist()
    by_gifti = labelled(folder, "gifti", folder / "mesh.dlabel.nii")["parcel"].values
    assert by_gifti.tolist() == expected(left) + expected(right)


@pytest.mark.parametrize(
    ("kind", "space"), [("surface", "fsaverage5"), ("cifti", "fsLR:den-91k"), ("volume", "T1w")]
)
def test_what_comes_of_fmriprep_gets_parcels(tmp_path, rng, kind, space):
    bids.build(tmp_path / "ds", kinds=(kind,))
    convert(tmp_path / "ds", tmp_path / "out", task="x", space=space, subjects=[], choices=Choices())
    if kind == "volume":
        labels = numbers(rng, bids.GRID)
        volume(tmp_path / "01.nii.gz", labels.astype("u1"), bids.AFFINE)
        write_table(tmp_path / "01.tsv")
        atlas, wanted = "{subject}.nii.gz", labels[bids.mask() > 0]
    else:
        left, right = numbers(rng, 8), numbers(rng, 6 if kind == "surface" else 8)
        write_annot(tmp_path / "lh.annot", left)
        write_annot(tmp_path / "rh.annot", right)
        atlas = "{hemi}.annot"
        wanted = [*left, *right] if kind == "surface" else [*left[:6], *right[:4], 0, 0, 0, 0]
    assert labelled(tmp_path / "out", "01", tmp_path / atlas)["parcel"].values.tolist() == expected(wanted)


def test_betas_of_glmsingle_get_parcels(tmp_path, rng):
    glmsingle.build(tmp_path)
    mask = nib.load(next(tmp_path.rglob("brainmask.nii.gz")))
    labels = numbers(rng, mask.shape)
    volume(tmp_path / "atlas.nii.gz", labels.astype("u1"), mask.affine)
    write_table(tmp_path / "atlas.txt")
    options = Dataset(
        name="glmsingle", root=str(tmp_path), mask="brainmask", atlas=str(tmp_path / "atlas.nii.gz")
    )
    found = add_parcels(module(options).load_responses(options, "01"), options, "01")
    at = tuple(found[a].values.astype(int) for a in "xyz")
    assert found["parcel"].values.tolist() == expected(labels[at])


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage"])
def test_nsd_gets_parcels(tree, rng, space, tmp_path):
    options = Dataset(name="nsd", root=str(tree), space=space, sessions=1, regions=["floc-faces"],
                      atlas=str(tmp_path / ("x.nii.gz" if space == "func1pt8mm" else "{hemi}.annot")))  # fmt: skip
    found = module(options).load_responses(options, "01")
    if space == "func1pt8mm":
        labels = numbers(rng, tuple(found.attrs["grid_shape"]))
        volume(tmp_path / "x.nii.gz", labels.astype("u1"), found.attrs["affine"].reshape(4, 4))
        write_table(tmp_path / "x.tsv")
        wanted = labels[tuple(found[a].values.astype(int) for a in "xyz")]
    else:
        sides = {s: numbers(rng, found.sizes[f"vertex_{s}"]) for s in "LR"}
        for side, name in (("L", "lh"), ("R", "rh")):
            write_annot(tmp_path / f"{name}.annot", sides[side])
        places = zip(found["hemisphere"].values, found["vertex"].values, strict=True)
        wanted = [sides[str(h)][v] for h, v in places]
    with_parcels = add_parcels(found, options, "01")
    assert with_parcels["parcel"].values.tolist() == expected(wanted)
    assert [c for c in found.coords if str(c).startswith("roi_")]


def sound(folder, rng):
    volume(folder / "atlas.nii.gz", numbers(rng, SHAPE).astype("u1"))
    write_table(folder / "atlas.tsv")
    for side in ("lh", "rh"):
        write_annot(folder / f"{side}.annot", numbers(rng, VERTICES))


def another_affine(folder, rng):
    volume(folder / "atlas.nii.gz", numbers(rng, SHAPE).astype("u1"), np.diag([-2.0, 2, 2, 1]))


def another_grid(folder, rng):
    volume(folder / "atlas.nii.gz", numbers(rng, (5, 6, 5)).astype("u1"))


def interpolated(folder, rng):
    volume(folder / "atlas.nii.gz", numbers(rng, SHAPE) + np.float32(0.5))


def shows_nothing(folder, rng):
    labels = np.zeros(SHAPE, "u1")
    labels[0, 0, 0] = 1  # outside the mask
    volume(folder / "atlas.nii.gz", labels)


def lacks_a_value(folder, rng):
    write_table(folder / "atlas.tsv", {k: v for k, v in NAMES.items() if k != 7})


def twice(folder, rng):
    (folder / "atlas.tsv").write_text("index\tname\n1\tV1\n1\tV2\n")


def another_mesh(folder, rng):
    write_annot(folder / "rh.annot", numbers(rng, VERTICES + 1))


def gone(folder, rng):
    (folder / "rh.annot").unlink()
    (folder / "atlas.nii.gz").unlink()


def swapped(folder, rng):
    for name, side in (("L", "CortexRight"), ("R", "CortexLeft")):
        write_gifti(folder / f"{name}.label.gii", numbers(rng, VERTICES), side)


def swapped_cifti(folder, rng):
    for name, structure in (("L", "CortexRight"), ("R", "CortexLeft")):
        axis = nib.cifti2.BrainModelAxis.from_surface(np.arange(VERTICES), VERTICES, structure)
        write_dlabel(folder / f"{name}.dlabel.nii", numbers(rng, VERTICES), axis=axis)


def unnamed(folder, rng):
    for name in "LR":
        write_gifti(folder / f"{name}.label.gii", numbers(rng, VERTICES), names={1: "V1"})


def unnamed_cifti(folder, rng):
    write_dlabel(folder / "x.dlabel.nii", numbers(rng, len(grayordinates())), names={1: "V1"})


def colourless(folder, rng):
    write_annot(folder / "lh.annot", numbers(rng, VERTICES))
    data = bytearray((folder / "lh.annot").read_bytes())
    data[4 + 8 * 3 + 4 : 4 + 8 * 3 + 8] = (12345).to_bytes(4, "big")  # of vertex 3
    (folder / "lh.annot").write_bytes(data)


def cut(folder, rng):
    data = (folder / "lh.annot").read_bytes()
    (folder / "lh.annot").write_bytes(data[:100])


def table_is_a_sidecar(folder, rng):
    (folder / "atlas.tsv").unlink()
    (folder / "atlas.json").write_text('{"Resolution": "2 mm"}')


def table_is_a_list(folder, rng):
    (folder / "atlas.tsv").unlink()
    (folder / "atlas.json").write_text('["V1", "V2"]')


def blanks(folder, rng):
    (folder / "atlas.tsv").unlink()
    (folder / "atlas.txt").write_text("1 Area 44 255 0 0 0\n")


VOLUME, ANNOT, GIFTI, DLABEL = "atlas.nii.gz", "{hemi}.annot", "{hemi}.label.gii", "x.dlabel.nii"


@pytest.mark.parametrize(("subject", "atlas", "damage", "message"), [
    ("nifti", VOLUME, gone, r"File not found: .*atlas.nii.gz\. Check the path"),
    ("gifti", ANNOT, gone, r"File not found: .*rh.annot \(nor with R and right in it\)"),
    ("nifti", VOLUME, another_grid, r"atlas.nii.gz has the grid \(5, 6, 5\), the recordings the grid \(5, 6, 4\)"),
    ("nifti", VOLUME, another_affine, r"has the affine \[\[-2.0, .*the recordings \[\[2.0, .*lie elsewhere"),
    ("gifti", ANNOT, another_mesh, r"rh.annot has 21 vertices a hemisphere, the recordings 20"),
    ("cifti", ANNOT, another_mesh, r"rh.annot has 21 vertices a hemisphere, the recordings 20"),
    ("nifti", VOLUME, lacks_a_value, r"holds the label 7, which is none of 3 in .*atlas.tsv.*Give the table"),
    ("gifti", GIFTI, unnamed, r"holds the label 2, which is none of 2 in .*L.label.gii \(3 are not\)"),
    ("cifti", DLABEL, unnamed_cifti, r"holds the label 2, which is none of 2 in .*x.dlabel.nii"),
    ("gifti", ANNOT, colourless, r"holds the label 12345, which is none of 5 in .*lh.annot"),
    ("nifti", VOLUME, shows_nothing, r"has a label at none of 24 neuroids of 'nifti'"),
    ("nifti", VOLUME, twice, r"names the label 1 twice"),
    ("nifti", VOLUME, interpolated, r"hold [0-9]*.5, expected whole numbers. Resample labels by the nearest"),
    ("nifti", VOLUME, table_is_a_sidecar, r"atlas.json holds 'Resolution', expected names by their numbers"),
    ("nifti", VOLUME, table_is_a_list, r"atlas.json holds a list, expected keys with values"),
    ("nifti", VOLUME, blanks, r"has the line '1 Area 44 255 0 0 0', expected a number.*tabs"),
    ("gifti", GIFTI, swapped, r"is of hemisphere 'R', expected 'L'"),
    ("gifti", ANNOT, cut, r"Cannot read .*lh.annot"),
    ("nifti", ANNOT, None, r"labels of a surface, the recordings lie on the grid \(5, 6, 4\)"),
    ("gifti", VOLUME, None, r"has a label at none of 40 neuroids.*one of them a volume, the other a surface"),
    ("bare", VOLUME, None, r"neither the grid of an image nor a mesh"),
    ("sites", ANNOT, None, r"how many vertices the left mesh.*'native', expected 'fsaverage'.*Set `space`"),
    ("nifti", "schaefer-400", None, r"in 'native' have the grid \(5, 6, 4\); 'schaefer-400' comes for fsaver"),
    ("gifti", "glasser-360", None, r"have 20 vertices a hemisphere; 'glasser-360' comes for fsaverage \(163842"),
    ("nifti", "glasser-360", None, r"in 'native' have the grid .*any grid, where `space` says MNI152NLin2009cAsym"),
    ("cifti", "{hemi}.dlabel.nii", swapped_cifti, r"L.dlabel.nii has no labels of hemisphere 'L'. Are the files swapped"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(folder, rng, subject, atlas, damage, message):
    sound(folder, rng)
    if damage:
        damage(folder, rng)
    with pytest.raises(InputError, match=message) as error:
        labelled(folder, subject, atlas if atlas in ATLASES else folder / atlas)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("section", "message"), [
    ({"atlas": "schaefer-300"}, r"'atlas': 'schaefer-300'.*'schaefer-400', 'glasser-360' \(did you mean 'schaefer-400'"),
    ({"atlas": "lh.annot"}, "'atlas'.*one file a hemisphere.*{hemi}"),
    ({"atlas": "{hemi}.nii.gz"}, "'atlas'.*one file a hemisphere"),
    ({"atlas": "{side}.annot"}, "'atlas'.*cannot use a path with '{'"),
    ({"average": "parcel"}, "average: 'parcel' needs `atlas`"),
    ({"atlas": "a.nii", "average": "region"}, "'average': 'region'"),
    ({"atlas": "{hemi}.annot", "atlas_labels": "x.tsv"}, "atlas_labels: .*volume alone"),
    ({"atlas": "x.dlabel.nii", "atlas_labels": "x.tsv"}, "atlas_labels: .*volume alone"),
    ({"atlas": "schaefer-400", "atlas_labels": "x.tsv"}, "atlas_labels: .*volume alone"),
])  # fmt: skip
def test_sections_that_cannot_be_meant(section, message):
    with pytest.raises(InputError, match=message):
        parse(Dataset, {"name": "custom", **section})


def test_colour_tables_of_freesurfer_are_read(tmp_path):
    (tmp_path / "lut.txt").write_text(
        "#No. Label\n\n0   Unknown   0 0 0 0\n17  Left-Hippocampus  220 216 20 0\n"
    )
    assert read_names(tmp_path / "lut.txt") == {0: "Unknown", 17: "Left-Hippocampus"}


def test_known_atlases_are_fetched_and_laid_on_the_mesh_that_fits(folder, rng, tmp_path, monkeypatch, run):
    """Small files stand where the publishers' are; what a hash is known of is held against it."""
    assert set(ATLASES) == set(atlas_sources.SPACES)
    for side in ("lh", "rh"):
        write_annot(folder / f"{side}.annot", numbers(rng, VERTICES))
    served = {f"{s}.annot": (folder / f"{s}.annot").read_bytes() for s in ("lh", "rh")}
    monkeypatch.setenv("NEUROENC_ATLASES", str(tmp_path / "atlases"))
    monkeypatch.setenv("NEUROENC_CONSENTS", str(tmp_path / "consents.json"))
    with serve(served) as server:
        files = {n: (f"{server.url}/{n}", None) for n in served}
        spaces = [atlas_sources.Space("tiny", (VERTICES,), "{hemi}.annot", "", files)]
        monkeypatch.setitem(atlas_sources.SPACES, "glasser-360", spaces)
        with pytest.raises(InputError, match=r"not found: .*lh.annot.*Run `neuroenc data atlas glasser-360`"):
            labelled(folder, "gifti", "glasser-360")
        with pytest.raises(InputError, match="terms of glasser-360 were not accepted"):
            atlas_sources.fetch_atlas("glasser-360")
        (tmp_path / "consents.json").write_text('{"glasser-360": {}}')
        status, out, err = run("data", "atlas", "glasser-360")
        assert status == 0 and "2 files were transferred" in out, err
        assert atlas_sources.fetch_atlas("glasser-360") == []
    found = labelled(folder, "gifti", "glasser-360")
    assert (
        found["parcel"].values.tolist()
        == labelled(folder, "gifti", folder / "{hemi}.annot")["parcel"].values.tolist()
    )
    assert set(json.loads(found.attrs["atlas"])) == {"lh.annot", "rh.annot"}
    assert run("data", "atlas", "mine.nii.gz")[1] == "mine.nii.gz is a file: nothing to fetch.\n"


def fsl_xml(kind="Label", names=NAMES):
    labels = "".join(f'<label index="{k}" x="1" y="2" z="3">{v}</label>' for k, v in names.items())
    return f"<atlas><header><type>{kind}</type></header><data>{labels}</data></atlas>"


def test_names_of_fsl_are_those_of_the_numbers(tmp_path):
    (tmp_path / "x.xml").write_text(fsl_xml())
    assert read_names(tmp_path / "x.xml") == NAMES
    (tmp_path / "x.xml").write_text(fsl_xml("Probabilistic"))  # which count from 0, their maximum from 1
    with pytest.raises(InputError, match="describes 4 labels of the type 'Probabilistic', expected 'Label'"):
        read_names(tmp_path / "x.xml")
    for encoding in ("foo", "gb2312"):
        head = f'<?xml version="1.0" encoding="{encoding}"?>'
        (tmp_path / "x.xml").write_text(head + fsl_xml())
        with pytest.raises(InputError, match=r"Cannot read .*x.xml: .*encoding"):
            read_names(tmp_path / "x.xml")
    (tmp_path / "x.xml").write_text(fsl_xml(names={1: "V1\n  dorsal"}))
    assert read_names(tmp_path / "x.xml") == {1: "V1 dorsal"}
    (tmp_path / "x.xml").write_text(fsl_xml(names={1: ""}))  # not called None
    with pytest.raises(InputError, match=r"the line '1', expected a number, a name"):
        read_names(tmp_path / "x.xml")
    (tmp_path / "x.xml").write_text(fsl_xml()[:-5])
    with pytest.raises(InputError, match=r"Cannot read .*x.xml: .* Is it an atlas of FSL's"):
        read_names(tmp_path / "x.xml")


def test_voxels_of_a_template_get_the_label_at_their_place(folder, rng, tmp_path, monkeypatch):
    """An atlas in 1 mm, turned as radiologists see it, on recordings in 2 mm: by the nearest centre."""
    shape, affine = (14, 15, 12), np.array([[-1.0, 0, 0, 10], [0, 1, 0, -1], [0, 0, 1, -2], [0, 0, 0, 1]])
    labels = numbers(rng, shape)
    at = tmp_path / "atlases/glasser-360/tiny"
    at.mkdir(parents=True)
    volume(at / "x.nii.gz", labels.astype("i2"), affine)
    (at / "x.xml").write_text(fsl_xml())
    monkeypatch.setenv("NEUROENC_ATLASES", str(tmp_path / "atlases"))
    space = atlas_sources.Space("tiny", shape, "x.nii.gz", "x.xml", {}, "MNI152NLin2009cAsym")
    monkeypatch.setitem(atlas_sources.SPACES, "glasser-360", [space])
    about = yaml.safe_load((folder / "dataset.yaml").read_text())
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about | {"space": "MNI152NLin2009cAsym:res-2"}))
    found = labelled(folder, "nifti", "glasser-360")["parcel"].values
    places = np.argwhere(nib.load(folder / "mask.nii.gz").get_fdata() > 0) * 2  # mm
    index = places @ np.diag([-1, 1, 1]) + [10, 1, 2]
    assert found.tolist() == expected(labels[tuple(index.T)])


def test_a_cifti_for_each_hemisphere(folder, rng):
    left, right = numbers(rng, VERTICES), numbers(rng, VERTICES)
    for name, structure, labels in (("L", "CortexLeft", left), ("R", "CortexRight", right)):
        axis = nib.cifti2.BrainModelAxis.from_surface(np.arange(VERTICES), VERTICES, structure)
        write_dlabel(folder / f"{name}.dlabel.nii", labels, axis=axis)
    found = labelled(folder, "gifti", folder / "{hemi}.dlabel.nii")["parcel"].values
    assert found.tolist() == expected(left) + expected(right)


def test_grids_of_known_atlases_do_not_share_a_size():
    for spaces in atlas_sources.SPACES.values():
        assert len({s.size for s in spaces}) == len(spaces)
        for space in spaces:
            called = [
                {space.labels.replace("{hemi}", h), space.labels.replace("{hemi}", g), space.table} - {""}
                for h, g in (("lh", "rh"), ("L", "R"))
            ]
            assert set(space.files) in called
            assert all(url.startswith("https://") for url, _ in space.files.values())


def test_the_check_says_how_many_parcels(folder, rng, run):
    sound(folder, rng)
    options = given(folder, folder / VOLUME).model_dump_json()
    status, out, err = run("data", "check", "--options", options, "--subject", "nifti")
    assert status == 0, err
    assert "subject nifti: 4 parcels of" in out and "neuroids in none" in out


def test_the_outermost_half_voxel_of_a_template_has_its_label(tmp_path):
    """Centres within half a voxel beyond the first or last one still lie in it."""
    labels = np.arange(1, 4)[:, None, None] * np.ones((1, 3, 3), int)
    part = Part(tmp_path, labels, None, np.eye(4))
    affine = np.eye(4)
    affine[0, 3] = -0.4
    place = Where("", np.arange(1), (np.zeros(1, int),) * 3, (5, 3, 3), affine)
    assert _onto(part, place).number[:, 1, 1].tolist() == [1, 2, 3, 0, 0]
    affine[0, 3] = 0.4
    assert _onto(part, place).number[:, 1, 1].tolist() == [1, 2, 3, 0, 0]


@pytest.mark.parametrize(("last", "right"), [(2.0, True), (np.nan, True), (1.6, False)])
def test_labels_of_surfaces_are_whole_numbers(tmp_path, last, right):
    numbers = np.array([0, 1, last], np.float32)
    table = nib.gifti.GiftiLabelTable()
    for key, name in enumerate(("???", "A", "B")):
        table.labels.append(nib.gifti.GiftiLabel(key))
        table.labels[-1].label = name
    array = nib.gifti.GiftiDataArray(numbers, "NIFTI_INTENT_LABEL", "NIFTI_TYPE_FLOAT32")
    path = tmp_path / "lh.label.gii"
    nib.save(nib.gifti.GiftiImage(darrays=[array], labeltable=table), path)
    if right:
        expected = ["", "A", "" if np.isnan(last) else "B"]
        assert read_surface(path, "L").at((np.arange(3),)).tolist() == expected
    else:
        with pytest.raises(InputError, match=r"hold 1\.6, expected whole numbers"):
            read_surface(path, "L")
