"""The sessions beside NSD's own, in its tree: NSD-synthetic and NSD-imagery."""

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import scipy.io
from PIL import Image

PREPARATION = "betas_fithrf_GLMdenoise_RR"
ORDER = (
    "visA",
    "attA",
    "imgA_1",
    "visB",
    "attB",
    "imgB_1",
    "visC",
    "attC",
    "imgC_1",
    "imgA_2",
    "imgB_2",
    "imgC_2",
)
CUES = {
    "A": {"H": "bar_000.0deg_450L_43W.png", "R": "bar_045.0deg_450L_43W.png", "V": "bar_090.0deg_450L_43W.png",
          "L": "bar_135.0deg_450L_43W.png", "P": "crs_000.0deg_450L_43W.png", "E": "crs_045.0deg_450L_43W.png"},
    "B": {"W": "shared0385_nsd28752.png", "K": "shared0413_nsd30857.png", "B": "shared0741_nsd53882.png",
          "C": "shared0842_nsd61178.png", "D": "shared0907_nsd65873.png", "T": "shared0000_nsd00000.png"},
    "C": {"S": "stripes", "Z": "zebra", "M": "mammal", "Y": "yellow", "N": "banana", "F": "fruit"},
}  # fmt: skip


def write_betas(root, subject, experiment, percent, *, surface=True):
    """Write betas, (trials, x, y, z) in percent, in both spaces; the surface takes voxels as the tree says."""
    folder = root / f"nsddata_betas/ppdata/subj{subject}/func1pt8mm/{experiment}{PREPARATION}"
    folder.mkdir(parents=True)
    stored = np.round(percent * 300).astype(np.int16)
    with h5py.File(folder / f"betas_{experiment}.hdf5", "w") as file:
        file.create_dataset(
            "betas", data=stored.transpose(0, 3, 2, 1), compression="gzip", compression_opts=1
        )
    if not surface:
        return
    folder = root / f"nsddata_betas/ppdata/subj{subject}/fsaverage/{experiment}{PREPARATION}"
    folder.mkdir(parents=True)
    for side in ("lh", "rh"):
        place = root / f"nsddata/ppdata/subj{subject}/transforms/{side}.func1pt8mm-to-fsaverage.mgz"
        voxel = np.asarray(nib.load(place).dataobj).reshape(-1, 3)
        inside = np.isfinite(voxel).all(1)
        i, j, k = np.where(inside[:, None], voxel - 1, 0).round().astype(int).T
        data = np.where(inside, stored[:, i, j, k] / 300, 0).T.astype(np.float32)
        nib.save(
            nib.freesurfer.MGHImage(data[:, None, None], np.eye(4)), folder / f"{side}.betas_{experiment}.mgh"
        )


def synthetic(root, pictures, own, percent, order, *, subject="01", **options):
    """Write NSD-synthetic: square pictures in the middle of wide ones, in linear light; order is from 0."""
    stimuli, design = (
        root / p for p in ("nsddata_stimuli/stimuli/nsdsynthetic", "nsddata/experiments/nsdsynthetic")
    )
    for folder in (stimuli, design):
        folder.mkdir(parents=True, exist_ok=True)
    for name, shown in (("stimuli", pictures), (f"colorstimuli_subj{subject}", own)):
        n, side = shown.shape[:2]
        wide = np.full((n, side, 2 * side, 3), 90, np.uint8)
        wide[:, :, side // 2 : side // 2 + side] = np.round((shown / 255) ** 2 * 255)
        with h5py.File(stimuli / f"nsdsynthetic_{name}.hdf5", "w") as file:
            file.create_dataset("imgBrick", data=wide, chunks=(1, side, 2 * side, 3), compression="gzip")
    scipy.io.savemat(design / "nsdsynthetic_expdesign.mat", {"masterordering": order[None] + 1.0})
    n = len(pictures) + len(own)
    kind = np.where(np.arange(n) < len(pictures), "Noise", "Chromatic noise")
    pd.DataFrame({
        "Image number": np.arange(1, n + 1), "Image": [f"p_{i}" for i in range(n)], "Image class": kind,
    }).to_csv(design / "nsdsyntheticimageinformation.csv", index=False)  # fmt: skip
    write_betas(root, subject, "nsdsynthetic", percent, **options)


def imagery(root, percent, *, subject="01", order=ORDER, seed=0, **options):
    """Write NSD-imagery, runs in the given order; return cues of the 720 betas ('' of attention)."""
    rng = np.random.default_rng(seed)
    design, behaviour = root / "nsddata/experiments/nsdimagery", root / "nsddata/bdata/nsdimagery"
    behaviour.mkdir(parents=True, exist_ok=True)
    cells, cues = np.empty((1, 12), object), []
    for place, run in enumerate(order):
        kind = run[3]
        shown = rng.permutation(np.repeat(list(CUES[kind]), 8))
        first = 12 * "ABC".index(kind)
        column = np.array([first + list(CUES[kind]).index(c) for c in shown])
        if run[:3] == "vis":  # targets that the cue says are columns of their own
            column += 6 * (rng.random(48) < 0.5)
        table = pd.DataFrame({
            "SUBJECT": int(subject), "SESSION": 1, "RUN": place + 1, "TRIAL": np.arange(1, 49),
            "CONDITION": shown, "CUE": rng.permutation(shown),
        })  # fmt: skip
        table.to_csv(behaviour / f"nsdimagery_subj{subject}_{run}.tsv", sep="\t", index=False)
        onset = np.arange(48) * 4 + 12
        cells[0, place] = np.zeros((220, 36))
        cells[0, place][onset, column] = 1
        if run[:3] == "att":
            cells[0, place][onset + 3, column + 6] = 1
        cues += [""] * 96 if run[:3] == "att" else shown.tolist()
    for kind, pairs in CUES.items():
        folder = design / f"rawtargetimages/set{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = np.array([[i + 1, t, c] for i, (c, t) in enumerate(pairs.items())], object)
        scipy.io.savemat(design / f"{kind}_pair_list.mat", {"pair_list": rows})
        for name in pairs.values() if kind != "C" else ():
            Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8)).save(folder / name)
    scipy.io.savemat(design / "designmatrixGLMsingle.mat", {"stimulus": cells})
    write_betas(root, subject, "nsdimagery", percent, **options)
    return np.array(cues)
