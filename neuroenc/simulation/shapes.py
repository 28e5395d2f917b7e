"""Pictures of objects whose surfaces are known, and responses to them, as one's own recordings are laid out.

Each picture shows one object of a dozen kinds from somewhere; no object is shown in two. Half the neuroids
(`early`) answer to oriented energy of the picture, half (`late`) to the embedding of the small network. The
tree is read by the dataset `custom`; `meshes.csv` says which mesh each picture shows, `truth.csv` its kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from PIL import Image

from neuroenc.config import Model
from neuroenc.features.extract import describe
from neuroenc.files import atomic
from neuroenc.meshes import write
from neuroenc.simulation.solids import SOLIDS, make
from neuroenc.views import turning_views

N_TRAIN, N_TEST, REPEATS = 20, 3, 3  # pictures of each kind; test pictures are shown so often
SIDE = 96  # px
N_NEUROIDS = 150  # of a region
NOISE = 1.0  # standard deviation in a presentation; that of the signal is 1
REGIONS = {
    "early": Model(extractor="gabor", pooling="grid:4"),
    "late": Model(network="nano", layers=["visual"]),
}
SUBJECT = "01"


def simulate(out: Path, seed: int) -> None:
    """Write the tree and its truth.

    The response of a neuroid is s = F w, standardised over the pictures, and white noise: F the standardised
    features of its region, w standard normal.

    Parameters
    ----------
    out : path
        The folder that becomes the dataset's root; made whole or not at all.
    seed : int
    """
    rng = np.random.default_rng([seed, 0x3D])
    kind = np.tile(list(SOLIDS), N_TRAIN + N_TEST)
    n = len(kind)
    side = np.where(np.arange(n) < N_TRAIN * len(SOLIDS), "train", "test")
    ids = np.array([f"{k}-{i:03d}" for i, k in enumerate(kind)])
    azimuth = rng.uniform(0, 2 * np.pi, n)
    with atomic(out) as root:
        for folder in ("pictures", "meshes"):
            (root / folder).mkdir(parents=True)
        pictures = []
        for i, name in enumerate(ids):
            mesh = make(kind[i], [seed, 0x3D, i])
            write(mesh, root / "meshes" / f"{name}.glb")
            pictures.append(turning_views(mesh, 1, side=SIDE, start=azimuth[i])[0])
            Image.fromarray(pictures[i]).save(root / "pictures" / f"{name}.png")
        pd.DataFrame({
            "stimulus_id": ids, "file": np.char.add(ids, ".png"), "split": side, "label": kind,
        }).to_csv(root / "stimuli.csv", index=False)  # fmt: skip
        meshes = [f"meshes/{name}.glb" for name in ids]
        pd.DataFrame({"stimulus_id": ids, "mesh": meshes}).to_csv(root / "meshes.csv", index=False)
        pd.DataFrame({"stimulus_id": ids, "kind": kind, "azimuth": azimuth.round(4)}).to_csv(
            root / "truth.csv", index=False
        )
        _record(root, ids, side, pictures, rng)


def _record(
    root: Path, ids: NDArray[np.str_], side: NDArray[np.str_], pictures: list[NDArray[np.uint8]],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Write the responses, one row a presentation, and what they are."""
    signal = np.concatenate([_signal(pictures, model, rng) for model in REGIONS.values()], axis=1)
    shown = np.concatenate(
        [np.flatnonzero(side == "train"), np.repeat(np.flatnonzero(side == "test"), REPEATS)]
    )
    shown = rng.permutation(shown)
    responses = signal[shown] + NOISE * rng.standard_normal((len(shown), signal.shape[1]))
    np.save(root / f"sub-{SUBJECT}_responses.npy", responses.astype(np.float32))
    pd.DataFrame({"stimulus_id": ids[shown]}).to_csv(root / f"sub-{SUBJECT}_trials.csv", index=False)
    region = np.repeat(list(REGIONS), N_NEUROIDS)
    pd.DataFrame({
        "neuroid_id": [f"n{i:03d}" for i in range(len(region))],
        **{f"roi_{name}": (region == name).astype(int) for name in REGIONS},
    }).to_csv(root / "neuroids.csv", index=False)  # fmt: skip
    files = {
        "presentations": f"sub-{SUBJECT}_trials.csv", "responses": f"sub-{SUBJECT}_responses.npy",
        "neuroids": "neuroids.csv",
    }  # fmt: skip
    about = {
        "name": "simulated objects", "licence": "CC0", "units": "standard deviations", "space": "none",
        "stimuli": {"table": "stimuli.csv", "pictures": "pictures"}, "subjects": {SUBJECT: files},
    }  # fmt: skip
    (root / "dataset.yaml").write_text(yaml.safe_dump(about, sort_keys=False))


def _signal(pictures: list[NDArray[np.uint8]], model: Model, rng: np.random.Generator) -> NDArray[np.float64]:
    """Responses without noise, (n_pictures, n_neuroids), standardised."""
    values = describe(pictures, model)["feature"].values.reshape(len(pictures), -1).astype(np.float64)
    spread = values.std(0)
    values = (values - values.mean(0))[:, spread > 1e-6 * spread.max()] / spread[spread > 1e-6 * spread.max()]
    made = values @ rng.standard_normal((values.shape[1], N_NEUROIDS))
    return np.asarray((made - made.mean(0)) / made.std(0))
