"""Captions of voxels that are noise claim nothing, however many there are; what is not a number is not said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from neuroenc import splits
from neuroenc.arrays import CONTRACT, make_features, make_stimuli
from neuroenc.config import Split
from neuroenc.decoders import voxels
from neuroenc.evaluation import captions as metrics
from neuroenc.ranking import ahead
from neuroenc.words import content_words
from tests.conftest import toy_responses

N, KINDS, COLOURS = 120, ["cat", "boat", "house", "tree"], ["red", "blue", "green"]


def noise(seed, n_neuroids, missing=0.0):
    """Pictures of kinds and colours, and responses that know nothing of them."""
    rng = np.random.default_rng(seed)
    kind, colour = rng.integers(0, 4, N), rng.integers(0, 3, N)
    embedding = np.eye(7)[kind] + np.eye(7)[4 + colour] + 0.3 * rng.normal(size=(N, 7))
    ids = np.array([f"p{i:03d}" for i in range(N)])
    said = np.array([f"A {COLOURS[c]} {KINDS[k]}." for k, c in zip(kind, colour, strict=True)])
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": ids},
        attrs={"dataset": "toy", "pixels": "none"}, captions=said[:, None],
    )  # fmt: skip
    response = rng.normal(size=(N, n_neuroids)).astype("f4")
    response[rng.random(response.shape) < missing] = np.nan
    features = make_features(
        embedding.astype("f4"), stimulus_id=ids, layer=np.full(7, "out"), attrs=dict.fromkeys(CONTRACT, "x")
    )
    split = splits.make(stimuli, Split(kind="stimulus", test_fraction=0.3))
    return toy_responses(rng, ids, response), features, stimuli, split


@pytest.mark.parametrize(("n_neuroids", "n_worlds"), [(1, 60), (2, 40), (6, 20), (100, 4)])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_captions_of_noise_are_at_chance(n_neuroids, n_worlds, missing, monkeypatch):
    p = voxels.permutation_p  # fewer permutations than a real run
    monkeypatch.setattr(voxels, "permutation_p", lambda *a, **k: p(*a, **k, n=199))
    confident, rank, null, r = [], [], [], []
    for seed in range(n_worlds):
        table = voxels.caption_voxels(*noise(seed, n_neuroids, missing))
        confident.append(table["confident"].any())
        rank.append(table["spearman"].mean())
        null.append(table["spearman_null"].mean())
        r.append(table["test_r"].mean())
    # after false discovery rate a world of noise names a voxel at most as often as the level says
    assert sum(confident) <= binom.ppf(1 - 1e-5, n_worlds, 0.05)
    for values in (rank, null, r):
        assert abs(np.mean(values)) < 5 * np.std(values) / np.sqrt(n_worlds - 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_word_whose_score_is_not_a_number_is_not_said(seed, share):
    rng = np.random.default_rng(seed)
    names = [*KINDS, *COLOURS]
    texts = [f"a {c} {k}" for c in COLOURS for k in KINDS] + KINDS
    score = rng.normal(size=(5, 7))
    score[rng.random(score.shape) < share] = np.nan
    for row, said in zip(score, voxels.caption(score, names, texts), strict=True):
        value = {t: np.mean([row[names.index(w)] for w in content_words(t)]) for t in texts}
        finite = {t: v for t, v in value.items() if np.isfinite(v)}
        assert (said == "") if not finite else value[said] == pytest.approx(max(finite.values()))


@pytest.mark.parametrize("measure", [metrics.meteor, metrics.rouge_l, metrics.cider])
def test_captions_dealt_anew_are_no_more_like_their_picture_than_like_others(measure):
    rng = np.random.default_rng(0)
    below, above = [], []
    for _ in range(30):
        texts = [f"a {rng.choice(COLOURS)} {rng.choice(KINDS)} and {rng.choice(KINDS)}" for _ in range(24)]
        said, references = texts[:12], [[t] for t in texts[12:]]
        table = np.array([measure([s] * 12, references) for s in said])
        own = np.diag(table)[:, None]
        below.append(((table > own).sum(1) + ((table == own).sum(1) - 1) / 2).mean() / 11)
        above.append(1 - ahead(table).mean() / 11)
    assert np.mean(below) == pytest.approx(0.5, abs=5 * np.std(below) / np.sqrt(29))
    assert np.mean(above) < 0.5  # an equal one is not a hit
