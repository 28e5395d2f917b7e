"""One space for several recordings: what they share is found, what one lacks does no harm."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from neuroenc.decoders.fused import average, fuse, modality_of, row_cosine
from neuroenc.decoders.graph import SensorGraph, adjacency
from neuroenc.decoders.joint import JointDecoder
from neuroenc.decoders.retrieve import hits
from neuroenc.errors import InputError
from neuroenc.evaluation.identification import cosine

FAST = {"n_components": 6, "n_hidden": 32, "n_blocks": 1, "max_epochs": 4, "batch_size": 64, "cv": 4}
SEEN = {
    "eeg:01": [0, 1, 2, 3],
    "eeg:02": [0, 1, 2, 3],
    "fmri:01": [2, 3, 4, 5],
}  # dimensions of what was shown


def world(n=240, seed=0, noise=1.0):
    """Embeddings of six dimensions, and recordings that see four of them each, of other pictures in part."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 6)).astype("f4")
    maps = np.random.default_rng(1)
    X = {}
    for name, seen in SEEN.items():
        away = maps.normal(size=(len(seen), 30))
        X[name] = (z[:, seen] @ away + noise * rng.normal(size=(n, 30)) * 2).astype("f4")
    return X, z


def fitted(X, z, rows, **how):
    return JointDecoder(**FAST | how).fit(
        {n: X[n][r] for n, r in rows.items()}, {n: z[r] for n, r in rows.items()}
    )


@pytest.fixture(scope="module")
def decoded():
    X, z = world()
    rows = {"eeg:01": np.arange(0, 120), "eeg:02": np.arange(40, 160), "fmri:01": np.arange(80, 180)}
    model = fitted(X, z, rows)
    test = np.arange(180, 240)
    return {n: model.predict(X[n][test], n) for n in X}, z[test], test


def test_each_recording_and_all_together_find_what_was_seen(decoded):
    found, true, test = decoded
    label = {n: test.astype(str) for n in found}
    names, joint = fuse(label, found)
    order = np.searchsorted(names, test.astype(str))
    near = {n: row_cosine(v, true) for n, v in found.items()}
    together = row_cosine(joint[order], true)
    for name, of_one in near.items():
        gain = together - of_one
        drawn = np.random.default_rng(0).integers(0, len(gain), (1000, len(gain)))
        assert np.quantile(gain[drawn].mean(1), 0.025) > 0, name
    assert hits(cosine(joint[order], true), 1).mean() > 20 / len(test)
    # what one recording decodes finds the response of another modality
    assert hits(cosine(found["eeg:01"], found["fmri:01"]), 5).mean() > 2 * 5 / len(test)


def test_labels_dealt_anew_are_chance():
    X, z = world()
    rng = np.random.default_rng(3)
    dealt = {n: z[:180][rng.permutation(180)] for n in X}
    model = JointDecoder(**FAST).fit({n: v[:180] for n, v in X.items()}, dealt)
    found = [model.predict(X[n][180:], n) for n in X]
    assert hits(cosine(found[0], z[180:]), 5).mean() < 2 * 5 / 60
    assert hits(cosine(found[0], found[2]), 5).mean() < 2 * 5 / 60


def test_an_adapter_of_a_modality_that_is_not_there_does_no_harm(decoded):
    """Stimuli without fMRI: their fusion is that of EEG; and EEG is decoded no worse beside fMRI than alone."""
    found, true, test = decoded
    label = {n: test.astype(str) for n in found}
    some = {n: (v[:20] if n.startswith("fmri") else v) for n, v in label.items()}
    part = {n: (v[:20] if n.startswith("fmri") else v) for n, v in found.items()}
    names, joint = fuse(some, part)
    both, eeg = (np.searchsorted(names, test[i].astype(str)) for i in (slice(20), slice(20, None)))
    np.testing.assert_allclose(joint[eeg], (found["eeg:01"][20:] + found["eeg:02"][20:]) / 2, atol=1e-6)
    expected = ((found["eeg:01"][:20] + found["eeg:02"][:20]) / 2 + found["fmri:01"][:20]) / 2
    np.testing.assert_allclose(joint[both], expected, atol=1e-6)
    X, z = world()
    alone = fitted(X, z, {"eeg:01": np.arange(120)})
    worse = row_cosine(alone.predict(X["eeg:01"][test], "eeg:01"), true) - row_cosine(found["eeg:01"], true)
    drawn = np.random.default_rng(0).integers(0, len(worse), (1000, len(worse)))
    assert np.quantile(worse[drawn].mean(1), 0.975) < 0.1


