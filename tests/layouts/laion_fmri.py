"""A small tree in the layout of LAION-fMRI: betas of GLMsingle, masks of regions, encoded pictures."""

import io
import json

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

GRID, AFFINE = (5, 4, 3), np.diag([1.8, 1.8, 1.8, 1])
SHARED = [f"shared_12rep_LAION_cluster_{i}_i0.jpg" for i in range(6)]
OOD = ["shared_4rep_OOD_gabor_1.png", "shared_4rep_OOD_gaudy_1.jpg", "shared_4rep_OOD_shape_2.png"]
UNIQUE = {"01": [f"unique_LAION_cluster_{i}_p01.jpg" for i in range(8)],
          "06": [f"unique_LAION_cluster_{i}_p02.jpg" for i in range(8)]}  # fmt: skip
NAMES = [*SHARED, *UNIQUE["01"], *OOD, *UNIQUE["06"]]
REGIONS = {
    "retinotopy/V1v": (slice(0, 2), slice(0, 2)), "retinotopy/V1d": (slice(2, 3), slice(0, 2)),
    "face/FFA-1": (slice(3, 5), slice(1, 3)),
}  # fmt: skip
OUTSIDE = (0, 0, 0)  # not fitted, though a region has it
CEILING = 40.0  # percent


def picture(i):
    """A square of one grey; the last OOD picture is transparent."""
    grey = Image.new("RGB", (8, 8), (10 * i, 10 * i, 10 * i))
    return Image.new("RGBA", (8, 8), (0, 0, 0, 0)) if NAMES[i] == OOD[-1] else grey


def build(root, *, subjects=("01",), sessions=2, seed=0):
    """Write the tree; return the betas of each subject and session (x, y, z, trial) and the pictures shown."""
    rng = np.random.default_rng(seed)
    (root / "stimuli").mkdir(parents=True)
    kinds = {name: "OOD" if name in OOD else "LAION" for name in NAMES}
    pd.DataFrame({
        "image_name": NAMES, "dataset": kinds.values(), "participant": "", "n_reps": 4,
        "unique_or_shared": [name.partition("_")[0] for name in NAMES],
    }).to_csv(root / "stimuli/task-images_metadata.csv", index=False)  # fmt: skip
    with h5py.File(root / "stimuli/task-images_stimuli.h5", "w") as file:
        stored = file.create_dataset("images", len(NAMES), dtype=h5py.vlen_dtype(np.uint8))
        for i, name in enumerate(NAMES):
            data = io.BytesIO()
            picture(i).save(data, "PNG" if name.endswith("png") else "JPEG")
            stored[i] = np.frombuffer(data.getvalue(), np.uint8)
    rows = [(name, k, "human", f"{k} of {name}") for name in NAMES for k in (2, 1)]
    rows.append((NAMES[0], 0, "ai", "a machine's"))
    columns = ["image_name", "caption_idx", "source", "caption"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "stimuli/task-images_desc-captions.csv", index=False)
    return {s: _subject(root, s, sessions, rng) for s in subjects}


def _subject(root, subject, sessions, rng):
    def image(values, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, AFFINE), path)

    base = root / f"derivatives/glmsingle-tedana/sub-{subject}"
    fitted = np.full(GRID, 0.5, "f4")
    fitted[OUTSIDE] = 0
    start = f"sub-{subject}_task-images_space-T1w_"
    image(fitted, base / f"{start}stat-rsquare_desc-R2mean_statmap.nii.gz")
    image(fitted * 2 * CEILING, base / f"{start}desc-Noiseceiling12rep_statmap.nii.gz")
    for place, where in REGIONS.items():
        category, label = place.split("/")
        mask = np.zeros(GRID, np.uint8)
        mask[where] = 1
        name = f"sub-{subject}_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
        image(mask, root / f"derivatives/rois/sub-{subject}/{category}/{name}")
    found = {}
    for n in range(1, sessions + 1):
        shown = rng.permutation([*SHARED, *UNIQUE[subject], *OOD, *SHARED[: 2 * n]])
        betas = rng.standard_normal((*GRID, len(shown))).astype("f4") * n + 3 * n
        name = f"sub-{subject}_ses-{n:02d}_task-images_"
        folder = base / f"ses-{n:02d}/func"
        image(betas, folder / f"{name}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz")
        pd.DataFrame({
            "session": f"ses-{n:02d}", "run": [f"run-{1 + i // 10:02d}" for i in range(len(shown))],
            "beta_index": range(len(shown)), "label": shown,
        }).to_csv(folder / f"{name}desc-SingletrialBetas_trials.tsv", sep="\t", index=False)  # fmt: skip
        found[n] = betas, shown
    return found


def add_split(root, pool, name, train, test):
    """Write one of the dataset's own splits as its package brings it."""
    path = root / f"splits/{pool}/{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    one = {"variant_id": 0, "train_ids": list(train), "test_ids": list(test)}
    about = {"name": name, "pool": pool, "splitter": "", "params": {}}
    path.write_text(json.dumps(about | {"n_train": len(train), "n_test": len(test), "variants": [one]}))
    return path
