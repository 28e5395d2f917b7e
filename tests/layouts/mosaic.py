"""A small tree in the layout of MOSAIC: one HDF5 a person, a dataset for each trial."""

import h5py
import numpy as np
from PIL import Image

BRAIN = 91_282
TRAIN, TEST = [f"cat-{i}.jpg" for i in range(5)], [f"coco_{i}.png" for i in range(3)]
MISSING = (5, 60_000)


def build(root, *, name="sub-01_NSD", train=TRAIN, test=TEST, seed=0):
    """Write a person's file and the pictures; return the betas by trial, in the order of the file."""
    rng = np.random.default_rng(seed)
    (root / "stimuli").mkdir(parents=True, exist_ok=True)
    for picture in (*train, *test):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(root / "stimuli" / picture)
    person, found = name.partition("_crc32")[0], {}
    with h5py.File(root / f"{name}.hdf5", "w") as file:
        file.attrs["subjectID"], file.attrs["dataset_name"] = "sub-01", "NaturalScenesDataset"
        ceilings = file.create_group("noiseceilings", track_order=True)
        ceilings[f"{person}_phase-test_n-1"] = np.zeros(BRAIN)
        group = file.create_group("betas", track_order=True)
        for phase, pictures, n in (("test", test, 3), ("train", train, 1)):
            for picture in pictures:
                for rep in range(n):
                    beta = rng.standard_normal(BRAIN)
                    key = f"{person}_stimulus-{picture.rpartition('.')[0]}_phase-{phase}_rep-{rep}"
                    stored = group.create_dataset(key, data=beta)
                    stored.attrs["nan_indices"] = np.array(MISSING if rep == 1 else (), np.int64)
                    stored.attrs["phase"], stored.attrs["repetition"] = phase, rep
                    stored.attrs["presented_stimulus_filename"] = picture
                    found[key] = beta
        file["nan_indices_all"] = np.array(MISSING)
    return found