def test_a_subject_that_was_not_trained_on_is_read_through_others():
    X, z = world()
    X["eeg:03"] = (X["eeg:01"] + X["eeg:02"]) / 2  # the same channels, a mixture of the others
    rows = {n: np.arange(180) for n in ("eeg:01", "eeg:02")}
    model = fitted(X, z, rows)
    new = X["eeg:03"][180:]
    found = model.predict_components(new, "eeg:03", ["eeg:01", "eeg:02"])
    each = [model.predict_components(new, "eeg:03", [n]) for n in ("eeg:01", "eeg:02")]
    np.testing.assert_allclose(found, np.mean(each, 0), atol=1e-6)
    with pytest.raises(InputError, match=r"'eeg:03'.*eeg:01"):
        model.predict(new, "eeg:03")
    with pytest.raises(InputError, match="29 neuroids"):
        model.predict_components(new[:, :29], "eeg:03", ["eeg:01"])


def test_the_order_of_recordings_of_test_rows_and_a_second_run_change_nothing():
    X, z = world(120)
    rows = dict.fromkeys(SEEN, np.arange(90))
    one, other = (fitted(X, z, rows, max_epochs=2) for _ in range(2))
    a = one.predict(X["fmri:01"][90:], "fmri:01")
    np.testing.assert_array_equal(a, other.predict(X["fmri:01"][90:], "fmri:01"))
    np.testing.assert_allclose(one.predict(X["fmri:01"][90:][::-1], "fmri:01")[::-1], a, atol=1e-5)


def test_epochs_and_voxels_share_a_space_and_texts_are_contrasted():
    X, z = world(120)
    rows = np.arange(90)
    texts = dict.fromkeys(X, z[:90, :3])
    model = JointDecoder(**FAST | {"n_times": {"eeg": 10}, "max_epochs": 2})
    model.fit({n: v[rows] for n, v in X.items()}, dict.fromkeys(X, z[rows]), texts)
    assert [f.n_times for f in model.fronts_.values()] == [10, 10, None]
    assert model.module_.text.out_features == 3 and np.isfinite(model.predict(X["eeg:01"], "eeg:01")).all()
    with pytest.raises(InputError, match="no epochs of 7 samples"):
        JointDecoder(n_times={"eeg": 7}).fit(X, dict.fromkeys(X, z))


def test_average_and_fuse_are_plain_means():
    names, mean = average(["b", "a", "b"], [[1.0], [5.0], [3.0]])
    assert names.tolist() == ["a", "b"] and mean.ravel().tolist() == [5.0, 2.0]
    names, mean = fuse(
        {"eeg:1": ["a"], "eeg:2": ["a"], "meg:1": ["a", "c"]},
        {"eeg:1": [[0.0]], "eeg:2": [[4.0]], "meg:1": [[8.0], [1.0]]},
    )
    assert names.tolist() == ["a", "c"] and mean.ravel().tolist() == [5.0, 1.0]


@pytest.mark.parametrize("name", ["eeg", ":01", "eeg:", "eeg:0.1", "eeg:0:1"])
def test_names_of_recordings(name):
    with pytest.raises(InputError, match="MODALITY:SUBJECT"):
        modality_of(name)


