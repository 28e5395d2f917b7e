"""How many test responses lie within the intervals of an exported encoder: `python benchmarks/coverage.py`.

The stacks that a finished demo exports, on single presentations of the test pictures of their subjects, by kind of
area and level. Writes benchmarks/results/coverage.json.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

import neuroenc
from neuroenc.arrays import load
from neuroenc.datasets import read_pixels
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND, DEMO, LEVELS = "python benchmarks/coverage.py", Path("results/demo"), (0.5, 0.8, 0.9, 0.95)
KINDS = {
    "V1-hV4": ("V1", "V2", "V3", "hV4"),
    "category areas": ("OFA", "FFA", "EBA", "OPA", "PPA", "VWFA", "LO"),
    "language area": ("TPJ",),
}


def main() -> None:
    stimuli, rows = load(DEMO / "stimuli.nc", "stimuli"), []
    ids = stimuli["stimulus_id"].values.tolist()
    for subject in ("01", "02"):
        encoder = neuroenc.load(DEMO / f"sub-{subject}_enc-stack")
        responses = load(DEMO / f"sub-{subject}/sub-{subject}_responses.nc", "responses")
        shown = (responses["split"].values == "test") & (responses["repetition"].values == 0)
        names, measured = responses["stimulus_id"].values[shown], responses["response"].values[shown]
        pictures = read_pixels(stimuli, np.array([ids.index(s) for s in names]))
        masks = {k: np.any([encoder.neuroids[f"roi_{a}"] for a in v], 0) for k, v in KINDS.items()}
        masks = {"all": np.ones(measured.shape[1], bool), **masks}
        for level in LEVELS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of test pictures that are far
                low, high = encoder.interval(pictures, level).values
            within = (low <= measured) & (measured <= high)
            for kind, mask in masks.items():
                value = within[:, mask].mean()
                spread = 1.96 * within[:, mask].mean(1).std(ddof=1) / len(names) ** 0.5  # over pictures
                rows.append(row(f"coverage, {kind}", value, unit="share", n=len(names), subject=subject,
                                level=level, interval=(value - spread, value + spread), n_neuroids=int(mask.sum()),
                                command=COMMAND, seed=0))  # fmt: skip
                print(f"{subject} {level:.2f} {kind:16s} {value:.3f} ± {spread:.3f}", flush=True)
    write_json({"label": "coverage", "rows": rows}, Path("benchmarks/results/coverage.json"))


if __name__ == "__main__":
    main()
