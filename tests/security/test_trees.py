"""Published layouts, one of whose files is not what it says: read, or refused in one line."""

import shutil
import warnings

import numpy as np
import pytest
from layouts import (
    algonauts2023,
    bids,
    bold5000,
    brainscore,
    glmsingle,
    laion_fmri,
    mosaic,
    pereira2018,
    stories,
    things_eeg1,
    things_eeg2,
    things_fmri,
    things_meg,
    treebank,
    tvsd,
)
from PIL import Image

from neuroenc.config import Dataset, Simulation
from neuroenc.datasets import module
from neuroenc.datasets.from_bids import convert
from neuroenc.errors import NeuroencError
from neuroenc.simulation.simulate import simulate

TINY = Simulation(n_voxels=200, sessions=2, n_shared=10, repeats=2, n_unique=20, picture_size=96)


def units(root):
    """A tree of `mtl`."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(root / f"images/{i}.png")
    np.savez(
        root / "mtl_variant1_timecourses.npz", counts=rng.integers(0, 3, (3, 8, 2)), bin_edges_s=np.arange(3) * 0.05,
        image=np.array([f"newolddelay/{i % 4}.png" for i in range(8)]), category=np.array(["a", "b"] * 4),
        phase=np.array(["learn"] * 4 + ["recog"] * 4), patient=np.arange(3), session=np.arange(3), area=np.arange(3),
    )  # fmt: skip


# dataset, how it is built, a subject, options
TREES = {
    "nsd": (lambda root, _: simulate(root, TINY), "01", {"regions": ["floc-faces"]}),
    "algonauts2023": (lambda root, _: algonauts2023.build(root, subjects=("01",)), "01", {}),
    "bold5000": (bold5000.build, "CSI4", {"mask": "rois"}),
    "bold5000 as openneuro": (bold5000.build_openneuro, "CSI2", {"mask": "rois", "preparation": "openneuro"}),
    "glmsingle": (lambda root, _: glmsingle.build(root), "01", {"mask": "brainmask", "regions": ["V1"]}),
    "glmsingle as HDF5": (
        lambda root, _: glmsingle.build(root, hdf5=True, events=True, table=False), "01", {"mask": "brain"}
    ),
    "laion_fmri": (lambda root, _: laion_fmri.build(root), "01", {"mask": "rois"}),
    "mosaic": (lambda root, _: mosaic.build(root), "NSD01", {"mask": "cortex"}),
    "pereira2018": (lambda root, _: pereira2018.build(root), "P01", {"mask": "brain"}),
    "stories": (lambda root, _: stories.build(root), "UTS01", {}),
    "things_eeg1": (lambda root, _: things_eeg1.build(root), "01", {}),
    "things_eeg2": (lambda root, _: things_eeg2.build(root), "01", {}),
    "things_fmri": (lambda root, _: things_fmri.build(root), "01", {"mask": "rois"}),
    "treebank": (lambda root, _: treebank.build(root), "3", {"reference": "none"}),
    "things_meg": (lambda root, _: things_meg.build(root), "1", {}),
    "tvsd": (lambda root, _: tvsd.build(root), "N", {}),
    "tvsd as trials": (lambda root, _: tvsd.build(root), "N", {"preparation": "trials"}),
    "majajhong2015": (lambda root, _: brainscore.majaj(root, archive=True), "all", {}),
    "freemanziemba2013": (lambda root, _: brainscore.freeman(root), "all", {}),
    "mtl": (lambda root, _: units(root), "all", {}),
}  # fmt: skip
DAMAGES = {
    "empty": lambda _: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "noise": lambda _: np.random.default_rng(0).bytes(300),
    "bytes changed": lambda data: changed(data),
    "a folder": lambda _: None,
    "an empty list": lambda _: b"[]",
    "an object": lambda _: b"{}",
    "a number": lambda _: b"1\n1\n",
}


def changed(data):
    rng, data = np.random.default_rng(1), bytearray(data)
    for place in rng.integers(0, max(len(data), 1), 20 if data else 0):
        data[place] = rng.integers(256)
    return bytes(data)


def kinds_of(root):
    """One file of each kind: names that differ in digits alone are of one kind, and so are pictures."""
    found = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = "".join(c for c in str(path.relative_to(root)) if not c.isdigit())
        found.setdefault(
            path.suffix.lower() if path.suffix.lower() in (".jpg", ".jpeg", ".png") else name, path
        )
    return list(found.values())


def outcome(options, subject):
    """Read everything; say how often it was refused."""
    loader, refused = module(options), 0
    for read in (
        lambda: loader.load_stimuli(options, [subject]), lambda: loader.load_responses(options, subject),
        lambda: loader.check_tree(options, [subject]),
    ):  # fmt: skip
        try:
            read()
        except NeuroencError as error:
            assert "\n" not in str(error) and str(error), str(error)
            refused += 1
    return refused


@pytest.mark.parametrize("name", TREES)
def test_a_tree_with_one_file_that_is_none(tmp_path, monkeypatch, name):
    build, subject, more = TREES[name]
    root = tmp_path / "tree"
    build(root, monkeypatch)
    options = Dataset(name=name.partition(" ")[0], root=str(root), **more)
    refused = 0
    for path in kinds_of(root)[:12]:
        whole = path.read_bytes()
        for damage in DAMAGES.values():
            data = damage(whole)
            path.unlink(missing_ok=True)
            path.mkdir() if data is None else path.write_bytes(data)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                refused += outcome(options, subject)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_bytes(whole)
    assert refused > 10


def test_a_dataset_of_fmriprep_with_one_file_that_is_none(tmp_path):
    bids.build(tmp_path / "tree", runs=1, n_trials=6)
    refused = 0
    for path in kinds_of(tmp_path / "tree"):
        whole = path.read_bytes()
        for damage in DAMAGES.values():
            data = damage(whole)
            path.unlink(missing_ok=True)
            path.mkdir() if data is None else path.write_bytes(data)
            for space in ("T1w", "fsaverage5", "fsLR:den-91k"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        convert(tmp_path / "tree", tmp_path / "out", task="x", space=space, subjects=[])
                    except NeuroencError as error:
                        assert "\n" not in str(error) and str(error), str(error)
                        assert not (tmp_path / "out/dataset.yaml").exists()
                        refused += 1
                shutil.rmtree(tmp_path / "out", ignore_errors=True)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_bytes(whole)
    assert refused > 50
