"""The diffusion prior on data whose posterior is known."""

import numpy as np
import pytest
import torch

from neuroenc import config
from neuroenc.decoders.decode import decode, out_of_fold
from neuroenc.decoders.prior import DiffusionPrior
from neuroenc.decoders.scores import prior_gain
from neuroenc.decoders.target import Target
from neuroenc.encoders.design import Design
from neuroenc.errors import InputError
from tests.decoders.test_decode import arrays, world  # noqa: F401

FAST = {
    "n_layers": 2,
    "n_heads": 2,
    "head_width": 16,
    "max_epochs": 30,
    "dropout": 0.0,
    "learning_rate": 2e-3,
}


def clusters(n=800, seed=0):
    """Embeddings in four tight clusters, seen through noise."""
    rng = np.random.default_rng(seed)
    centre = np.random.default_rng(1).normal(size=(4, 6))
    which = rng.integers(4, size=n)
    true = centre[which] + 0.1 * rng.normal(size=(n, 6))
    return (true + 0.9 * rng.normal(size=true.shape)).astype("f4"), true.astype("f4"), centre, which


def distance(values, centre):
    return np.sqrt(((values[:, None] - centre) ** 2).sum(-1)).min(1).mean()


def test_samples_lie_where_pictures_do_and_their_mean_is_the_posterior_mean():
    X, y, centre, which = clusters()
    prior = DiffusionPrior(**FAST | {"max_epochs": 80, "patience": 30}).fit(X[:600], y[:600])
    sampled = prior.sample(X[600:], seed=1)
    # Gaussian clusters seen through Gaussian noise: the posterior mean has a closed form
    shrink = 0.1**2 / (0.1**2 + 0.9**2)
    log = -((X[600:, None] - centre) ** 2).sum(-1) / (2 * (0.1**2 + 0.9**2))
    weight = np.exp(log - log.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    bayes = (weight[..., None] * (centre + shrink * (X[600:, None] - centre))).sum(1)
    linear = np.linalg.lstsq(np.c_[X[:600], np.ones(600)], y[:600], rcond=None)[0]
    plain = np.c_[X[600:], np.ones(200)] @ linear
    assert distance(sampled, centre) < 0.25 < 2 * distance(y[600:], centre) < distance(plain, centre)
    mean = prior.sample(X[600:], n_samples=30)
    error, best = (((v - y[600:]) ** 2).mean() for v in (mean, bayes))
    assert error < 1.25 * best
    # without the condition every cluster is drawn about as often as it stands in training
    free = prior.sample(X[600:], guidance=0)
    drawn = np.bincount(((free[:, None] - centre) ** 2).sum(-1).argmin(1), minlength=4) / 200
    np.testing.assert_allclose(drawn, np.bincount(which[:600], minlength=4) / 600, atol=0.15)


def test_a_killed_run_ends_in_the_same_weights_and_seeds_count(tmp_path):
    X, y, *_ = clusters(200)
    whole = DiffusionPrior(**FAST | {"max_epochs": 4}).fit(X, y)
    path = tmp_path / "state.safetensors"
    short = DiffusionPrior(**FAST | {"max_epochs": 4}, checkpoint=path)

    def stop(*_):
        raise KeyboardInterrupt

    real = torch.randint
    calls = []

    def counted(*args, **kwargs):
        calls.append(1)
        return stop() if len(calls) == 9 else real(*args, **kwargs)

    torch.randint = counted
    try:
        with pytest.raises(KeyboardInterrupt):
            short.fit(X, y)
    finally:
        torch.randint = real
    resumed = DiffusionPrior(**FAST | {"max_epochs": 4}, checkpoint=path).fit(X, y)
    np.testing.assert_array_equal(whole.sample(X[:5]), resumed.sample(X[:5]))
    np.testing.assert_allclose(whole.sample(X[:5], seed=3)[2:], whole.sample(X[2:5], seed=5), atol=1e-5)
    assert (whole.sample(X[:5], seed=1) != whole.sample(X[:5], seed=0)).all()


def test_tokens_keep_their_shape():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3, 10)).astype("f4"), rng.normal(size=(60, 5, 8)).astype("f4")
    prior = DiffusionPrior(**FAST | {"max_epochs": 1}).fit(X, y)
    assert prior.sample(X[:4], n_steps=3).shape == (4, 5, 8)
    assert prior.module_.transformer.positional_embedding.shape[1] == 3 + 1 + 5
    assert not prior.module_.transformer.clip_std.requires_grad
    with pytest.raises(InputError, match="Embeddings of shape"):
        prior.sample(X[:, :2])
    with pytest.raises(InputError, match="not finite, first row 0"):
        prior.sample(X * np.nan)
    with pytest.raises(InputError, match=r"Embeddings of shape \(0, 3, 10\)"):
        prior.sample(X[:0])
    with pytest.raises(InputError, match="Expected 1 to 100 steps"):
        prior.sample(X, n_steps=0)
    with pytest.raises(InputError, match="60 decoded and 59 true"):
        prior.fit(X, y[:59])


