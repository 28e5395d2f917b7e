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


def build_concepts(root, *, subject="P01", seed=0, n=12, kind="examples"):
    """Write the three paradigms of a few concepts, which stand in another order in each; return the examples."""
    rng = np.random.default_rng(seed)
    (root / subject).mkdir(parents=True)
    coordinate = np.argwhere(np.ones((3, 3, 2), int)) + 1
    concept = [f"concept{i:02d}" for i in range(n)]
    written = {}
    for name in ("pictures", "sentences", "wordclouds"):
        order = rng.permutation(n)
        examples = rng.standard_normal((n, len(coordinate)))
        meta = {
            "colToCoord": coordinate, "atlases": cell(["languageLH", "AAL"]),
            "rois": cell([cell(["LIFG", "LPostTemp"]), cell(["Precentral_L"])]),
            "roiMultimask": cell([(coordinate[:, 2] == 1).astype(int)[:, None],
                                  (coordinate[:, 1] == 2).astype(int)[:, None]]),
        }  # fmt: skip
        scipy.io.savemat(
            root / subject / f"{kind}_180concepts_{name}.mat",
            {
                "examples": examples, "meta": meta, "keyConcept": cell(concept),
                "labelsConcept": order[:, None] + 1, "labelsConcreteness": rng.random((n, 1)),
            },
        )  # fmt: skip
        written[name] = {concept[c]: row for c, row in zip(order, examples, strict=True)}
    return written
