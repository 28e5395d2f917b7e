"""When do pairs made by an encoder help a decoder, and where do they stop? `python -m benchmarks.augment RUN`.

RUN is a finished run, `results/one-hour` for example; behind it may stand a decoder (`ridge`, `network`) and subjects,
else all. Decoders are fitted to the first sessions of each subject with made pairs at each share; the ridge encoder
that makes them is fitted to these sessions too. Prints a table: top-1 both ways, and their paired gain over no made pairs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from neuroenc import config
from neuroenc.arrays import load
from neuroenc.decoders.augment import Encoder
from neuroenc.decoders.decode import decode
from neuroenc.decoders.retrieve import hits
from neuroenc.decoders.samples import first_sessions
from neuroenc.encoders.encode import encode
from neuroenc.encoders.store import save_fits
from neuroenc.evaluation.identification import cosine

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
SESSIONS = (1, 9)
N_COMPONENTS = 64
DECODERS: dict[str, config.Embedding] = {
    "ridge": config.RidgeDecoding(n_components=N_COMPONENTS),
    "network": config.NetworkDecoding(n_components=N_COMPONENTS),
}


def main() -> None:
    run = Path(sys.argv[1])
    chosen = [name for name in DECODERS if name in sys.argv] or list(DECODERS)
    subjects = [a for a in sys.argv[2:] if a not in DECODERS] or [
        p.name.removeprefix("sub-") for p in sorted(run.glob("sub-*")) if p.is_dir()
    ]
    features, split = load(run / "feat-nano_features.nc", "features"), load(run / "splits.nc", "splits")
    each: dict[tuple[int, str, float], list[np.ndarray]] = {}
    for subject in subjects:
        whole = load(run / f"sub-{subject}/sub-{subject}_responses.nc", "responses")
        for n in SESSIONS:
            responses = first_sessions(whole, split, 0, n)
            predictions, fits = encode(responses, features, split, config.Ridge())
            with tempfile.TemporaryDirectory() as folder:
                weights = Path(folder) / "weights.safetensors"
                save_fits(fits, features.attrs, responses["neuroid_id"].values, weights)
                encoder = Encoder(weights, predictions, features)
                for name, plain in ((name, DECODERS[name]) for name in chosen):
                    for share in SHARES:
                        asked = config.Augmentation(fit="nano", share=share) if share else None
                        options = plain.model_copy(update={"augment": asked})
                        found = decode(
                            responses, features, split, options, encoder=encoder if share else None
                        )
                        similarity = cosine(found["embedding"].values, found["true"].values)
                        hit = np.stack([hits(s, 1) for s in (similarity, similarity.T)])
                        each.setdefault((n, name, share), []).append(hit)
    print(f"{len(subjects)} subjects, {hit.shape[1]} test pictures")
    print("sessions decoder  share  brain to image: top-1, gain [95 %]    image to brain")
    for (n, name, share), of_subjects in each.items():
        line = f"{n:8d} {name:8s} {share:5.2f}"
        for way in (0, 1):
            hit = np.stack([h[way] for h in of_subjects])  # the same pictures in all subjects
            gain = (hit - np.stack([h[way] for h in each[n, name, 0.0]])).mean(0)
            drawn = np.random.default_rng(0).integers(0, len(gain), (2000, len(gain)))
            low, high = np.quantile(gain[drawn].mean(1), [0.025, 0.975])
            line += f"   {hit.mean():.3f} {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        print(line, flush=True)


if __name__ == "__main__":
    main()
