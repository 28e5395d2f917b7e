"""A small tree in the layout of BOLD5000's release 2.0."""

import json

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
    labels = root / "BOLD5000_Stimuli/Image_Labels"
    labels.mkdir()
    (labels / "imagenet_final_labels.txt").write_text("n01440764 tench, Tinca tinca\nn02085936 Maltese dog\n")
    numbers = [int(n[10:13]) for n in names if n.startswith("COCO")]
    captions = [
        {"image_id": i, "id": k, "caption": f"Picture {i}, said {k}.\n"}
        for i in set(numbers)
        for k in range(6)
    ]
    (labels / "captions_train2014.json").write_text(json.dumps({"annotations": captions}))
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


def build_openneuro(root, monkeypatch, *, subject="CSI2", seed=0, tr=2.0):
    """Write ds001499 as it is: volumes that answer the picture two volumes after its onset; misnamed masks.

    Returns
    -------
    names, amplitude : lists
        Of the trials.
    """
    monkeypatch.setattr(bold5000, "N_SESSIONS", dict.fromkeys(bold5000.N_SESSIONS, 1))
    monkeypatch.setattr(bold5000, "PER_RUN", 4)
    rng = np.random.default_rng(seed)
    spm = root / f"derivatives/spm/sub-{subject}"
    spm.mkdir(parents=True)
    grid = (6, 6, 4)
    misnamed = {"LHLOC": "LHLO", "RHLOC": "RHLO", "RHRSC": "RHRRSC"}
    for number, region in enumerate(bold5000.REGIONS):
        for side in ("LH", "RH"):
            mask = np.zeros(grid, "u1")
            mask[number, slice(0, 3) if side == "LH" else slice(3, 6), 1] = 1
            name = misnamed.get(side + region, side + region)
            nib.save(
                nib.Nifti1Image(mask, np.diag([2.0, 2, 2, 1])), spm / f"sub-{subject}_mask-{name}.nii.gz"
            )
    names, amplitude = [], []
    for run in range(1, int(bold5000.runs_of(subject)[0]) + 1):
        stem = f"sub-{subject}_ses-01_task-5000scenes_run-{run:02d}"
        folder = f"sub-{subject}/ses-01/func"
        n = 4 * 5 + 6
        data = rng.normal(1000, 1, (*grid, n)) + 3 * np.arange(n)  # a drift
        rows = []
        for i in range(4):
            onset, height = 6.0 + 10 * i, float(rng.normal(0, 30))
            at = int(onset / tr)
            data[0, :, 1, at + 2 : at + 4] += height
            rows.append(
                (
                    onset,
                    1.0,
                    f"{'rep_' if i == 3 and run > 1 else ''}scëne{(run - 1) * 4 + i if i < 3 else 0}.jpg",
                )
            )
            names.append(rows[-1][2].removeprefix("rep_"))
            amplitude.append(height)
        for base in (root / folder, root / "derivatives/fmriprep" / folder):
            base.mkdir(parents=True, exist_ok=True)
        table = "onset\tduration\tImgName\n" + "".join(f"{a}\t{b}\t{c}\n" for a, b, c in rows)
        (root / folder / f"{stem}_events.tsv").write_text(table, encoding="utf-8")
        image = nib.Nifti1Image(data.astype("f4"), np.diag([2.0, 2, 2, 1]))
        image.header.set_zooms((2.0, 2.0, 2.0, tr))
        bold = f"{stem}_bold_space-T1w_preproc.nii.gz"
        nib.save(image, root / "derivatives/fmriprep" / folder / bold)
    (root / bold5000.PICTURES / "Scene").mkdir(parents=True)
    for name in set(names):
        Image.fromarray(np.zeros((8, 8, 3), "u1")).save(root / bold5000.PICTURES / "Scene" / name)
    return names, amplitude
