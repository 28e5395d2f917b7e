"""Two networks against human and monkey IT: `python benchmarks/similarity.py`.

The 92 pictures and dissimilarity matrices of Kriegeskorte et al. (2008), correlation distance. Each layer of
MobileNetV2 and SqueezeNet, trained on ImageNet, and of their untrained twins, by Spearman; the interval is that of
half samples of pictures. The ceiling of human IT is over four subjects, two sessions each averaged. Beside it what a
comparison of a matrix takes. Writes benchmarks/results/similarity.json.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from scipy.io import loadmat

from neuroenc.arrays import join, load, make_stimuli, save, select_layers
from neuroenc.config import Model
from neuroenc.evaluation.dissimilarity import compare, dissimilarity, over_subjects, prepare, triangle
from neuroenc.features.extract import extract
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND, MEASURE, HALF_SAMPLES = "python benchmarks/similarity.py", "spearman", 1000
LAYERS = {
    "mobilenetv2_100": ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5", "blocks.6"],
    "squeezenet1_0": ["features.3", "features.5", "features.8", "features.10", "features.12"],
}


def interval(a: np.ndarray, b: np.ndarray, n: int) -> tuple[float, float]:
    """95 % over pictures, from half samples without replacement."""
    rng, value, (i, j) = np.random.default_rng(0), compare(a, b, MEASURE), np.triu_indices(n, 1)
    drawn = []
    for _ in range(HALF_SAMPLES):
        some = np.isin(np.arange(n), rng.choice(n, n // 2, replace=False))
        drawn.append(compare(a[some[i] & some[j]], b[some[i] & some[j]], MEASURE))
    low, high = np.quantile(value + np.array(drawn) - np.mean(drawn), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    folder = Path(os.environ.get("NEUROENC_REAL_DATA", "../shared/data")).resolve()
    found = loadmat(folder / "rdm92/Kriegeskorte_Neuron2008_supplementalData.mat")
    own = loadmat(folder / "rdm92/92_brainRDMs.mat")["RDMs"][0]
    monkey, human = (np.asarray(m["RDM"], float)[0] for m in found["RDMs_mIT_hIT_fig1"][0])
    pictures = np.stack([p["image"] for p in found["stimuli_92objs"][0]])
    subjects = np.array([triangle(np.mean([s["RDM"] for s in sessions], 0)) for sessions in own])
    ceiling = over_subjects(subjects, MEASURE)
    n, rows = len(pictures), []
    about = {"unit": MEASURE, "n": n, "command": COMMAND, "seed": 0}
    published = compare(monkey, human, "pearson")
    rows.append(row("human IT with monkey IT", published, **about | {"unit": "Pearson r"}, published=0.49))
    rows += [
        row(f"ceiling of human IT, {k}", v, **about) for k, v in zip(("low", "high"), ceiling, strict=True)
    ]
    ids = np.array([f"{i:02d}" for i in range(n)])
    weights = {p.name.split(".")[0]: p for p in (folder / "weights").glob("*.safetensors")}
    with tempfile.TemporaryDirectory() as scratch:
        with h5py.File(f"{scratch}/pictures.h5", "w") as file:
            file["pictures"] = pictures
        stimuli = make_stimuli(
            {"stimulus_id": ids, "pixel_index": np.arange(n), "split": np.full(n, "train"), "group": ids},
            attrs={"dataset": "rdm92", "pixels": f"{scratch}/pictures.h5#pictures"},
        )
        save(stimuli, f"{scratch}/stimuli.nc")
        for network, layers in LAYERS.items():
            timm = network.startswith("mobilenet")
            extra = (
                {"options": {"pad_type": "same", "crop_pct": 1.0}, "normalisation": "half"} if timm else {}
            )
            for trained in (True, False):
                model = Model(
                    extractor="timm" if timm else "torchvision", network=network, layers=layers, pooling="grid:4",
                    weights=str(weights[network]) if trained else "random:0",
                    **extra | ({} if timm else {"tag": "IMAGENET1K_V1"}),
                )  # fmt: skip
                out = f"{scratch}/{network}{trained}.nc"
                extract(stimuli, model, out)
                features = load(out, "features")
                for layer in layers:
                    made = dissimilarity(join(select_layers(features, [layer]), ids))
                    for region, matrix in (("human IT", subjects.mean(0)), ("monkey IT", monkey)):
                        limits = interval(made, matrix, n)
                        rows.append(row(
                            "layer with region", compare(made, matrix, MEASURE), interval=limits, model=network,
                            layer=layer, region=region, trained=trained, **about,
                        ))  # fmt: skip
    rng = np.random.default_rng(0)
    for size in (1000, 2000, 4000):
        patterns = rng.normal(size=(size, 500)).astype("f4")
        for measure in ("spearman", "whitened_cosine"):
            start = time.perf_counter()
            prepare(dissimilarity(patterns), measure)
            rows.append(row(
                "one matrix, made and prepared", time.perf_counter() - start, unit="s", n=size, command=COMMAND,
                seed=0, measure=measure,
            ))  # fmt: skip
    write_json({"rows": rows}, "benchmarks/results/similarity.json")


if __name__ == "__main__":
    main()
