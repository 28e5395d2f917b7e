"""What GLMsingle 1.2 writes, key by key, of an experiment with known betas."""

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

GRID, N_RUNS, N_CONDITIONS, TR = (4, 3, 2), 3, 6, 2.0
AFFINE = np.diag([2.0, 2, 2, 1])
SILENT = (0, 0, 0)  # a voxel without signal


def designs(rng, n_conditions=N_CONDITIONS):
    """A design of each run: every condition twice."""
    found = []
    for _ in range(N_RUNS):
        design = np.zeros((8 * n_conditions + 12, n_conditions))
        for i, c in enumerate(rng.permutation(np.repeat(np.arange(n_conditions), 2))):
            design[2 + 4 * i, c] = 1
        found.append(design)
    return found


def design_info(design, sessions):
    """The dictionary of DESIGNINFO.npy."""
    per_run = [int(d.sum()) for d in design]
    order = [c for d in design for c in np.argmax(d[d.any(1)], 1)]
    single, at = [], 0
    for d in design:
        one = np.zeros((len(d), sum(per_run)))
        for volume in np.flatnonzero(d.any(1)):
            one[volume, at], at = 1, at + 1
        single.append(one)
    return {
        "design": design, "stimdur": 1.0, "tr": TR, "designSINGLE": single, "stimorder": order,
        "numtrialrun": per_run, "condcounts": [np.int64(order.count(c)) for c in range(design[0].shape[1])],
        "condinruns": [np.int64(N_RUNS)] * design[0].shape[1], "endbuffers": [np.float64(20.0)] * N_RUNS,
        "params": {
            "wantlibrary": 1, "wanthdf5": 0, "sessionindicator": np.array([sessions]), "hrfmodel": "optimise",
            "brainR2": [], "extra_regressors": [False], "fracs": np.linspace(1, 0.05, 20), "pcstop": 1.05,
        },
    }  # fmt: skip


def outputs(betas, rng):
    """The dictionaries of types B, C and D; C and B are D with noise."""
    one = {"HRFindex": rng.integers(0, 20, GRID), "R2": rng.uniform(0, 50, GRID).astype("f4"),
           "meanvol": np.full(GRID, 100, "f4")}  # fmt: skip
    noise = {
        "noisepool": rng.random(GRID) > 0.5,
        "pcnum": 2,
        "pcregressors": [np.ones((60, 11))] * N_RUNS,
    }
    noisy = betas + rng.standard_normal(betas.shape).astype("f4")
    return {
        "TYPEB_FITHRF": one | {"betasmd": noisy + 1},
        "TYPEC_FITHRF_GLMDENOISE": one | noise | {"betasmd": noisy},
        "TYPED_FITHRF_GLMDENOISE_RR": one | noise | {
            "betasmd": betas, "FRACvalue": rng.uniform(0, 1, GRID).astype("f4"),
        },
    }  # fmt: skip


def write(folder, found, *, hdf5):
    for name, values in found.items():
        if not hdf5:
            np.save(folder / f"{name}.npy", values)
            continue
        with h5py.File(folder / f"{name}.hdf5", "w") as file:
            for key, value in values.items():
                if isinstance(value, (int, float)):
                    file.attrs[key] = value
                else:
                    file[key] = np.stack(value) if isinstance(value, list) else value


def build(
    root,
    *,
    subject="01",
    hdf5=False,
    folder=None,
    events=False,
    sessions=(1, 1, 2),
    seed=0,
    table=True,
    n_conditions=N_CONDITIONS,
):
    """Write a subject; return the condition of each trial and the betas (x, y, z, trial)."""
    rng = np.random.default_rng(seed)
    place = root / (folder if folder is not None else f"sub-{subject}")
    place.mkdir(parents=True, exist_ok=True)
    design = designs(rng, n_conditions)
    info = design_info(design, sessions)
    order = np.array(info["stimorder"])
    grey = rng.permutation(np.linspace(20, 235, n_conditions))
    tuning = rng.choice([-1.0, 1.0], GRID)[..., None] * (grey - grey.mean()) / grey.std()
    betas = (tuning[..., order] + 0.2 * rng.standard_normal((*GRID, len(order)))).astype("f4")
    betas[SILENT] = np.nan
    np.save(place / "DESIGNINFO.npy", info)
    write(place, outputs(betas, rng), hdf5=hdf5)
    mask = np.ones(GRID, "u1")
    mask[:, 0] = 0
    v1 = np.zeros(GRID, "u1")
    v1[1, 1:, 0] = 1
    for name, values in (("brainmask", mask), ("V1", v1)):
        nib.save(nib.Nifti1Image(values, AFFINE), place / f"{name}.nii.gz")
    (root / "pictures").mkdir(exist_ok=True)
    files = [f"bild-ä{c}.png" for c in range(n_conditions)]
    for file, level in zip(files, grey, strict=True):
        if not (root / "pictures" / file).exists():
            picture = level + rng.uniform(-20, 20, (8, 8, 3))
            Image.fromarray(picture.astype(np.uint8)).save(root / "pictures" / file)
    if events:
        for run, d in enumerate(design, 1):
            rows = [f"{TR * v + 0.3}\t1\t{files[int(np.argmax(d[v]))]}" for v in np.flatnonzero(d.any(1))]
            rows.insert(1, "8.5\t0\tn/a")  # a key that was pressed
            text = "\n".join(["onset\tduration\tstim_file", *rows]) + "\n"
            (place / f"sub-{subject}_task-x_run-{run}_events.tsv").write_text(text, encoding="utf-8")
    if table:
        sides = ["train"] * (n_conditions - 2) + ["test"] * 2
        rows = [f"p{c},{files[c]},{sides[c]}" for c in range(n_conditions)]
        (root / "stimuli.csv").write_text(
            "\n".join(["stimulus_id,file,split", *rows]) + "\n", encoding="utf-8"
        )
    return order, betas
