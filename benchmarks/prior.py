"""What a diffusion prior is good for, use by use: `python benchmarks/prior.py [SUBJECT …]`, after `make demo`.

Reads responses, features and split of the demo, decodes by ridge with the default prior, and holds retrieval, captions
and pictures of each candidate (`decoders.choice.CANDIDATES`) against one another on the test pictures, beside what
validation pictures of the training set chose.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from neuroenc import config
from neuroenc.arrays import load
from neuroenc.config import Model
from neuroenc.datasets.pixels import read_pixels
from neuroenc.decoders import nano
from neuroenc.decoders.choice import candidates
from neuroenc.decoders.decode import decode
from neuroenc.decoders.drawing import choose_for_pictures, draw
from neuroenc.decoders.generator import make
from neuroenc.decoders.low_level import low_level_pictures
from neuroenc.decoders.reconstruct import choose_for_captions
from neuroenc.decoders.scores import prior_gain
from neuroenc.decoders.target import target_of
from neuroenc.evaluation import images
from neuroenc.evaluation.captions import cider, meteor
from neuroenc.features.extract import describer
from neuroenc.files import write_json
from neuroenc.records import row

RUN = Path("results/demo")
COMMAND = "python benchmarks/prior.py"
HOW = {"strength": 1.0, "guidance": 2.0, "n_steps": 7, "seed": 0}


def measure(subject: str) -> list[dict[str, object]]:
    """Decode one subject and score every candidate."""
    stem = RUN / f"sub-{subject}/sub-{subject}"
    features, stimuli = load(RUN / "feat-nano_features.nc", "features"), load(RUN / "stimuli.nc", "stimuli")
    options = config.RidgeDecoding(layers=["visual"], prior=config.Prior())
    found = decode(
        load(f"{stem}_responses.nc", "responses"), features, load(RUN / "splits.nc", "splits"), options
    )
    about = {"unit": "", "n": found.sizes["presentation"], "command": COMMAND, "seed": 0, "subject": subject}
    rows = []
    for measure, values in prior_gain(found).items():
        rows += [
            row(f"retrieval, {measure}", values[of], of=of, chosen=found.attrs["prior_choice"], **about)
            for of in ("plain", "one_sample", "mean_of_samples", "prior")
        ]
    at = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    tested = np.array([at[s] for s in found["stimulus_id"].values])
    target, decoder = target_of(found, 0), make("nano")
    captioned = choose_for_captions(found, 0, stimuli, 192)
    written = [[str(t) for t in texts if t] for texts in stimuli["caption"].values[tested]]
    for name, value in candidates(found, 0).items():
        said = nano.describe(target.inverse(value))
        for metric, of in (("CIDEr", cider), ("METEOR", meteor)):
            score = float(of(said, written).mean())
            rows.append(row(f"captions, {metric}", score, of=name, chosen=str(captioned), **about))
    low = low_level_pictures(load(f"{stem}_dec-small_feat-pixel_embeddings.nc", "embeddings"), 0)
    drawn_from = choose_for_pictures(found, 0, decoder, nano.embed, 48, HOW)
    seen = np.stack([nano.resize(p, 64) for p in read_pixels(stimuli, tested)])
    judges = {"nano": nano.embed, "gabor": _gabor()}
    truth = {name: look(seen) for name, look in judges.items()}
    for name, value in candidates(found, 0).items():
        made = draw(decoder, target.inverse(value), len(seen), low, HOW)
        made = np.stack([nano.resize(p, 64) for p in made])
        scores = {f"two-way, {j}": images.two_way(truth[j], look(made)) for j, look in judges.items()}
        scores["PixCorr"] = images.pixcorr(seen, made)
        for metric, each in scores.items():
            rows.append(
                row(f"pictures, {metric}", float(each.mean()), of=name, chosen=str(drawn_from), **about)
            )
    return rows


def _gabor():
    described = describer(Model(extractor="gabor"))
    return lambda pictures: described(list(pictures))["feature"].values.reshape(len(pictures), -1)


def main() -> None:
    rows = []
    for subject in sys.argv[1:] or ["01", "02"]:
        for r in measure(subject):
            rows.append(r)
            print(f"{subject} {r['name']:24s} {r['of']:16s} {r['value']:.3f}", flush=True)
        for kind in ("retrieval", "captions", "pictures"):
            print(subject, kind, next(r["chosen"] for r in rows[::-1] if str(r["name"]).startswith(kind)))
    write_json({"label": "prior", "rows": rows}, "benchmarks/results/prior.json")


if __name__ == "__main__":
    main()
