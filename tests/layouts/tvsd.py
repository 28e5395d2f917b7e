"""A small tree in the layout of TVSD: MATLAB 7.3 files (HDF5, axes reversed, text by reference)."""

import h5py
import numpy as np
import scipy.io
from PIL import Image

CONCEPTS, EACH, N_TEST, REPEATS, TIMES = ("aardvark", "zebra_crossing", "çup"), 4, 3, 4, np.arange(-20, 41)


def _struct(file, name, paths):
    group = file.create_group(name)
    refs = file.require_group("#refs#")
    kind = h5py.special_dtype(ref=h5py.Reference)
    for field, texts in (("class", [p.partition("\\")[0] for p in paths]), ("things_path", paths)):
        data = group.create_dataset(field, (1, len(texts)), dtype=kind)
        for i, text in enumerate(texts):
            codes = np.array([[ord(c)] for c in text], np.uint16)
            data[0, i] = refs.create_dataset(f"{name}{field}{i}", data=codes).ref


def build(root, *, monkey="N", seed=0):
    """Write lists, pictures, averages and time courses; return them as read in the order of the arrays.

    Returns train (picture, electrode), test (repeat, picture, electrode), and of the trials the activity (time,
    trial, electrode), the pictures (training from 0, then test) and days.
    """
    rng = np.random.default_rng(seed)
    folder = root / f"monkey{monkey}"
    (folder / "_logs").mkdir(parents=True)
    train = [f"{c}\\{c}_{i + 1:02d}s.jpg" for c in CONCEPTS for i in range(EACH)]
    test = [f"{c}\\{c}_{EACH + 1:02d}s.jpg" for c in CONCEPTS[:N_TEST]]
    with h5py.File(folder / "_logs/things_imgs.mat", "w", userblock_size=512) as file:
        _struct(file, "train_imgs", train)
        _struct(file, "test_imgs", test)
    for name in train + test:
        path = root / "images" / name.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (10, 10, 3), np.uint8)).save(path)
    averages = rng.standard_normal((len(train), 1024)), rng.standard_normal((REPEATS, N_TEST, 1024))
    with h5py.File(folder / "THINGS_normMUA.mat", "w", userblock_size=512) as file:
        file["train_MUA"], file["test_MUA_reps"] = averages
        file["test_MUA"] = averages[1].mean(0)
    order = rng.permutation(1024)  # of the array's electrode p in the recording system
    scipy.io.savemat(folder / "_logs/1024chns_mapping_20220105.mat", {"mapping": order[None] + 1.0})
    picture = np.concatenate([
        rng.permutation(np.concatenate([half, np.repeat(np.arange(N_TEST) + len(train), REPEATS // 2)]))
        for half in np.array_split(rng.permutation(len(train)), 2)
    ])  # fmt: skip
    n, side = len(picture), picture >= len(train)
    day = np.repeat([1, 2], [n // 2, n - n // 2])
    table = np.array([
        np.arange(n) + 1, np.where(side, 0, picture + 1), np.where(side, picture - len(train) + 1, 0),
        np.ones(n), np.arange(n) % 4 + 1, day,
    ], float)  # fmt: skip
    activity = rng.standard_normal((len(TIMES), n, 1024)).astype("f4") + day[:, None] * 3
    with h5py.File(folder / "THINGS_MUA_trials.mat", "w", userblock_size=512) as file:
        shuffled = np.empty_like(activity)
        shuffled[..., order] = activity
        file["ALLMUA"], file["ALLMAT"], file["tb"] = shuffled, table, TIMES[:, None].astype(float)
    return *averages, activity, picture, day
