"""Pairs made by an encoder: which pictures, how noisy, and that they teach nothing where nothing is known."""

import numpy as np
import pytest

from neuroenc import config, splits
from neuroenc.arrays import save
from neuroenc.decoders import augment
from neuroenc.decoders.decode import decode
from neuroenc.decoders.samples import lay_out, samples_of
from neuroenc.decoders.scores import score
from neuroenc.encoders.encode import encode
from neuroenc.encoders.store import predict_fits, save_fits
from neuroenc.errors import ContractError, InputError, InputWarning, LeakError
from tests.decoders.test_together import FAST, people  # noqa: F401

ASKED = config.Augmentation(fit="toy", share=0.6)


@pytest.fixture
def fitted(people, tmp_path):  # noqa: F811
    responses, features, split = people
    predictions, fits = encode(responses["01"], features, split, config.Ridge())
    path = tmp_path / "w.safetensors"
    save_fits(fits, features.attrs, responses["01"]["neuroid_id"].values, path)
    return responses["01"], features, split, augment.Encoder(path, predictions, features)


def pairs(responses, features, split, encoder, n=100, seed=0):
    options = config.RidgeDecoding()
    sides = lay_out(samples_of(responses, split, options)(0), features, split, 0, options)
    return augment.make_pairs(encoder, responses, split, 0, features, [], sides.response, n, seed), sides


def test_pictures_are_new_to_the_subject_and_none_is_tested(fitted):
    made, sides = pairs(*fitted, n=300)
    side = dict(zip(fitted[2]["stimulus_id"].values, fitted[2]["side"].values[0], strict=True))
    assert {side[s] for s in made.ids} == {splits.TRAIN} and not set(made.ids) & set(sides.ids)
    assert len(set(made.ids)) == 240 and np.bincount(np.unique(made.ids, return_inverse=True)[1]).max() == 2
    again, _ = pairs(*fitted, n=300)
    np.testing.assert_array_equal(made.response, again.response)
    other, _ = pairs(*fitted, n=300, seed=1)
    assert not np.array_equal(made.response, other.response)
    embedding = dict(zip(fitted[1]["stimulus_id"].values, fitted[1]["feature"].values, strict=True))
    np.testing.assert_allclose(made.embedding, np.stack([embedding[s] for s in made.ids]))


def test_noise_has_the_covariance_of_residuals():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    residual = rng.normal(size=(4000, 6)) @ root
    residual = np.c_[residual, np.zeros(4000)]  # what is predicted exactly has no noise
    noise = augment.draw_noise(residual, 40000, rng)
    true = np.cov(residual.T, bias=True)
    s = augment.choose_shrinkage(residual[:, :6])
    shrunk = (1 - s) * true + s * np.diag(np.diag(true))
    np.testing.assert_allclose(np.cov(noise.T), shrunk, atol=0.04 * np.diag(true).max())
    assert not noise[:, 6].any()


def test_residuals_are_of_validation_stimuli_alone(fitted):
    responses, features, split, encoder = fitted
    changed = responses.copy(deep=True)
    test = split["stimulus_id"].values[split["side"].values[0] == splits.TEST]
    changed["response"].values[np.isin(responses["stimulus_id"].values, test)] = 1e6
    one, _ = pairs(responses, features, split, encoder)
    two, _ = pairs(changed, features, split, encoder)
    np.testing.assert_array_equal(one.response, two.response)


@pytest.mark.parametrize("kind", [config.RidgeDecoding, config.NetworkDecoding])
def test_made_pairs_are_decoded_and_shuffled_ones_find_nothing(fitted, kind):
    responses, features, split, encoder = fitted
    options = kind(**(FAST if kind is config.NetworkDecoding else {"n_components": 8}))
    mixed = options.model_copy(update={"augment": ASKED})
    found = decode(responses, features, split, mixed, encoder=encoder)
    plain = decode(responses, features, split, options)
    np.testing.assert_array_equal(found["basis"].values, plain["basis"].values)  # the same space
    assert not np.array_equal(found["embedding"].values, plain["embedding"].values)
    assert score(found)["brain_to_image_top1"]["value"] > 0.3
    null = decode(responses, features, split, mixed, encoder=encoder, shuffle=0)
    assert score(null)["brain_to_image_top1"]["value"] < 0.15


def folder_of(features, split, n=90, n_tested=5):
    """Features of pictures of a folder, some of which are tested ones under other names."""
    rng = np.random.default_rng(9)
    known = features["feature"].values
    values = known[rng.integers(len(known), size=(n, 6))].mean(1) * 6**0.5  # of their kind, none of them
    tested = split["stimulus_id"].values[split["side"].values[0] == splits.TEST][:n_tested]
    copies = features.isel(stimulus=np.isin(features["stimulus_id"].values, tested))["feature"].values
    ids = np.array([f"mine/{i:03d}.png" for i in range(n + n_tested)])
    one = features.isel(stimulus=np.zeros(n + n_tested, int))
    made = one.assign(feature=(one["feature"].dims, np.concatenate([copies, values]).astype("f4")))
    return made.assign_coords(stimulus_id=("stimulus", ids))


