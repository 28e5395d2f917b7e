"""A small tree in the layout of Pereira 2018: two experiments whose voxels overlap."""

import numpy as np
import scipy.io

SIZES = {"384sentences": (24, 6), "243sentences": (15, 5)}  # sentences, passages
VOXELS = {"384sentences": 30, "243sentences": 28}
ATLASES = ["languageLH", "AAL"]


def cell(values):
    out = np.empty((len(values), 1), object)
    out[:, 0] = values
    return out


def build(root, *, subject="P01", seed=0, names=tuple(SIZES)):
    """Write the experiments; return the examples."""
    rng = np.random.default_rng(seed)
    (root / subject).mkdir(parents=True)
    grid = np.argwhere(np.ones((4, 4, 3), int)) + 1
    written = {}
    for name in names:
        n, passages = SIZES[name]
        voxels = VOXELS[name]
        coordinate = grid[:voxels] if name == "384sentences" else grid[30 - voxels + 2 :][:voxels]
        label = np.repeat(np.arange(1, passages + 1), -(-n // passages))[:n]
        examples = rng.standard_normal((n, voxels)) + 100 * (name == "243sentences")
        language = (coordinate[:, 2] == 1).astype(int) * (1 + (coordinate[:, 0] > 2))
        meta = {
            "colToCoord": coordinate, "indicesIn3D": np.arange(1, voxels + 1)[:, None],
            "atlases": cell(ATLASES),
            "rois": cell([cell(["LIFG", "LPostTemp"]), cell(["Precentral_L"])]),
            "roiMultimask": cell([language[:, None], (coordinate[:, 1] == 2).astype(int)[:, None]]),
        }  # fmt: skip
        scipy.io.savemat(
            root / subject / f"examples_{name}.mat",
            {
                "examples": examples, "meta": meta,
                "keySentences": cell([f"Sentence {i} of a naïve text." for i in range(n)]),
                "keyPassages": cell([f"passage {i}" for i in range(passages)]),
                "labelsPassageForEachSentence": label[:, None],
                "keyPassageCategory": cell(["animal", "tool"]),
                "labelsPassageCategory": (1 + np.arange(passages) % 2)[:, None],
            },
        )  # fmt: skip
        written[name] = (examples, coordinate, label)
    return written
