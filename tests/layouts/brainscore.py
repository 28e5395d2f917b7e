"""Small assemblies as BrainIO packs them: a MultiIndex written as plain coordinates, a table, pictures."""

import zipfile

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image


def _pictures(root, stem, table, *, archive, seed=0):
    rng = np.random.default_rng(seed)
    folder = root / stem
    folder.mkdir(parents=True)
    for name in table["filename"]:
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / name)
    if archive:
        with zipfile.ZipFile(root / f"{stem}.zip", "w") as file:
            for path in sorted(folder.iterdir()):
                file.write(path, path.name)
                path.unlink()
        folder.rmdir()
    table.to_csv(root / f"{stem}.csv", index=False)


def _write(assembly, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assembly = assembly.reset_index(list(assembly.indexes))
    encoding = {"data": {"zlib": True, "complevel": 1}}
    assembly.to_dataset(name="data").to_netcdf(path, engine="h5netcdf", encoding=encoding)


def majaj(root, *, n=6, repeats=3, archive=False, seed=0, key="image_id"):
    """Write 4 sites of V4 and 5 of IT in two animals; return responses (site, presentation, 1)."""
    rng = np.random.default_rng(seed)
    ids = [f"{i:040x}" for i in range(n)]
    table = pd.DataFrame({
        key: ids, "object_name": [("car_astra", "face0")[i % 2] for i in range(n)], "variation": [0, 3] * (n // 2),
        "filename": [f"{i}.png" for i in ids],
    })  # fmt: skip
    _pictures(root / "stimuli", "image_dicarlo_hvm-public", table, archive=archive)
    shown, rep = np.tile(ids, repeats), np.repeat(np.arange(repeats), n)
    values = rng.standard_normal((9, len(shown), 1))
    assembly = xr.DataArray(
        values, dims=("neuroid", "presentation", "time_bin"),
        coords={
            key: ("presentation", shown), "repetition": ("presentation", rep),
            "neuroid_id": ("neuroid", [f"{a}_L_M_{i}" for i, a in enumerate(["Chabo"] * 4 + ["Tito"] * 5)]),
            "animal": ("neuroid", ["Chabo"] * 4 + ["Tito"] * 5),
            "region": ("neuroid", ["V4", "V4", "IT", "IT", "V4", "V4", "IT", "IT", "IT"]),
            "time_bin_start": ("time_bin", [70]), "time_bin_end": ("time_bin", [170]),
        },
    ).set_index(
        presentation=[key, "repetition"], neuroid=["neuroid_id", "animal", "region"],
        time_bin=["time_bin_start", "time_bin_end"],
    )  # fmt: skip
    _write(assembly, root / "brain-score/assy_dicarlo_MajajHong2015_public.nc")
    return values


def freeman(root, *, n=4, repeats=5, seed=0):
    """Write 2 neurons of V1 and 3 of V2 in bins of 1 ms; return responses (neuron, time, presentation)."""
    rng = np.random.default_rng(seed)
    ids = [f"{i:040x}" for i in range(n)]
    table = pd.DataFrame({
        "image_id": ids, "texture_type": ["noise", "texture"] * (n // 2), "texture_family": 13, "sample": range(n),
        "filename": [f"tex-320x320-im13-smp{i}.png" for i in range(n)],
    })  # fmt: skip
    _pictures(root / "stimuli", "image_movshon_FreemanZiemba2013_aperture-public", table, archive=True)
    values = rng.poisson(0.1, (5, 300, n * repeats)).astype(float)
    assembly = xr.DataArray(
        values, dims=("neuroid", "time_bin", "presentation"),
        coords={
            "image_id": ("presentation", np.repeat(ids, repeats)),
            "repetition": ("presentation", np.tile(np.arange(repeats), n)),
            "neuroid_id": ("neuroid", np.arange(1, 6)), "region": ("neuroid", ["V1", "V1", "V2", "V2", "V2"]),
            "time_bin_start": ("time_bin", np.arange(300)), "time_bin_end": ("time_bin", np.arange(1, 301)),
        },
    )  # fmt: skip
    _write(assembly, root / "assy_movshon_FreemanZiemba2013_public.nc")
    return values