def test_what_cannot_be_trained_on_is_one_line():
    X, z = world(60)
    y = dict.fromkeys(X, z)
    bad = X | {"eeg:02": np.where(np.arange(30) == 3, np.nan, X["eeg:02"])}
    for given, targets, words in (
        (bad, y, r"'eeg:02' have NaN or infinite values in columns \[3\]"),
        (X, {"eeg:01": z}, "'recording': 'eeg:02'"),
        (X, y | {"fmri:01": z[:5]}, "60 rows, y has 5"),
        ({}, {}, "no recordings"),
        (X | {"eeg:01": X["eeg:01"][0]}, y, r"shape \(30,\)"),
    ):
        with pytest.raises(InputError, match=words) as error:
            JointDecoder().fit(given, targets)
        assert "\n" not in str(error.value)


def test_a_graph_joins_each_sensor_to_its_nearest():
    """As scikit-learn's neighbours, normalised as scipy's Laplacian; sensors in one place are neighbours."""
    from scipy.sparse.csgraph import laplacian
    from sklearn.neighbors import kneighbors_graph

    place = np.random.default_rng(0).normal(size=(30, 3))
    near = kneighbors_graph(place, 6).toarray().astype(bool)
    weights = (near | near.T).astype(float) + np.eye(30)
    degree = weights.sum(1)
    assert adjacency(place) == pytest.approx(weights / np.sqrt(np.outer(degree, degree)), abs=1e-6)
    alone = (near | near.T).astype(float)  # without loops, the smallest eigenvalue of the Laplacian is 0
    assert np.linalg.eigvalsh(laplacian(alone, normed=True))[0] == pytest.approx(0, abs=1e-9)
    assert np.linalg.eigvalsh(adjacency(place))[-1] == pytest.approx(1, abs=1e-6)
    assert adjacency(1000 * place) == pytest.approx(adjacency(place))
    twins = np.repeat(place[:4], 2, 0)
    assert (np.diag(adjacency(twins, 1)) > 0).all() and adjacency(twins, 1)[0, 1] == 0.5
    assert adjacency(place[:3]) == pytest.approx(np.full((3, 3), 1 / 3))


def test_a_graph_of_sensors_is_its_equation_and_is_trained():
    rng = np.random.default_rng(0)
    place, n_times = rng.normal(size=(24, 3)), 5
    torch.manual_seed(0)
    module = SensorGraph(place, n_times, 7, dropout=0.5).eval()
    x = rng.normal(size=(3, 24, n_times)).astype("f4")
    hidden = x.astype(float)
    for weight in module.weights:
        w, b = weight.weight.detach().double().numpy(), weight.bias.detach().double().numpy()
        hidden = adjacency(place).astype(float) @ (hidden @ w.T + b)
        hidden = hidden - hidden.mean((1, 2), keepdims=True)
        hidden /= np.sqrt((hidden**2).mean((1, 2), keepdims=True) + 1e-5)
        hidden = hidden * norm.cdf(hidden)
    w, b = module.out.weight.detach().double().numpy(), module.out.bias.detach().double().numpy()
    with torch.inference_mode():
        found = module(torch.from_numpy(x.reshape(3, -1))).numpy()
    assert found == pytest.approx(hidden.reshape(3, -1) @ w.T + b, abs=1e-4)

    X, z = world()
    X = {name: np.repeat(v, 2, 1) for name, v in X.items()}  # 30 sensors, two samples
    rows = {"eeg:01": np.arange(150), "fmri:01": np.arange(150)}
    position = {"eeg:01": rng.normal(size=(30, 3))}
    how = {"n_times": {"eeg": 2}, "position": position, "max_epochs": 2}
    model = fitted(X, z, rows, **how)
    assert isinstance(model.module_.first["reeg:01"], SensorGraph)
    assert row_cosine(model.predict(X["eeg:01"][180:], "eeg:01"), z[180:]).mean() > 0.5
    for wrong in ({"position": {"eeg:01": position["eeg:01"][1:]}}, {"n_times": None}):
        with pytest.raises(InputError, match=r"positions of 'eeg:01' have shape .* one of each channel"):
            fitted(X, z, rows, **how | wrong)
