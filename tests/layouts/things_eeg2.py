"""A small tree in the layout of THINGS-EEG2, with its pickled arrays."""

import numpy as np
from PIL import Image

N_TRAIN, N_TEST, REPEATS, CHANNELS, TIMES = 6, 3, (2, 4), ["Pz", "O1", "Oz"], np.arange(-20, 80, 10) / 100


def build(root, *, subjects=("01",), seed=0):
    """Write pictures, their table and epochs; return the epochs of the training pictures."""
    rng = np.random.default_rng(seed)
    table = {}
    for part, folder, n in (("train", "training_images", N_TRAIN), ("test", "test_images", N_TEST)):
        concepts = [
            f"{i // 2 + 1:05d}_{'aardvark' if part == 'train' else 'zébra'}{i // 2}" for i in range(n)
        ]
        files = [f"{part}_{i:02d}b.jpg" for i in range(n)]
        for concept, file in zip(concepts, files, strict=True):
            place = root / "image_set" / folder / concept
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(place / file)
        table |= {f"{part}_img_concepts": concepts, f"{part}_img_files": files}
    np.save(root / "image_set/image_metadata.npy", table, allow_pickle=True)
    epochs = None
    for subject in subjects:
        place = root / f"preprocessed_data/sub-{subject}"
        place.mkdir(parents=True)
        for part, n, repeats in (("training", N_TRAIN, REPEATS[0]), ("test", N_TEST, REPEATS[1])):
            values = rng.standard_normal((n, repeats, len(CHANNELS), len(TIMES)))
            epochs = values if epochs is None else epochs
            data = {"preprocessed_eeg_data": values, "ch_names": CHANNELS, "times": TIMES}
            np.save(place / f"preprocessed_eeg_{part}.npy", data, allow_pickle=True)
    return epochs
