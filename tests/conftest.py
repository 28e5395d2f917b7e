"""Small inputs all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neuroenc import cli
from neuroenc.arrays import make_features, make_responses, make_stimuli
from neuroenc.config import Dataset, Simulation
from neuroenc.simulation.simulate import simulate

ROOT = Path(__file__).parents[1]
REGIONS = ["prf-visualrois", "floc-faces", "floc-bodies", "floc-places", "floc-words", "semantic"]
SMALL = Simulation(
    n_voxels=400, sessions=3, n_shared=20, repeats=3, n_unique=120, picture_size=96, seed=5
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the workflow, which takes longest, so that cores share the rest meanwhile."""
    items.sort(key=lambda item: item.path.name not in ("test_workflow.py", "test_slurm.py"))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated NSD."""
    root = tmp_path_factory.mktemp("nsd") / "tree"
    simulate(root, SMALL)
    return root


@pytest.fixture(scope="session")
def nsd_options(tree: Path) -> Dataset:
    return Dataset(name="nsd", root=str(tree), regions=REGIONS)


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of the real recordings."""
    folder = Path(os.environ.get("NEUROENC_REAL_DATA", ROOT.parent / "shared/data"))
    if not (folder / "v4").is_dir():
        pytest.skip(f"the real recordings are not at {folder}; set NEUROENC_REAL_DATA")
    return folder.resolve()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run a command line; return its exit status and what it printed (out, err)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neuroenc", *map(str, arguments)])
        capfd.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capfd.readouterr()
        return status, out, err

    return call


def toy_responses(rng: np.random.Generator, stimulus_id: np.ndarray, values: np.ndarray) -> xr.Dataset:
    """Responses around given values, (n, n_neuroids[, n_time_bins])."""
    n, k = values.shape[:2]
    return make_responses(
        values,
        presentation={
            "stimulus_id": stimulus_id, "session": np.full(n, "1"), "run": np.zeros(n, int),
            "repetition": np.zeros(n, int), "split": np.full(n, "train"), "group": stimulus_id,
        },
        neuroid={
            "neuroid_id": np.array([f"n{i}" for i in range(k)]), "subject": np.full(k, "s"),
            "hemisphere": np.full(k, "L"), **{a: rng.random(k).astype("f4") for a in "xyz"},
            "ncsnr": np.full(k, 1.0, "f4"), "roi_A": np.arange(k) % 2 == 0,
        },
        attrs={"dataset": "toy", "space": "none", "units": "none", "source": "{}"},
        time_bin={"start": np.arange(values.shape[2]) / 10, "stop": np.arange(1, values.shape[2] + 1) / 10}
        if values.ndim == 3 else None,
    )  # fmt: skip


@pytest.fixture
def toy():
    """Stimuli, two-layer Features and Responses that are linear in the second layer."""
    rng = np.random.default_rng(0)
    ids = np.array([f"p{i:03d}" for i in range(120)])
    X = rng.normal(size=(120, 30)).astype("f4")
    W = rng.normal(size=(20, 6))
    Y = X[:, 10:] @ W + rng.normal(size=(120, 6))
    contract = dict.fromkeys(
        ("model", "weights", "layer", "pooling", "shape", "normalisation", "pixel_range", "preprocessing"),
        "toy",
    )
    layer = np.array(["first"] * 10 + ["second"] * 20)
    stimuli = make_stimuli(
        {
            "stimulus_id": ids, "pixel_index": np.arange(120), "split": np.full(120, "train"), "group": ids,
        },
        attrs={"dataset": "toy", "pixels": "none"},
    )  # fmt: skip
    features = make_features(X, stimulus_id=ids, layer=layer, attrs=contract)
    return stimuli, features, toy_responses(rng, ids, Y)
