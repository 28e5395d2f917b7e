"""A small tree in the layout of the stories' derivatives: words that drive voxels two volumes later."""

import h5py
import numpy as np

WORDS = ("dog", "car", "naïve")
VOLUMES, VOXELS, TR = 60, 7, 2.0
STORIES = ("alpha", "beta", "gamma", "delta", "epsilon", "wheretheressmoke")


def textgrid(onsets, texts, stop):
    """Write Praat's long form: a tier of phones, which is no tier of words, then the words."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {stop}",
             "tiers? <exists>", "size = 2", "item []:"]  # fmt: skip
    for number, (name, labels) in enumerate([("phone", ["AH"] * len(texts)), ("word", texts)], 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"',
                  "        xmin = 0", f"        xmax = {stop}", f"        intervals: size = {len(texts)}"]  # fmt: skip
        ends = [*onsets[1:], stop]
        for i, (start, end, label) in enumerate(zip(onsets, ends, labels, strict=True), 1):
            quoted = label.replace('"', '""')
            lines += [f"        intervals [{i}]:", f"            xmin = {start:.3f}",
                      f"            xmax = {end:.3f}", f'            text = "{quoted}"']  # fmt: skip
    return "\n".join(lines) + "\n"


def build(root, *, subject="UTS01", seed=0):
    """Write words and responses; return the words of each volume of each story."""
    rng = np.random.default_rng(seed)
    (root / "TextGrids").mkdir(parents=True)
    (root / "preprocessed_data" / subject).mkdir(parents=True)
    truth = {}
    for story in STORIES:
        n = VOLUMES + 15  # as recorded, before ten and five volumes were cut off
        onsets = np.sort(rng.uniform(0, n * TR - 1, 2 * n)).round(3)
        texts = list(rng.choice(["sp", "{BR}", *WORDS], len(onsets), p=[0.05, 0.05, 0.3, 0.3, 0.3]))
        texts[0] = 'say "dog"'
        encoding = "utf-16" if story == "beta" else "utf-8"
        (root / f"TextGrids/{story}.TextGrid").write_text(textgrid(onsets, texts, n * TR), encoding=encoding)
        volume = (onsets // TR).astype(int)
        count = np.array([[sum(t == w for t, v in zip(texts, volume, strict=True) if v == i) for w in WORDS]
                          for i in range(n)], float)  # fmt: skip
        signal = np.zeros((n, VOXELS))
        signal[2:, :3] = count[:-2]  # voxels 0 to 2 follow a word each, the others nothing
        runs = 3 if story == "wheretheressmoke" else 1
        heard = signal[None, 10:-5] + rng.normal(0, 0.5, (runs, VOLUMES, VOXELS))
        with h5py.File(root / f"preprocessed_data/{subject}/{story}.hf5", "w") as file:
            file["data"] = heard.mean(0)
            if runs > 1:
                file["individual_repeats"] = heard
        truth[story] = count[10:-5]
    return truth
