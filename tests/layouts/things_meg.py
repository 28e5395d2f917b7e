"""A small tree in the layout of THINGS-MEG: events.tsv lies by 150 ms, the triggers do not."""

import numpy as np
import pandas as pd
from PIL import Image

from neuroenc.simulation import ctf

RATE, TRIALS, CHANNELS = 1200.0, 14, ("MLO11-1609", "MRT22-1609", "MZC03-1609", "BG1-1609")
LATENCY = 0.2  # s; a bump in the first channel, as high as the picture's number


def build(root, *, subject="1", sessions=2, runs=2, seed=0):
    """Write recordings, attributes and pictures; return what was shown, (session, run) -> list of numbers."""
    rng = np.random.default_rng(seed)
    (root / "sourcedata").mkdir(parents=True)
    rows, shown = [], {}
    for session in range(1, sessions + 1):
        for run in range(1, runs + 1):
            numbers = rng.permutation(TRIALS)
            kinds = np.array(["exp"] * 10 + ["test"] * 3 + ["catch"])[numbers]
            onset = np.round((1.0 + 1.5 * np.arange(TRIALS) + rng.uniform(0, 0.2, TRIALS)) * RATE).astype(int)
            n = onset[-1] + int(2.5 * RATE)
            data = rng.normal(0, 1e-7, (len(CHANNELS) + 1, n))
            time = np.arange(n) / RATE
            for i, (number, at) in enumerate(zip(numbers, onset, strict=True)):
                data[0] += 1e-6 * (number + 1) * np.exp(-0.5 * ((time - at / RATE - LATENCY) / 0.02) ** 2)
                data[-1, at : at + 30] = 32 if i == TRIALS - 1 else 64
            data[-1] = np.where(np.abs(data[-1]) < 1, 0, data[-1])
            name = f"sub-BIGMEG{subject}_ses-{session:02d}_task-main_run-{run:02d}"
            folder = root / f"sub-BIGMEG{subject}/ses-{session:02d}/meg"
            ctf.write(folder / f"{name}_meg.ds", data, [*CHANNELS, "UPPT001"], RATE)
            pd.DataFrame({"onset": onset / RATE + 0.15, "value": 64}).to_csv(
                folder / f"{name}_events.tsv", sep="\t", index=False
            )
            for number, kind in zip(numbers, kinds, strict=True):
                new = number if kind == "test" else number + 20 * (session * runs + run)
                path = (
                    f"images_meg/çup_{new}/çup_{new}_01b.jpg"
                    if kind != "catch"
                    else "images_catch_meg/catch1.jpg"
                )
                rows.append((session, run, kind, path))
            shown[session, run] = list(zip(numbers.tolist(), kinds.tolist(), strict=True))
    table = pd.DataFrame(rows, columns=["session_nr", "run_nr", "trial_type", "image_path"])
    table.to_csv(root / f"sourcedata/sample_attributes_P{subject}.csv", index=False)
    for path in set(table["image_path"][table["trial_type"] != "catch"]):
        concept, name = path.split("/")[1:]
        (root / "images" / concept).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        picture.save(root / "images" / concept / name)
    return shown
