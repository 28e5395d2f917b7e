"""A small BIDS dataset and what fMRIPrep makes of it, with known responses."""

import json

import nibabel as nib
import numpy as np
from nilearn.glm.first_level import make_first_level_design_matrix
from PIL import Image

GRID, TR, VOLUMES, START = (3, 4, 2), 2.0, 160, 1.0
AFFINE = np.diag([2.0, 2, 2, 1])
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
N_UNITS = 14  # inside the mask


def mask():
    inside = np.zeros(GRID, "u1")
    inside.ravel()[5 : 5 + N_UNITS] = 1
    return inside


def confounds(rng, n=VOLUMES, unsteady=0):
    """Columns as fMRIPrep names them; differences have no first value."""
    table = {"csf": 500 + rng.standard_normal(n), "white_matter": 600 + rng.standard_normal(n)}
    table["framewise_displacement"] = np.r_[np.nan, rng.random(n - 1)]
    for name in MOTION:
        table[name] = np.cumsum(rng.normal(0, 0.01, n))
        table[f"{name}_derivative1"] = np.r_[np.nan, np.diff(table[name])]
        table[f"{name}_power2"] = table[name] ** 2
        table[f"{name}_derivative1_power2"] = table[f"{name}_derivative1"] ** 2
    for i in range(unsteady):
        table[f"non_steady_state_outlier{i:02d}"] = (np.arange(n) == i).astype(float)
    return table


