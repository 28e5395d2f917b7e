"""Extraction against a bare forward loop over tensors in memory: `python benchmarks/features.py`.

1,200 photographs (V4 session 201025: JPEG in a zip) through MobileNetV2, one layer pooled to a 4 x 4 grid. The bare
loop has its batches decoded, resized and normalised beforehand and keeps nothing; extraction reads, decodes,
resizes, runs, pools and writes. Same network, batch and machine, in one run, the faster of three each. With
THINGSVISION_PYTHON, the python of an environment that has thingsvision (it pins an older torch), the same
pictures also go through its extractor of the same network and layer, unpooled and unwritten as it leaves them.
Writes benchmarks/results/features.json.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch

from neuroenc.config import load_config
from neuroenc.datasets import module
from neuroenc.datasets.pixels import read_pixels
from neuroenc.features.extract import extract
from neuroenc.features.networks import Network
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND = "THINGSVISION_PYTHON=… python benchmarks/features.py"
PEER = """
import sys, time
import torch
from thingsvision import get_extractor
from thingsvision.utils.data import DataLoader, ImageDataset
folder, size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
extractor = get_extractor("mobilenetv2_100", source="timm", device="cpu", pretrained=False)
best = 0.0
for attempt in range(3):
    start = time.perf_counter()
    pictures = ImageDataset(folder, out_path=folder + "-out", backend="pt",
                            transforms=extractor.get_transformations())
    batches = DataLoader(pictures, batch_size=size, backend="pt")
    found = extractor.extract_features(batches=batches, module_name="blocks.3", flatten_acts=False)
    best = max(best, len(pictures) / (time.perf_counter() - start))
print(len(found), torch.__version__, best)
"""


def main() -> None:
    os.environ.setdefault("NEUROENC_REAL_DATA", "../shared/data")
    config = load_config("config/v4.yaml")
    stimuli = module(config.dataset).load_stimuli(config.dataset, ["201025"])
    model = config.models["mobilenetv2"].model_copy(update={"layers": ["blocks.3"]})
    network = Network(model)
    size = network.batch_size(1.0)
    n = stimuli.sizes["stimulus"]
    starts = range(0, n, size)
    batches = [
        network.source.prepare(read_pixels(stimuli, np.arange(s, min(s + size, n))))["image"] for s in starts
    ]
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for attempt in range(3):
            start = time.perf_counter()
            with torch.inference_mode():
                for batch in batches:
                    network.module(batch)
            rates["bare loop"] = max(rates.get("bare loop", 0), n / (time.perf_counter() - start))
            for workers in (0, 1, 2):
                start = time.perf_counter()
                extract(stimuli, model, Path(folder) / f"{attempt}{workers}.nc", workers=workers)
                name = f"neuroenc, {workers} workers"
                rates[name] = max(rates.get(name, 0), n / (time.perf_counter() - start))
        best = max((k for k in rates if k != "bare loop"), key=lambda k: rates[k])
        peer = os.environ.get("THINGSVISION_PYTHON")
        if peer:
            pictures = Path(folder) / "pictures"
            pictures.mkdir()
            root = Path(stimuli.attrs["pixels"])
            for i, name in enumerate(stimuli["file"].values):
                archive, _, member = str(name).partition(".zip/")
                with zipfile.ZipFile(root / f"{archive}.zip") as file:
                    (pictures / f"{i:05d}.jpg").write_bytes(file.read(member))
            command = [peer, "-c", PEER, str(pictures), str(size), str(torch.get_num_threads())]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            count, version, rate = printed.split()[-3:]
            assert int(count) == n
            rates[f"thingsvision, torch {version}"] = float(rate)
    rows = [
        row(k, v, unit="pictures/s", n=n, command=COMMAND, seed=0, batch=size) for k, v in rates.items()
    ] + [
        row("neuroenc / bare loop", rates[best] / rates["bare loop"], unit="ratio", n=n, command=COMMAND, seed=0,
            best=best)
    ]  # fmt: skip
    if peer:
        rows.append(
            row(
                "neuroenc / thingsvision",
                rates[best] / float(rate),
                unit="ratio",
                n=n,
                command=COMMAND,
                seed=0,
            )
        )
    write_json({"label": "features", "rows": rows}, "benchmarks/results/features.json")
    for r in rows:
        print(f"{r['name']:24s} {r['value']:9.2f} {r['unit']}")


if __name__ == "__main__":
    main()
