"""A folder from a stranger that can be read, and what is asked of every line about one that cannot."""

import re

import h5py
import numpy as np
import pandas as pd
import yaml
from PIL import Image

N = 12
SECRET = "the-secret-of-another-file"


def make_folder(tmp_path):
    """Make a folder that can be read: twelve pictures, one subject, four neuroids."""
    root = tmp_path / "data"
    (root / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"p{i}.png" for i in range(N)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(root / "pictures" / name)
    ids = [f"p{i}" for i in range(N)]
    pd.DataFrame({"stimulus_id": ids, "file": names}).to_csv(root / "stimuli.csv", index=False)
    pd.DataFrame({"stimulus_id": ids}).to_csv(root / "trials.csv", index=False)
    np.save(root / "y.npy", rng.normal(size=(N, 4)).astype("f4"))
    describe(root)
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "secret.csv").write_text(
        "stimulus_id," + SECRET + "\n" + "".join(f"p{i},{i}\n" for i in range(N))
    )
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["y"] = np.full((N, 4), 7.0)
    return root


def describe(root, subject=None, **stimuli):
    about = {
        "name": "Mine", "units": "a.u.",
        "stimuli": {"table": "stimuli.csv", "pictures": "pictures"} | stimuli,
        "subjects": {"01": {"presentations": "trials.csv", "responses": "y.npy"} | (subject or {})},
    }  # fmt: skip
    (root / "dataset.yaml").write_text(yaml.safe_dump(about))


def h5(root, make):
    with h5py.File(root / "y.h5", "w") as file:
        make(file)
    describe(root, {"responses": "y.h5#y"})


def one_line(status, out, err, message):
    assert status == 2, out + err
    assert err.startswith("neuroenc: ") and err.strip().count("\n") == 0 and len(err) < 1000
    assert re.search(message, err), err
    assert SECRET not in out + err
