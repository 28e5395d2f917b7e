"""A small tree in the layout of the Algonauts 2023 challenge, with its pickled dictionaries."""

import numpy as np
from PIL import Image

N, VERTICES = 7, {"lh": 12, "rh": 15}
REGIONS = {"prf-visualrois": ["Unknown", "V1v", "V1d"], "floc-faces": ["Unknown", "OFA", "FFA-1"],
           "floc-bodies": ["Unknown", "EBA"], "floc-places": ["Unknown", "OPA"],
           "floc-words": ["Unknown", "OWFA"], "streams": ["Unknown", "early", "ventral"]}  # fmt: skip


def build(root, *, subjects=("01", "02"), seed=0):
    """Write pictures, responses and masks; return the responses of the first subject, left."""
    rng = np.random.default_rng(seed)
    first = None
    for subject in subjects:
        folder = root / f"subj{subject}"
        pictures = folder / "training_split/training_images"
        for sub in ("training_split/training_fmri", "training_split/training_images", "roi_masks"):
            (folder / sub).mkdir(parents=True)
        for i in range(N):  # NSD's number counts from 0; subjects share the first picture
            nsd = 13 if i == 0 else 100 * int(subject) + i
            picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
            picture.save(pictures / f"train-{i + 1:04d}_nsd-{nsd:05d}.png")
        for side, n in VERTICES.items():
            responses = rng.standard_normal((N, n)).astype("f4")
            first = responses if first is None else first
            np.save(folder / f"training_split/training_fmri/{side}_training_fmri.npy", responses)
            mask = np.zeros(163_842, int)
            mask[rng.choice(163_842, n, replace=False)] = 1
            np.save(folder / f"roi_masks/{side}.all-vertices_fsaverage_space.npy", mask)
            for atlas, names in REGIONS.items():
                numbers = rng.integers(0, len(names), n)
                np.save(folder / f"roi_masks/{side}.{atlas}_challenge_space.npy", numbers)
        for atlas, names in REGIONS.items():
            np.save(folder / f"roi_masks/mapping_{atlas}.npy", dict(enumerate(names)), allow_pickle=True)
    return first
