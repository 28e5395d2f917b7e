"""A small tree in the layout of THINGS-fMRI's tables; pandas itself writes the HDF5."""

import numpy as np
import pandas as pd
from PIL import Image

N_TRAIN, N_TEST, REPEATS, VOXELS = 8, 3, 4, 5000


def build(root, *, subject="01", seed=0):
    """Write tables, betas and pictures; return the betas, (voxels, trials)."""
    rng = np.random.default_rng(seed)
    (root / "betas_csv").mkdir(parents=True)
    shown = [("train", f"dog_{i // 2}", f"dog_{i // 2}_{i:02d}s.jpg") for i in range(N_TRAIN)]
    shown += [("test", f"çup{i}", f"çup{i}_01b.jpg") for i in range(N_TEST)] * REPEATS
    for _, concept, name in set(shown):
        (root / "images" / concept).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 255, (10, 10, 3), dtype=np.uint8))
        picture.save(root / "images" / concept / name)
    n = len(shown)
    pd.DataFrame({
        "trial_type": [t for t, _, _ in shown], "session": 1 + np.arange(n) // 10, "run": 1, "subject_id": 1,
        "trial_id": np.arange(n), "stimulus": [s for _, _, s in shown], "concept": [c for _, c, _ in shown],
    }).to_csv(root / f"betas_csv/sub-{subject}_StimulusMetadata.csv")  # fmt: skip
    voxels = pd.DataFrame({
        "subject_id": 1, "voxel_id": np.arange(VOXELS), "voxel_x": 1, "voxel_y": 2, "voxel_z": np.arange(VOXELS),
        "nc_singletrial": 12.0, "nc_testset": 60.0, "V1": (np.arange(VOXELS) % 1000 == 7).astype(int),
        "lFFA": (np.arange(VOXELS) % 2500 == 4).astype(float), "prf-size": rng.random(VOXELS),
    })  # fmt: skip
    voxels.to_csv(root / f"betas_csv/sub-{subject}_VoxelMetadata.csv")
    betas = rng.standard_normal((VOXELS, n)).astype("f4")
    table = pd.DataFrame(betas, columns=[f"t{i}" for i in range(n)])
    table.insert(0, "voxel_id", np.arange(VOXELS))
    table.to_hdf(root / f"betas_csv/sub-{subject}_ResponseData.h5", key="ResponseData", mode="w")
    return betas
