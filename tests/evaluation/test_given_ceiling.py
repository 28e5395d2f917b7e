"""Noise ceilings that come with a dataset, from its own files to the normalised score."""

import numpy as np
import pytest
from layouts import algonauts2023, things_fmri
from sklearn.linear_model import Ridge

from neuroenc import config, datasets, splits
from neuroenc.arrays import CONTRACT, load, make_features, save
from neuroenc.encoders.encode import encode
from neuroenc.evaluation.evaluate import evaluate


def algonauts(root):
    """Nothing is repeated; each vertex has a ceiling of its own."""
    algonauts2023.build(root)
    folder = root / "subj01/test_split/noise_ceiling"
    folder.mkdir(parents=True)
    rows = iter(np.linspace(0.02, 1, sum(algonauts2023.VERTICES.values())))
    single = []
    for side, n in algonauts2023.VERTICES.items():
        single += [next(rows) for _ in range(n)]
        np.save(folder / f"{side}_noise_ceiling.npy", np.array(single[-n:]))
    return {"name": "algonauts2023"}, config.Split(kind="stimulus", test_fraction=0.4, n_inner=2), single, 1


def things(root):
    """Test pictures are shown four times; the ceiling of one trial is 12 %."""
    things_fmri.build(root)
    options = {"name": "things_fmri", "mask": "rois"}
    return options, config.Split(kind="dataset", n_inner=2), [0.12] * 7, things_fmri.REPEATS


@pytest.mark.parametrize("build", [algonauts, things])
def test_scores_are_normalised_by_the_ceiling_that_is_given(build, tmp_path):
    named, how, single, repeats = build(tmp_path / "tree")
    options = config.Dataset(**named, root=str(tmp_path / "tree"))
    module = datasets.module(options)
    stimuli, responses = module.load_stimuli(options, ["01"]), module.load_responses(options, "01")
    ids = stimuli["stimulus_id"].values
    X = np.random.default_rng(0).normal(size=(len(ids), 2)).astype("f4")
    features = make_features(X, stimulus_id=ids, layer=["a"] * 2, attrs=dict.fromkeys(CONTRACT, "x"))
    split = splits.make(stimuli, how)
    predictions, _ = encode(responses, features, split, config.Ridge(alphas=(1, 1, 1), dtype="float64"))
    for name, dataset in (("r", responses), ("p", predictions)):
        save(dataset, tmp_path / f"{name}.nc")
    scores = evaluate(
        load(tmp_path / "r.nc", "responses"), load(tmp_path / "p.nc", "predictions"),
        config.Evaluation(ceiling="given", threshold=0.1, n_bootstraps=100, n_permutations=100),
    )  # fmt: skip

    shown, row = responses["stimulus_id"].values, {s: i for i, s in enumerate(ids)}
    side = dict(zip(split["stimulus_id"].values, split["side"].values[0], strict=True))
    train, test = ([s for s in ids if side[s] == k and s in set(shown)] for k in (splits.TRAIN, splits.TEST))
    Y = {s: responses["response"].values[shown == s].astype(float).mean(0) for s in (*train, *test)}
    A, B = (X[[row[s] for s in some]].astype(float) for some in (train, test))
    scale = A.std(0)
    model = Ridge(10.0).fit((A - A.mean(0)) / scale, [Y[s] for s in train])
    predicted = model.predict((B - A.mean(0)) / scale)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, np.array([Y[s] for s in test]).T, strict=True)]
    power = np.array(single) / np.maximum(1 - np.array(single), 1e-300)  # of the signal, where noise is 1
    ceiling = 1 / (1 + 1 / (power * repeats))
    assert scores.attrs["ceiling_method"] == "given"
    np.testing.assert_allclose(scores["ceiling"], ceiling, rtol=1e-6)
    expected = np.where(ceiling >= 0.1, r / np.sqrt(ceiling), np.nan)
    np.testing.assert_allclose(scores["score"].sel(metric="pearson_r"), r, atol=1e-4)
    np.testing.assert_allclose(scores["score"].sel(metric="normalised_r"), expected, atol=1e-3)
    assert scores.attrs["n_below_threshold"] == (ceiling < 0.1).sum()
