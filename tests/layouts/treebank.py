"""A small Brain Treebank with known truth: which electrodes follow vision, language, both, their product, neither.

Its traps: a sampling rate that is nowhere stated, labels with * and #, DC and trigger channels, a corrupted
electrode, words before the first and after the last trigger, mains hum far larger than the signal.
"""

import json

import h5py
import numpy as np
import pandas as pd

RATE, N_WORDS, DIMS = 500.0, 420, 3
LABELS = ["*LA1", "LA2#", "LA3", "LA4", "LA5", "LA6", "RB1", "RB2", "RB3", "RB4", "DC1", "TRIG2", "RB5"]
KINDS = {"LA1": "vision", "LA2": "language", "LA3": "both", "LA4": "product", "LA5": "neither", "LA6": "vision",
         "RB1": "language", "RB2": "both", "RB3": "product", "RB4": "neither"}  # fmt: skip
LATENCY = {"LA1": 0.1, "LA2": 0.4, "LA3": 0.2, "LA4": 0.5, "LA6": 0.3, "RB1": 0.6, "RB2": 0.5, "RB3": 0.3}
CORRUPTED = ["RB5"]
FILM = "fïlm"


def build(root, *, subject="3", sessions=1, seed=0, signal=1.0):
    """Write the tree; return vision and language features of each word, (n_words, DIMS)."""
    rng = np.random.default_rng(seed)
    vision, language = rng.standard_normal((2, N_WORDS, DIMS))
    onset = 2.0 + np.cumsum(rng.uniform(0.7, 1.3, N_WORDS))
    table = pd.DataFrame({
        "text": [f"word{i}" for i in range(N_WORDS)], "start": onset, "end": onset + 0.3,
        "is_onset": (np.arange(N_WORDS) % 7 == 0).astype(float), "pos": "NOUN",
    })  # fmt: skip
    (root / f"transcripts/{FILM}").mkdir(parents=True)
    table.to_csv(root / f"transcripts/{FILM}/features.csv")
    for folder in ("all_subject_data", "subject_metadata", "subject_timings", f"electrode_labels/sub_{subject}",
                   f"localization/sub_{subject}"):  # fmt: skip
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / f"electrode_labels/sub_{subject}/electrode_labels.json").write_text(json.dumps(LABELS))
    (root / "corrupted_elec.json").write_text(json.dumps({f"sub_{subject}": CORRUPTED}))
    pd.DataFrame({"Electrode": list(KINDS), "L": 1.0, "I": 2.0, "P": 3.0,
                  "DesikanKilliany": ["ctx-lh-fusiform"] * 6 + ["ctx-rh-superiortemporal"] * 4}).to_csv(
        root / f"localization/sub_{subject}/depth-wm.csv", index=False)  # fmt: skip
    weights = {name: rng.standard_normal((2, DIMS)) / DIMS**0.5 for name in KINDS}
    for number in range(sessions):
        name = f"sub_{subject}_trial{number:03d}"
        (root / f"subject_metadata/{name}_metadata.json").write_text(json.dumps({"filename": FILM}))
        begin, end = onset[4] + 0.2, onset[-5] - 0.2  # of the triggers: four words before, five after
        trigger = np.arange(begin, end, 0.5)
        first = 3000 + 100 * number  # sample of the first trigger
        index = np.round(first + (trigger - begin) * RATE).astype(int)
        pd.DataFrame({"type": "frame", "movie_time": trigger, "index": index}).to_csv(
            root / f"subject_timings/{name}_timings.csv", index=False
        )
        length = int(first + (onset[-1] - begin + 5) * RATE)
        time = np.arange(length) / RATE
        with h5py.File(root / f"all_subject_data/{name}.h5", "w") as file:
            group = file.create_group("data")
            for k, label in enumerate(LABELS):
                clean = label.strip("*#")
                noise = rng.standard_normal(length)
                noise = np.convolve(noise, np.ones(10) / 10, "same") * 2
                trace = noise + 30 * np.sin(2 * np.pi * 60 * time + rng.uniform(0, 6)) + 5
                kind = KINDS.get(clean)
                if kind and kind != "neither":
                    w = weights[clean]
                    v, w2 = vision @ w[0], language @ w[1]
                    drive = {"vision": v, "language": w2, "both": v + w2, "product": 1.5 * v * w2}[kind]
                    at = np.round(first + (onset - begin + LATENCY[clean]) * RATE).astype(int)
                    shape = np.hanning(int(0.2 * RATE))
                    for a, d in zip(at, drive, strict=True):
                        if 0 <= a < length - len(shape):
                            trace[a : a + len(shape)] += signal * d * shape
                group[f"electrode_{k}"] = trace.astype("f4")
    return vision, language