def test_pairs_are_made_of_pictures_of_a_folder_without_those_that_are_tested(fitted):
    responses, features, split, encoder = fitted
    mine = folder_of(features, split)
    of = encoder._replace(features=mine, pictures=mine)
    with pytest.warns(
        InputWarning, match="5 of 95 pictures of the folder are tested in fold 0, first 'mine/000"
    ):
        made, sides = pairs(responses, features, split, of, n=180)
    assert set(made.ids) == set(mine["stimulus_id"].values[5:].tolist())
    embedding = dict(zip(mine["stimulus_id"].values, mine["feature"].values, strict=True))
    np.testing.assert_allclose(made.embedding, np.stack([embedding[s] for s in made.ids]))
    predicted = predict_fits(encoder.weights, mine, 0).values
    row = {s: i for i, s in enumerate(mine["stimulus_id"].values)}
    clean = (predicted[[row[s] for s in made.ids]] - sides.response.centre) / sides.response.scale
    residual = augment.residuals(encoder.predictions, responses, 0) / sides.response.scale
    ratio = (made.response - clean).std(0) / np.sqrt((residual**2).mean(0))
    assert np.abs(ratio - 1).max() < 0.3 and abs(ratio.mean() - 1) < 0.05
    asked = ASKED.model_copy(update={"pictures": "mine"})
    options = config.RidgeDecoding(n_components=8, augment=asked)
    with pytest.warns(InputWarning):
        found = decode(responses, features, split, options, encoder=of)
        null = decode(responses, features, split, options, encoder=of, shuffle=0)
    assert score(found)["brain_to_image_top1"]["value"] > 0.3
    assert score(null)["brain_to_image_top1"]["value"] < 0.15
    with pytest.raises(InputError, match="All 5 pictures of the folder are tested in fold 0"):
        pairs(responses, features, split, of._replace(pictures=mine.isel(stimulus=slice(0, 5))))
    with pytest.raises(ContractError, match="'weights'"):
        pairs(responses, features, split, of._replace(pictures=mine.assign_attrs(weights="others")))
    with pytest.raises(InputError, match=r"no features that the encoder reads, first 'mine/"):
        pairs(responses, features, split, of._replace(features=features))


def test_what_cannot_be_made_is_one_line(fitted, run, tmp_path):
    responses, features, split, encoder = fitted
    seen = np.isin(split["stimulus_id"].values, responses["stimulus_id"].values)
    with pytest.raises(InputError, match="saw all 120 training pictures"):
        pairs(responses, features, split.isel(stimulus=seen), encoder)
    with pytest.raises(InputError, match="a fitted encoder is not given"):
        decode(responses, features, split, config.RidgeDecoding(augment=ASKED))
    for name, values in {"r": responses, "f": features, "s": split, "p": encoder.predictions}.items():
        save(values, tmp_path / f"{name}.nc")
    command = [
        "decode", "fit", "--responses", tmp_path / "r.nc", "--features", tmp_path / "f.nc", "--split",
        tmp_path / "s.nc", "--options", '{"n_components": 8, "augment": {"fit": "toy", "share": 0.6}}',
        "--out", tmp_path / "e.nc", "--weights", encoder.weights,
    ]  # fmt: skip
    status, _, error = run(*command)
    assert status == 2 and "given together" in error and error.count("\n") == 1
    rest = ["--predictions", tmp_path / "p.nc", "--encoder-features", tmp_path / "f.nc"]
    assert run(*command, *rest)[0] == 0 and (tmp_path / "e.nc").exists()
    status, _, error = run(*command, *rest, "--pictures", tmp_path / "f.nc")
    assert status == 2 and "`augment.pictures` is 'pool', and --pictures is given" in error
    save(folder_of(features, split), tmp_path / "mine.nc")
    mine = '{"n_components": 8, "augment": {"fit": "toy", "share": 0.6, "pictures": "mine"}}'
    rest = ["--predictions", tmp_path / "p.nc", "--encoder-features", tmp_path / "mine.nc", "--options", mine]
    assert "--pictures is not given" in run(*command, *rest)[2]
    status, _, error = run(*command, *rest, "--pictures", tmp_path / "mine.nc")
    assert status == 0 and "5 of 95 pictures of the folder" in error


def test_encoders_of_another_split_are_refused(fitted):
    responses, features, split, encoder = fitted
    other = split.copy(deep=True)
    side, inner = other["side"].values[0], other["inner"].values[0]
    test, seen = np.flatnonzero(side == splits.TEST), np.flatnonzero(side == splits.TRAIN)[:40]
    side[test], side[seen], inner[test], inner[seen] = splits.TRAIN, splits.TEST, inner[seen], -1
    with pytest.raises(LeakError, match="fitted to 40 of 40 stimuli that fold 0 tests, first 'p000'"):
        pairs(responses, features, other, encoder)
    with pytest.raises(InputError, match="no features that the encoder reads, first 'p120'"):
        pairs(responses, features, split, encoder._replace(features=features.isel(stimulus=slice(0, 120))))
    without = encoder.predictions.isel(held=slice(0, 0))
    with pytest.raises(InputError, match="hold 0 folds with validation stimuli, none of them fold 0"):
        pairs(responses, features, split, encoder._replace(predictions=without))