def write_table(path, table):
    names = list(table)
    rows = zip(*table.values(), strict=True)
    text = [
        "\t".join(names),
        *(
            "\t".join("n/a" if v != v else f"{v:.10g}" if isinstance(v, float) else str(v) for v in row)
            for row in rows
        ),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def write_series(folder, stem, values, *, kinds=("volume", "surface", "cifti"), tr=TR, start=START):
    """Write the units of one run (n_volumes, n_units) in three forms, with their sidecars."""
    folder.mkdir(parents=True, exist_ok=True)
    n = len(values)
    names = []
    if "volume" in kinds:
        inside = mask()
        data = np.zeros((*GRID, n), "f4")
        data[inside > 0] = values.T
        image = nib.Nifti1Image(data, AFFINE)
        image.header.set_zooms((2.0, 2.0, 2.0, tr))
        image.header.set_xyzt_units("mm", "sec")
        names.append(f"{stem}_space-T1w_desc-preproc_bold")
        nib.save(image, folder / f"{names[-1]}.nii.gz")
        nib.save(nib.Nifti1Image(inside, AFFINE), folder / f"{stem}_space-T1w_desc-brain_mask.nii.gz")
    if "surface" in kinds:
        for side, part in (("L", values[:, :8]), ("R", values[:, 8:])):
            arrays = [
                nib.gifti.GiftiDataArray(v.astype("f4"), "NIFTI_INTENT_TIME_SERIES", "NIFTI_TYPE_FLOAT32")
                for v in part
            ]
            meta = nib.gifti.GiftiMetaData(
                {"AnatomicalStructurePrimary": f"Cortex{'Left' if side == 'L' else 'Right'}"}
            )
            names.append(f"{stem}_hemi-{side}_space-fsaverage5_bold")
            nib.save(nib.gifti.GiftiImage(darrays=arrays, meta=meta), folder / f"{names[-1]}.func.gii")
    if "cifti" in kinds:
        inside = np.zeros(GRID, bool)
        inside.ravel()[: N_UNITS - 10] = True
        axis = (nib.cifti2.BrainModelAxis.from_surface(np.arange(6), 8, "CortexLeft")
                + nib.cifti2.BrainModelAxis.from_surface(np.arange(4), 8, "CortexRight")
                + nib.cifti2.BrainModelAxis.from_mask(inside, "thalamus_left", AFFINE))  # fmt: skip
        time = nib.cifti2.SeriesAxis(0, tr, n, "SECOND")
        names.append(f"{stem}_space-fsLR_den-91k_bold")
        nib.save(nib.Cifti2Image(values.astype("f4"), (time, axis)), folder / f"{names[-1]}.dtseries.nii")
    for name in names:
        (folder / f"{name}.json").write_text(
            json.dumps({"RepetitionTime": tr, "StartTime": start, "TaskName": "x"})
        )


def respond(onset, duration, betas, n=VOLUMES):
    """Responses of all units to trials, by nilearn's own design matrix: (n_volumes, n_units)."""
    import pandas as pd

    events = pd.DataFrame(
        {"onset": onset, "duration": duration, "trial_type": [f"t{i:03d}" for i in range(len(onset))]}
    )
    times = START + TR * np.arange(n)
    design = make_first_level_design_matrix(times, events, hrf_model="glover", drift_model=None)
    return design[[f"t{i:03d}" for i in range(len(onset))]].to_numpy() @ betas


def build(root, *, subjects=("01",), sessions=("1",), runs=2, n_trials=12, noise=0.0, same=False, seed=0, n_stimuli=6, moving=20.0, quiet=0,
          kinds=("volume", "surface", "cifti")):  # fmt: skip
    """Write a dataset of pictures.

    Returns
    -------
    dict of subject to (names, betas, expected)
        Of all trials in order: the stimulus, what its response was made with (n_trials, n_units), and the same in
        percent of the mean of its run.
    """
    rng = np.random.default_rng(seed)
    (root / "stimuli").mkdir(parents=True)
    files = [f"bild_ä{i}.png" for i in range(n_stimuli)]
    grey = rng.permutation(np.linspace(20, 235, n_stimuli))
    for file, level in zip(files, grey, strict=True):
        picture = level + rng.uniform(-20, 20, (12, 12, 3))
        Image.fromarray(picture.astype(np.uint8)).save(root / "stimuli" / file)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "small", "BIDSVersion": "1.8.0"}))
    truth = {}
    for subject in subjects:
        tuning = 2 + np.outer((grey - grey.mean()) / grey.std(), rng.choice([-1.0, 1.0], N_UNITS))
        tuning[:, :quiet] = 0  # units that answer to nothing
        found = []
        for session in sessions:
            for run in range(1, runs + 1):
                place = f"sub-{subject}/ses-{session}/func"
                stem = f"sub-{subject}_ses-{session}_task-x_run-{run}"
                order = rng.permutation(np.resize(np.arange(n_stimuli), n_trials))
                onset = (
                    6
                    + np.arange(n_trials) * (TR * VOLUMES - 40) / n_trials
                    + rng.uniform(0, 1, n_trials).round(2)
                )
                betas = np.tile(tuning[0], (n_trials, 1)) if same else tuning[order]
                table = confounds(rng)
                values = 100 + respond(onset, np.ones(n_trials), betas)
                motion = np.column_stack([table[m] for m in MOTION])
                values += motion @ rng.normal(0, moving, (6, N_UNITS))
                values += 3 * np.cos(np.pi / VOLUMES * (np.arange(VOLUMES) + 0.5) * 2)[:, None]
                values += noise * rng.standard_normal(values.shape)
                write_series(root / "derivatives/fmriprep" / place, stem, values, kinds=kinds)
                write_table(
                    root / "derivatives/fmriprep" / place / f"{stem}_desc-confounds_timeseries.tsv", table
                )
                names = [files[i] for i in order]
                write_table(root / place / f"{stem}_events.tsv", {
                    "onset": [*onset, 5.0], "duration": [1.0] * n_trials + [0.0],
                    "trial_type": ["picture"] * n_trials + ["key"], "stim_file": [*names, "n/a"],
                })  # fmt: skip
                found.append((names, betas, 100 * betas / values.mean(0)))
        truth[subject] = (
            [n for f in found for n in f[0]],
            *(np.concatenate([f[k] for f in found]) for k in (1, 2)),
        )
    return truth
