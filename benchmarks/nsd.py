"""Reading one NSD session of the true shape against a plain sequential read: `python benchmarks/nsd.py`.

750 volumes of 81 x 104 x 83 int16, as HDF5 (axes as MATLAB leaves them, uncompressed) and as gzipped NIfTI; 15,724
voxels are kept. The plain read takes the same file from its first byte to its last through the same library and
keeps nothing. Each reading has a process of its own and reports its peak of memory. Then all forty sessions of a
subject (links to the one file) are prepared and written. Writes
benchmarks/results/nsd.json.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import scipy.io

from neuroenc.arrays import save
from neuroenc.config import Dataset
from neuroenc.datasets.nsd import load_responses
from neuroenc.datasets.nsd_spaces import Volume
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND = "python benchmarks/nsd.py"
SHAPE, TRIALS, VOXELS = (81, 104, 83), 750, 15_724


def build(root: Path) -> None:
    betas = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas"
    roi = root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    for folder in (betas, roi):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    mask = np.full(np.prod(SHAPE), -1, np.int16)
    mask[:200_000] = 0
    mask[rng.choice(200_000, VOXELS, replace=False)] = 1
    for path in (betas / "ncsnr.nii.gz", roi / "nsdgeneral.nii.gz"):
        nib.save(nib.Nifti1Image(mask.reshape(SHAPE), np.eye(4)), path)
    data = rng.normal(0, 300, (TRIALS, *SHAPE[::-1])).astype(np.int16)
    with h5py.File(betas / "betas_session01.hdf5", "w") as file:
        file["betas"] = data
    image = nib.Nifti1Image(data.T, np.eye(4))
    with gzip.open(betas / "betas_session02.nii.gz", "wb", compresslevel=1) as file:
        file.write(image.to_bytes())


def design(root: Path) -> None:
    """Write the tables of the experiment, and link forty sessions to the first."""
    rng = np.random.default_rng(1)
    folder = root / "nsddata/experiments/nsd"
    folder.mkdir(parents=True)
    order = np.concatenate(
        [np.tile(np.arange(1, 1001), 3), rng.permutation(np.repeat(np.arange(1001, 10001), 3))]
    )
    scipy.io.savemat(folder / "nsd_expdesign.mat", {
        "masterordering": rng.permutation(order)[None], "sharedix": np.arange(1, 1001)[None],
        "subjectim": np.arange(1, 10001)[None].repeat(8, 0),
    })  # fmt: skip
    betas = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas"
    (betas / "betas_session02.nii.gz").unlink()
    for session in range(2, 41):
        (betas / f"betas_session{session:02d}.hdf5").hardlink_to(betas / "betas_session01.hdf5")
    roi = root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    for side in ("lh", "rh"):
        shutil.copyfile(roi / "nsdgeneral.nii.gz", roi / f"{side}.nsdgeneral.nii.gz")


def whole(root: Path) -> dict[str, float]:
    """Prepare and write all sessions."""
    options = Dataset(name="nsd", root=str(root), preparation="betas")
    start = time.perf_counter()
    save(load_responses(options, "01"), root / "responses.nc")
    return {"seconds": time.perf_counter() - start, "mebibytes": peak()}


def peak() -> float:
    """Largest resident memory of this process since it was last reset, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(v for v in lines if v.startswith("VmHWM")).split()[1]) / 1024


def measure(root: Path, form: str, how: str) -> dict[str, float]:
    betas = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas"
    session = 1 if form == "hdf5" else 2
    path = next(betas.glob(f"betas_session0{session}.*"))
    path.read_bytes()[:1]  # both from the page cache
    reader = Volume(root, "01", betas)
    mask = reader.mask("nsdgeneral")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    if how == "neuroenc":
        assert reader.betas(session, mask)[0].shape == (TRIALS, VOXELS)
    elif form == "hdf5":
        with h5py.File(path) as file:
            for i in range(0, TRIALS, 50):
                file["betas"][i : i + 50]
    else:
        with gzip.open(path, "rb") as file:
            while file.read(2**24):
                pass
    return {"seconds": time.perf_counter() - start, "mebibytes": peak()}


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        for form in ("hdf5", "nii.gz"):
            found = {}
            for how in ("plain", "neuroenc"):
                runs = [
                    json.loads(subprocess.check_output([sys.executable, __file__, folder, form, how]))
                    for _ in range(2)
                ]
                found[how] = min(runs, key=lambda r: r["seconds"])
            for name, value, unit in (
                ("plain sequential read", found["plain"]["seconds"], "s"),
                ("neuroenc, voxels of nsdgeneral", found["neuroenc"]["seconds"], "s"),
                (
                    "speed against the plain read",
                    found["plain"]["seconds"] / found["neuroenc"]["seconds"],
                    "ratio",
                ),
                ("peak memory of the process", found["neuroenc"]["mebibytes"], "MiB"),
            ):
                rows.append(row(name, value, unit=unit, n=TRIALS, command=COMMAND, seed=0, form=form))
                print(f"{form:7s} {name:34s} {value:9.2f} {unit}", flush=True)
        design(Path(folder))
        done = json.loads(subprocess.check_output([sys.executable, __file__, folder]))
        for name, value, unit in (("forty sessions, read, scaled, written", done["seconds"], "s"),
                                  ("peak memory of that process", done["mebibytes"], "MiB")):  # fmt: skip
            rows.append(row(name, value, unit=unit, n=40 * TRIALS, command=COMMAND, seed=0, form="hdf5"))
            print(f"hdf5    {name:34s} {value:9.2f} {unit}", flush=True)
    write_json({"label": "nsd", "rows": rows}, "benchmarks/results/nsd.json")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run = measure if len(sys.argv) > 2 else whole
        print(json.dumps(run(Path(sys.argv[1]), *sys.argv[2:])))
    else:
        main()