def test_what_it_learns_from_was_not_fitted():
    embedding, response = world(noise=3.0, n_neuroids=200)  # more neuroids than rows: training is fitted well
    inner = np.repeat(np.arange(len(response))[:, None] % 4, 3, 1)
    target = Target.fit(embedding, 8)
    options = config.RidgeDecoding(n_components=8, alphas=(-3, -3, 1))
    found = out_of_fold(options, Design(response), Design(embedding), inner, target)
    true = target.transform(embedding)
    r = np.corrcoef(found.ravel(), true.ravel())[0, 1]
    dealt = embedding[np.random.default_rng(0).permutation(len(embedding))]
    null = out_of_fold(options, Design(response), Design(dealt), inner, target)
    assert r > 0.3 > abs(np.corrcoef(null.ravel(), target.transform(dealt).ravel())[0, 1])


def test_the_gain_over_the_plain_projection_is_reported(arrays):  # noqa: F811
    options = config.RidgeDecoding(n_components=8, prior=config.Prior(max_epochs=5, n_steps=5))
    found = decode(*arrays, options)
    assert found["sampled"].shape == found["embedding"].shape
    gain = prior_gain(found, n_bootstraps=100)
    for values in gain.values():
        assert values["low"] <= values["gain"] <= values["high"]
    plain = np.sqrt((found["embedding"].values ** 2).mean())
    assert gain["length"]["plain"] == pytest.approx(plain, rel=1e-5)
    same = found.assign(sampled=found["embedding"])
    assert all(v["gain"] == v["low"] == v["high"] == 0 for v in prior_gain(same, n_bootstraps=50).values())


def test_what_a_prior_makes_is_kept_with_what_validation_chose(arrays, tmp_path):  # noqa: F811
    from neuroenc.arrays import load, save
    from neuroenc.decoders.choice import candidates, point_estimate
    from neuroenc.decoders.scores import score

    options = config.RidgeDecoding(n_components=8, prior=config.Prior(max_epochs=3, n_steps=5, n_samples=4))
    found = decode(*arrays, options)
    save(found, tmp_path / "e.nc")
    found = load(tmp_path / "e.nc", "embeddings")
    share = np.atleast_1d(found.attrs["prior_share"])
    folds = np.unique(found["fold"].values)
    assert len(share) == len(folds) and found.attrs["prior_choice"].startswith("fold 0: ")
    for f in folds:
        mine = found["fold"].values == f
        mixed = (1 - share[f]) * found["embedding"].values[mine] + share[f] * found["expected"].values[mine]
        np.testing.assert_allclose(found["point"].values[mine], mixed, rtol=1e-5, atol=1e-6)
        held = found["held_stimulus_id"].values[found["held_fold"].values == f]
        assert len(held) and not set(held) & set(found["stimulus_id"].values[mine])
        assert set(candidates(found, f)) == set(candidates(found, f, held=True))
    # few epochs of few pictures know less than the ridge: it is left as it is
    assert not share.any()
    plain = decode(*arrays, options.model_copy(update={"prior": None}))
    np.testing.assert_allclose(point_estimate(found), plain["embedding"].values, rtol=1e-5)
    assert (
        score(found, n_bootstraps=10)["brain_to_image_top1"]
        == score(plain, n_bootstraps=10)["brain_to_image_top1"]
    )
