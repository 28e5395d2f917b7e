"""What of a prior is used, and which of several draws is kept."""

import numpy as np
import pytest

from neuroenc.decoders.choice import SHARES, choose, choose_share, mixture, nearest, rescaled
from neuroenc.decoders.drawing import draw_best
from neuroenc.decoders.target import Target

RNG = np.random.default_rng(0)


def test_without_evidence_the_first_is_used():
    noise = RNG.normal(size=200)
    assert choose({"a": noise, "b": noise + 0.02 * RNG.normal(size=200)}).name == "a"
    assert choose({"a": noise, "b": noise + 0.1}).name == "b"
    assert choose({"a": noise, "b": noise - 1, "c": noise + 0.2 + RNG.normal(size=200)}).name in "ac"
    same = choose({"a": noise, "b": noise})
    assert same.name == "a" and same.n == 200 and "a 0" in str(same).replace("-", "")


def test_retrieval_takes_of_the_prior_what_helps_it():
    true = RNG.normal(size=(150, 20)).astype("f4")
    good, bad = true + RNG.normal(size=true.shape), true + 4 * RNG.normal(size=true.shape)
    random = RNG.normal(size=true.shape)
    assert choose_share(good, random, true)[0] == 0
    assert choose_share(bad, good, true)[0] >= 0.75
    # two estimates with errors of their own are best mixed
    one, two = (true + 3 * RNG.normal(size=true.shape) for _ in range(2))
    assert 0.1 <= choose_share(one, two, true)[0] <= 0.75
    share, choice = choose_share(random, RNG.normal(size=true.shape), true)
    assert share in SHARES and choice.n == 150
    np.testing.assert_allclose(mixture(good, bad, 0.25), 0.75 * good + 0.25 * bad, rtol=1e-5)


def test_the_nearest_sample_is_that_of_the_highest_cosine():
    decoded = RNG.normal(size=(7, 5)).astype("f4")
    samples = RNG.normal(size=(9, 7, 5)).astype("f4")
    cos = [
        [np.corrcoef(np.r_[s, -s], np.r_[d, -d])[0, 1] for s, d in zip(k, decoded, strict=True)]
        for k in samples
    ]
    np.testing.assert_array_equal(nearest(samples, decoded), samples[np.argmax(cos, 0), np.arange(7)])


def test_rescaling_keeps_the_direction():
    decoded = np.vstack([RNG.normal(size=(4, 6)) * 0.2, np.zeros((1, 6))]).astype("f4")
    found = rescaled(decoded)
    np.testing.assert_allclose((found[:4] ** 2).mean(1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.cross(found[:4, :3], decoded[:4, :3]), 0, atol=1e-6)
    assert not found[4].any()


def test_the_best_draw_is_most_like_what_was_decoded_whatever_the_truth():
    """A painter of noise around the embedding, more of it in some draws, and an eye that reads it back."""
    target = Target.fit(RNG.normal(size=(60, 3)), 3)
    embedding = RNG.normal(size=(5, 3)).astype("f4")

    def paint(embedding, *, n, init, strength, guidance, n_steps, seed):
        drawn = [np.random.default_rng(seed + i).normal(size=3) for i in range(n)]
        values = np.clip((embedding + 0.5 * np.array(drawn)) * 20 + 128, 0, 255)
        return values.astype("u1")[:, None, None]

    def eye(pictures):
        return ((pictures[:, 0, 0].astype("f4") - 128) / 20).astype("f4")

    how = {"guidance": 1.0, "n_steps": 1, "strength": 1.0, "seed": 4}
    one = draw_best(paint, embedding, 5, None, how, 1, eye, target)
    many = draw_best(paint, embedding, 5, None, how, 8, eye, target)
    assert not one.draw.any() and many.draw.any() and many.draw.max() < 8

    def agreement(pictures):
        a, b = target.transform(eye(pictures)), target.transform(embedding)
        return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    assert (agreement(many.picture) >= agreement(one.picture)).all()
    each = [
        draw_best(paint, embedding, 5, None, {**how, "seed": 4 + 5 * k}, 1, eye, target).picture
        for k in range(8)
    ]
    np.testing.assert_array_equal(many.draw, np.argmax([agreement(p) for p in each], 0))
    none = draw_best(lambda e, *, n, **_: np.zeros((n, 1, 1, 3), "u1"), None, 5, None, how, 8, eye, target)
    assert none.picture.shape == (5, 1, 1, 3)


def test_a_single_stimulus_is_no_evidence():
    assert choose({"0": np.array([0.5]), "1": np.array([1.0])}).name == "0"


@pytest.mark.parametrize("n", [1, 2])
def test_few_validation_stimuli_choose_nothing(n):
    import xarray as xr

    from neuroenc.decoders.drawing import choose_for_pictures

    values = RNG.normal(size=(n, 3)).astype("f4")
    held = {
        f"held_{k}": (("held", "component"), values) for k in ("embedding", "sampled", "expected", "true")
    }
    found = xr.Dataset(held, {"held_fold": ("held", np.zeros(n, int))}, {"prior_share": [0.0]})
    assert choose_for_pictures(found, 0, None, lambda p: p, 48, {}).name == "prior"
