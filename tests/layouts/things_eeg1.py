"""A small tree in the layout of THINGS-EEG1: EEGLAB's continuous files with markers, and a table of events."""

import numpy as np
import pandas as pd
import scipy.io
from PIL import Image

RATE, CHANNELS, CONCEPTS, EACH, REPEATS = (
    250.0,
    ("Fz", "O1", "Oz"),
    ("carousel", "zebra_crossing", "çup"),
    4,
    3,
)
LATENCY = 0.15  # s; a bump in the channel O1, as high as the picture's number


def events(seed=0):
    """List what is shown: training pictures once in two streams, then two test pictures in a third."""
    rng = np.random.default_rng(seed)
    train = [f"stimuli\\{c}\\{c}_{i + 1:02d}s.jpg" for c in CONCEPTS for i in range(EACH)]
    test = [f"stimuli\\{c}\\{c}_{EACH + 1:02d}s.jpg" for c in CONCEPTS[:2]]
    order = rng.permutation(len(train))
    rows = [(train[k], order[i], 0, i * 2 // len(train)) for i, k in enumerate(order)]
    rows += [(test[k], len(train) + k, 1, 2) for _ in range(REPEATS) for k in rng.permutation(2)]
    table = pd.DataFrame(rows, columns=["stim", "number", "isteststim", "sequencenumber"])
    table["istarget"] = 0
    table.loc[[3, len(train) + 1], "istarget"] = 1
    return table


def write_set(path, data, at, *, names=CHANNELS, marker="E  1"):
    """Write an EEGLAB file and its .fdt, data in µV of shape (channels, times), markers at samples from 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.astype("<f4").T.tofile(path.with_suffix(".fdt"))
    markers = [(float(s) + 1, marker) for s in at] + [(float(s) + 13, "E  2") for s in at]
    event = np.array(
        [(latency, kind, float(i + 1)) for i, (latency, kind) in enumerate(sorted(markers))],
        dtype=[("latency", object), ("type", object), ("urevent", object)],
    )
    chanlocs = np.array([(n, 0.0, 0.0, 1.0, "EEG") for n in names],
                        dtype=[("labels", object), ("X", object), ("Y", object), ("Z", object), ("type", object)])  # fmt: skip
    scipy.io.savemat(path, {"EEG": {
        "setname": "x", "nbchan": len(data), "trials": 1, "pnts": data.shape[1], "srate": RATE, "xmin": 0.0,
        "xmax": (data.shape[1] - 1) / RATE, "data": path.with_suffix(".fdt").name, "chanlocs": chanlocs,
        "event": event, "icawinv": [], "icaweights": [], "icasphere": [], "icachansind": [], "icaact": [],
        "epoch": [], "ref": "average", "filename": path.name,
    }}, appendmat=False)  # fmt: skip


def build(root, *, subject="01", seed=0, suffix="tsv"):
    """Write recordings, events and pictures; return the table of events."""
    rng = np.random.default_rng(seed)
    table = events(seed)
    n = len(table)
    at = (
        250
        + np.cumsum(np.where(np.diff(table["sequencenumber"], prepend=0) > 0, 500, 25))
        + rng.integers(0, 3, n)
    )
    data = rng.normal(0, 1, (len(CHANNELS), at[-1] + 500))
    time = np.arange(data.shape[1])
    for number, sample in zip(table["number"], at, strict=True):
        data[1] += 20 * (number + 1) * np.exp(-0.5 * ((time - sample - LATENCY * RATE) / 2) ** 2)
    write_set(root / f"derivatives/eeglab/sub-{subject}_task-rsvp_continuous.set", data, at)
    folder = root / f"sub-{subject}/eeg"
    folder.mkdir(parents=True)
    table.insert(0, "onset", at * 4)  # samples of the raw recording
    separator = "\t" if suffix == "tsv" else ","
    table.to_csv(folder / f"sub-{subject}_task-rsvp_events.{suffix}", sep=separator, index=False)
    for name in set(table["stim"]):
        path = root / "images" / name.replace("\\", "/").removeprefix("stimuli/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    return table
