"""Macaque V4 and IT seeing objects, with known tuning, in the layout of Brain-Score's assembly.

The layout is that of `datasets.majajhong2015`, made smaller. Sites of V4 are driven by Gabor energies of one
place of the picture, sites of IT by the embedding of the small network that comes with neuroenc: a study that
compares models must say which made which.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from neuroenc.config import Model
from neuroenc.features import describe
from neuroenc.files import atomic
from neuroenc.simulation import grammar
from neuroenc.simulation.objects import scene_of

N_PICTURES, REPEATS, SIDE = 30, 10, 96  # of each object, of each picture, px
SITES = {"V4": 40, "IT": 40}
MODELS = {
    "V4": Model(extractor="gabor", pooling="grid:8"),
    "IT": Model(extractor="open_clip", network="nano", layers=["visual"]),
}
MAKERS = {"V4": "gabor", "IT": "nano"}
RELIABILITY = (0.5, 0.95)  # of the mean over repeats; uniform over sites
ANIMALS = ("Chabo", "Tito")
ASSEMBLY, TABLE = "assy_dicarlo_MajajHong2015_public", "image_dicarlo_hvm-public"


def simulate(out: Path, seed: int) -> None:
    """Write pictures, the assembly and its truth.

    The signal of a site is s = F w, standardised over the pictures: of V4, F holds the 24 energies (four
    wavelengths, six orientations) of one of the middle 6 x 6 of 8 x 8 cells, of IT the 64 numbers of the
    embedding, and w is standard normal. A presentation adds white noise of the variance R (1 - c) / c, R the
    repeats, so that c is the share of signal in the variance of the mean: the reliability.

    Parameters
    ----------
    out : Path
        `image_dicarlo_hvm-public.csv` with its pictures, `assy_dicarlo_MajajHong2015_public.nc`, and
        truth.csv (neuroid_id, region, model, reliability).
    seed : int
    """
    with atomic(out) as partial:
        _write(partial, seed)


def _write(out: Path, seed: int) -> None:
    rng = np.random.default_rng([seed, 0x6D616A])
    kinds = list(grammar.SYNONYMS)
    name = np.repeat(kinds, N_PICTURES)
    pictures = [grammar.draw(scene_of(kind, rng), SIDE) for kind in name]
    ids = np.array([hashlib.sha1(p.tobytes(), usedforsecurity=False).hexdigest() for p in pictures])
    folder = out / TABLE
    folder.mkdir(parents=True)
    for identity, picture in zip(ids, pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{identity}.png")
    files = [f"{i}.png" for i in ids]
    table = pd.DataFrame({"stimulus_id": ids, "object_name": name, "variation": 3, "filename": files})
    table.to_csv(out / f"{TABLE}.csv", index=False)
    region = np.repeat(list(SITES), list(SITES.values()))
    signal = np.concatenate([_signal(pictures, r, rng) for r in SITES], 1)
    share = rng.uniform(*RELIABILITY, len(region))
    noise = rng.standard_normal((REPEATS, *signal.shape)) * np.sqrt(REPEATS * (1 - share) / share)
    animal = np.array(ANIMALS)[np.arange(len(region)) % 2]
    neuroid = np.array([f"{a}_L_M_{i}" for i, a in enumerate(animal)])
    assembly = xr.DataArray(
        (signal + noise).reshape(-1, len(region)).T[..., None], dims=("neuroid", "presentation", "time_bin"),
        coords={
            "stimulus_id": ("presentation", np.tile(ids, REPEATS)),
            "repetition": ("presentation", np.repeat(np.arange(REPEATS), len(ids))),
            "neuroid_id": ("neuroid", neuroid), "animal": ("neuroid", animal), "region": ("neuroid", region),
            "time_bin_start": ("time_bin", [70]), "time_bin_end": ("time_bin", [170]),
        },
    )  # fmt: skip
    assembly.to_dataset(name="data").to_netcdf(out / f"{ASSEMBLY}.nc", engine="h5netcdf")
    truth = pd.DataFrame({
        "neuroid_id": np.char.add(np.char.add(region, "_"), neuroid), "region": region,
        "model": [MAKERS[r] for r in region], "reliability": share,
    })  # fmt: skip
    truth.to_csv(out / "truth.csv", index=False)


def _signal(pictures: list[NDArray[np.uint8]], region: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Responses without noise, (n_pictures, n_sites), standardised."""
    values = describe(pictures, MODELS[region])["feature"].values.astype(np.float64)
    values = (values - values.mean(0)) / values.std(0)
    made = np.empty((len(values), SITES[region]))
    for site in made.T:
        row, column = rng.integers(1, 7, 2)
        of_site = values[:, row * 8 + column] if region == "V4" else values
        site[:] = of_site @ rng.standard_normal(of_site.shape[-1])
    return np.asarray((made - made.mean(0)) / made.std(0))
