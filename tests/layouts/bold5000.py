"""A small tree in the layout of BOLD5000's release 2.0."""

import nibabel as nib
import numpy as np
from PIL import Image

from neuroenc.datasets import bold5000

SHAPE, VOXELS = (4, 5, 3), 3


def build(root, monkeypatch, *, subject="CSI4", seed=0):
    """Write two short sessions of a subject; return the betas of its first region."""
    monkeypatch.setattr(bold5000, "N_SESSIONS", dict.fromkeys(bold5000.N_SESSIONS, 2))
    monkeypatch.setattr(bold5000, "PER_RUN", 2)
    rng = np.random.default_rng(seed)
    n = int(bold5000.runs_of(subject).sum()) * 2  # 10 + 9 runs of two
    names = [f"COCO_train{i:03d}.jpg" if i % 3 else f"airpört{i}.jpg" for i in range(n - 4)]
    names += [f"rep_{names[0]}", names[1], names[1], names[2]]
    root.mkdir(exist_ok=True)
    (root / f"{subject}_imgnames.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for folder in bold5000.FOLDERS:
        (root / bold5000.PICTURES / folder).mkdir(parents=True)
    for name in {n.removeprefix("rep_") for n in names}:
        folder = "COCO" if name.startswith("COCO") else "Scene"
        picture = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        picture.save(root / bold5000.PICTURES / folder / name)
    first = None
    place = root / "BOLD5000_GLMsingle_ROI_betas/py"
    place.mkdir(parents=True)
    for side in ("LH", "RH"):
        for region in bold5000.REGIONS:
            betas = rng.standard_normal((n, VOXELS)).astype("f4")
            first = betas if first is None else first
            np.save(place / f"{subject}_{bold5000.BETAS}_allses_{side}{region}.npy", betas)
    mask = np.zeros(SHAPE, "u1")
    mask[1:3, 1:3, 1] = 1
    nib.save(nib.Nifti1Image(mask, np.eye(4)), root / f"{subject}_brainmask.nii.gz")
    for session, runs in enumerate(bold5000.runs_of(subject), 1):
        volume = rng.standard_normal((*SHAPE, 2 * runs)).astype("f4")
        path = root / f"{subject}_{bold5000.BETAS}_ses-{session:02d}.nii.gz"
        nib.save(nib.Nifti1Image(volume, np.eye(4)), path)
    return first
