import json

import numpy as np
import pytest
import xarray as xr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier

from neuroenc import splits
from neuroenc.arrays import make_stimuli, save
from neuroenc.config import Classifying, Config, Split, parse
from neuroenc.decoders.classify import classify, dealt, fit_predict, labels
from neuroenc.errors import InputError
from neuroenc.evaluation.classification import assess, choice, over_folds
from neuroenc.figures.summary import classes_table, classified, short_table
from tests.conftest import toy_responses

N, RUNS = 72, 6
NAMES = ["cat", "face", "shoe"]
MADE = {"command": "x", "seed": 0}


def world(signal=2.0, seed=0, dims=12):
    """Blocks of three classes in six runs; each class has a pattern."""
    rng = np.random.default_rng(seed)
    label = np.tile(np.arange(3), N // 3)
    run = np.array([f"run{r}" for r in np.repeat(np.arange(RUNS), N // RUNS)])
    ids = np.array([f"s{i:02d}" for i in range(N)])
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": run,
         "kind": np.array(NAMES)[label], "size": rng.normal(size=N)},
        attrs={"dataset": "toy", "pixels": "none"}, categories=(NAMES, np.eye(3)[label]),
    )  # fmt: skip
    pattern = rng.normal(size=(3, dims)) * signal
    responses = toy_responses(rng, ids, (pattern[label] + rng.normal(size=(N, dims)) * 2).astype("f4"))
    responses = responses.assign_coords(group=("presentation", run))
    return responses, stimuli, splits.make(stimuli, Split(kind="group", n_inner=3)), label, run


def options(**changes):
    return Classifying(**{"n_permutations": 19, **changes})


def split_rows(run, fold):
    test = run == np.unique(run)[fold]
    return np.flatnonzero(~test), np.flatnonzero(test)


@pytest.mark.parametrize("estimator", ["ridge", "lda"])
def test_scores_are_scikit_learns(estimator):
    responses, stimuli, split, label, run = world()
    found = classify(responses, stimuli, split, options(estimator=estimator, alphas=(1, 1, 1)))
    X = responses["response"].values.astype(float)
    for fold in range(RUNS):
        train, test = split_rows(run, fold)
        A, B = ((X[r] - X[train].mean(0)) / X[train].std(0) for r in (train, test))
        model = (
            RidgeClassifier(alpha=10.0) if estimator == "ridge"
            else LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        ).fit(A, label[train])  # fmt: skip
        ours = found["class_score"].values[found["fold"].values == fold, 0]
        expected = model.decision_function(B)
        np.testing.assert_allclose(2 * ours - 1 if estimator == "ridge" else ours, expected, atol=1e-6)


def test_a_true_difference_is_found_and_the_answer_is_the_same_again():
    responses, stimuli, split, _, _ = world()
    one, two = (classify(responses, stimuli, split, options()) for _ in range(2))
    xr.testing.assert_identical(one, two)
    found = assess(one)
    s = found["windows"][0]["scores"]["accuracy"]
    assert s["value"] > 0.7
    assert s["p"] == 0.05  # none of 19 is as high
    assert s["null"] == pytest.approx(1 / 3, abs=0.08)
    assert np.sum(found["confusion"]) == N
    assert found["chance"] == {"uniform": pytest.approx(1 / 3), "majority": pytest.approx(1 / 3)}


def test_noise_is_at_chance():
    p, accuracy = [], []
    for seed in range(25):
        responses, stimuli, split, _, _ = world(signal=0.0, seed=seed)
        s = assess(classify(responses, stimuli, split, options(alphas=(2, 2, 1))))["windows"][0]["scores"]
        p.append(s["accuracy"]["p"])
        accuracy.append(s["accuracy"]["value"])
    assert np.mean(accuracy) == pytest.approx(1 / 3, abs=0.04)
    assert np.mean(p) == pytest.approx(0.5, abs=0.2)


def test_labels_are_dealt_within_what_is_kept_together():
    rng = np.random.default_rng(0)
    label, group = np.arange(12) % 3, np.repeat(["a", "b"], 6)
    new = dealt(label, group, rng)
    assert [sorted(new[group == g]) for g in "ab"] == [[0, 0, 1, 1, 2, 2]] * 2
    whole = dealt(np.repeat([0, 1, 1], 4), np.repeat(["a", "b", "c"], 4), rng)
    assert all(len(set(whole[k : k + 4])) == 1 for k in (0, 4, 8))
    assert sorted(whole) == [0] * 4 + [1] * 8


def test_one_group_of_two_classes_does_not_keep_the_others_from_being_dealt():
    label, group = np.array([0, 1, *np.arange(20) % 2]), np.array(["m", "m", *map(str, range(20))])
    new = np.array([dealt(label, group, np.random.default_rng(k)) for k in range(200)])
    assert (new.sum(1) == 11).all()
    assert (new[:, :2].sum(1) == 1).all()
    np.testing.assert_allclose(new.mean(0), 0.5, atol=0.15)


def test_a_class_that_labels_dealt_anew_lack_is_not_chosen():
    X = np.random.default_rng(0).normal(size=(9, 2))
    label = np.array([[0, 1, 2] * 3, [0, 2, 2] * 3, [1] * 9])
    found = fit_predict(X, label, X[:4], 3, [], options(estimator="lda"))
    two = (
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X, label[1]).decision_function(X[:4])
    )
    np.testing.assert_allclose(found[1, :, 2] - found[1, :, 0], two, atol=1e-12)
    assert np.isneginf(found[1, :, 1]).all()
    np.testing.assert_array_equal(choice(found[2]), [[0, 1, 0]] * 4)


@pytest.mark.parametrize("estimator", ["ridge", "lda"])
def test_missing_responses_never_win(estimator):
    responses, stimuli, split, _, _ = world(signal=9.0)
    split = split.isel(fold=[0])
    whole = classify(responses, stimuli, split, options(estimator=estimator))
    values = responses["response"].values
    values[3] = np.nan
    values[5, 0] = np.inf
    found = classify(responses, stimuli, split, options(estimator=estimator))
    of = {s: i for i, s in enumerate(found["stimulus_id"].values)}
    assert np.isnan(found["class_score"].values[of["s03"]]).all()
    assert np.isfinite(np.delete(found["class_score"].values, of["s03"], 0)).all()
    right = [assess(f)["windows"][0]["scores"]["accuracy"]["value"] for f in (whole, found)]
    assert right == [1, pytest.approx(11 / 12)]
    assert np.sum(assess(found)["confusion"]) == 11


def test_targets():
    _, stimuli, _, label, _ = world()
    ids = stimuli["stimulus_id"].values.tolist()
    assert labels(stimuli, "category") == (NAMES, dict(zip(ids, label.tolist(), strict=True)))
    assert labels(stimuli, "kind") == (NAMES, dict(zip(ids, label.tolist(), strict=True)))
    names, face = labels(stimuli, "category:face")
    assert names == ["no face", "face"]
    assert list(face.values()) == (label == 1).astype(int).tolist()


def test_each_time_bin_by_itself():
    """The classes differ in the second of three windows alone."""
    responses, stimuli, split, label, _ = world(signal=0.0, dims=8)
    rng = np.random.default_rng(1)
    values = rng.normal(size=(N, 8, 6)).astype("f4")
    values[:, :, 2:4] += 3 * np.eye(8)[label][..., None]
    at = np.arange(6) * 0.05
    responses = responses.drop_vars("response").assign(
        response=(("presentation", "neuroid", "time_bin"), values)
    ).assign_coords(start=("time_bin", at), stop=("time_bin", at + 0.05))  # fmt: skip
    made = classify(responses, stimuli, split, options(time="each", bin_width=0.1))
    found = assess(made)
    course = [w["scores"]["auc"]["value"] for w in found["windows"]]
    assert found["best"] == {"window": 1, "metric": "auc"}
    assert course[1] > 0.9
    scores = [w["scores"]["auc"] for w in found["windows"]]
    highest = made["null"].sel(metric="auc").values.max(1)
    assert [s["p_corrected"] for s in scores] == [(1 + (highest >= c).sum()) / 20 for c in course]
    table = "\n".join(classes_table(classified(found | made.attrs, {"subject": "1", "by": "x", **MADE})))
    assert "the best of 3 time bins, at 150 ms" in table
    assert max(course[0], course[2]) < 0.65
    assert [w["start"] for w in found["windows"]] == pytest.approx([0, 0.1, 0.2])
    with pytest.raises(InputError, match=r"bin_width 0.07 s is no number of the 6 time bins of 0.05 s"):
        classify(responses, stimuli, split, options(bin_width=0.07))


def test_a_group_of_one_class_has_accuracy_without_auc():
    responses, stimuli, _, label, _ = world()
    group = np.array([f"g{c}{i // 36}" for i, c in enumerate(label)])
    stimuli = stimuli.assign_coords(group=("stimulus", group))
    responses = responses.assign_coords(group=("presentation", group))
    split = splits.make(stimuli, Split(kind="group", n_inner=3))
    made = classify(responses, stimuli, split, options())
    found = assess(made)
    assert found["windows"][0]["scores"]["auc"]["value"] is None
    assert found["windows"][0]["scores"]["accuracy"]["value"] > 0.7
    assert len(found["absent"]) == 6
    json.dumps(found, allow_nan=False)
    rows = classified(found | made.attrs, {"subject": "1", "by": "x", **MADE})
    (auc,) = (line for line in classes_table(rows) if " AUC " in line)
    assert auc.split() == ["1", "x", "3", "AUC", "–", "–", "0.500", "–", "–"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "knd"}, r"'knd'.*did you mean 'kind'\?"),
        ({"target": "size"}, "Allowed: 'category', 'split', 'group', 'kind'"),
        ({"target": "category:fac"}, r"did you mean 'category:face'\?"),
        ({"target": "split"}, "All 72 stimuli are of one class of 'split', 'train'"),
        ({"target": "group"}, "Fold 0 trains on 0 stimuli of class 'run0' and tests 12"),
        ({"time": "each"}, "no time bins"),
    ],
)
def test_refusals_are_one_line(change, message):
    responses, stimuli, split, _, _ = world()
    with pytest.raises(InputError, match=message) as caught:
        classify(responses, stimuli, split, options(**change))
    assert "\n" not in str(caught.value)


def test_several_strongest_categories_are_refused():
    responses, stimuli, split, _, _ = world()
    stimuli["category"].values[3, :2] = 1
    with pytest.raises(InputError, match="1 of 72 stimuli have several strongest categories, first 's03'"):
        classify(responses, stimuli, split, options())


@pytest.mark.parametrize(
    ("decoders", "message"),
    [
        ({"x": {"name": "ridge", "models": ["category"]}}, "table of categories.*name: classifier"),
        ({"ridge": {}}, "table of categories.*name the `models`"),
        ({"x": {"name": "classifier", "target": "pixel"}}, "'pixel' is a model"),
        ({"x": {"name": "classifier", "models": ["pixel"]}}, "Unknown key"),
    ],
)
def test_the_configuration_knows_a_model_from_a_target(decoders, message):
    data = {"label": "x", "dataset": {"name": "haxby", "root": "."}, "subjects": ["1"],
            "models": {"category": {"extractor": "category"}, "pixel": {"extractor": "pixel"}}}  # fmt: skip
    with pytest.raises(InputError, match=message):
        parse(Config, data | {"decoders": decoders})
    parse(Config, data | {"decoders": {"classifier": {}, "ridge": {"models": ["pixel"]}}})


def test_command_table_and_figure(tmp_path, run):
    responses, stimuli, split, _, _ = world()
    for name, dataset in (("r", responses), ("i", stimuli), ("s", split)):
        save(dataset, tmp_path / f"{name}.nc")
    command = [
        "decode",
        "classify",
        "--responses",
        f"{tmp_path}/r.nc",
        "--stimuli",
        f"{tmp_path}/i.nc",
        "--split",
        f"{tmp_path}/s.nc",
        "--out",
        f"{tmp_path}/c.nc",
        "--scores",
        f"{tmp_path}/c.json",
    ]
    status, out, _ = run(*command, "--options", '{"n_permutations": 19}')
    assert status == 0
    assert "balanced accuracy" in out
    found = json.loads((tmp_path / "c.json").read_text())
    direct = over_folds(*(xr.load_dataset(tmp_path / "c.nc")[k].values.squeeze()
                          for k in ("class_score", "label", "fold")))  # fmt: skip
    assert found["windows"][0]["scores"]["auc"]["value"] == direct["auc"]["value"]
    assert "kinds" in short_table({"rows": classified(found, {"subject": "1", "by": "kinds", **MADE})})
    assert run("results", "classes", "--scores", f"{tmp_path}/c.json", "--out", f"{tmp_path}/c.png")[0] == 0
    assert (tmp_path / "c.png").stat().st_size > 5000


@pytest.mark.parametrize("estimator", ["ridge", "lda"])
def test_a_training_stimulus_without_response_is_left_out(estimator, capsys):
    responses, stimuli, split, _, _ = world()
    split = split.isel(fold=[0])
    gone = str(split["stimulus_id"].values[split["side"].values[0] == splits.TRAIN][4])
    lost = responses.copy(deep=True)
    lost["response"].values[responses["stimulus_id"].values == gone] = np.nan
    found = classify(lost, stimuli, split, options(estimator=estimator))
    assert f"1 of {N} rows have no response" in "".join(capsys.readouterr())
    without = responses.isel(presentation=responses["stimulus_id"].values != gone)
    expected = classify(without, stimuli, split, options(estimator=estimator))
    np.testing.assert_allclose(found["class_score"].values, expected["class_score"].values, atol=1e-12)


def in_groups(name):
    """The world with other groups, named from class and row."""
    responses, stimuli, _, label, _ = world()
    group = np.array([name(c, i) for i, c in enumerate(label)])
    return (
        responses.assign_coords(group=("presentation", group)),
        stimuli.assign_coords(group=("stimulus", group)), label,
    )  # fmt: skip


def test_inner_folds_of_one_class_choose_no_alpha():
    responses, stimuli, label = in_groups(lambda c, i: f"g{c}{i // 24}")
    split = splits.make(stimuli, Split(kind="kfold", n_folds=9, n_inner=8)).isel(fold=[0])
    with pytest.raises(
        InputError, match="Each of 8 inner folds of fold 0 holds stimuli of one class"
    ) as error:
        classify(responses, stimuli, split, options())
    assert "\n" not in str(error.value)
    found = classify(responses, stimuli, split, options(alphas=(1, 1, 1)))
    train, test = (np.flatnonzero(split["side"].values[0] == k) for k in (splits.TRAIN, splits.TEST))
    X = responses["response"].values.astype(float)
    A, B = ((X[r] - X[train].mean(0)) / X[train].std(0) for r in (train, test))
    expected = RidgeClassifier(alpha=10.0).fit(A, label[train]).decision_function(B)
    np.testing.assert_allclose(2 * found["class_score"].values[:, 0] - 1, expected, atol=1e-6)
    assert classify(responses, stimuli, split, options(estimator="lda")).sizes["presentation"] == len(test)


def test_a_class_that_stands_alone_in_its_inner_folds_takes_the_alpha_of_the_others():
    X = np.random.default_rng(0).normal(size=(40, 8))
    label = np.r_[np.arange(30) % 2, np.full(10, 2)]
    X[np.arange(40), label] += 2
    rows = np.arange(40)
    folds = [(np.setdiff1d(rows, held), held) for held in (rows[:15], rows[15:30], rows[30:])]
    found = fit_predict(X, label[None], X[:5], 3, folds, options(alphas=(-2, 4, 7)))[0]
    alphas = np.logspace(-2, 4, 7)
    scores = np.zeros((7, 3))
    for a, alpha in enumerate(alphas):
        for fit, held in folds[:2]:
            for c in (0, 1):
                target = (label == c).astype(float)
                scores[a, c] += Ridge(alpha).fit(X[fit], target[fit]).score(X[held], target[held])
    chosen = [*scores[:, :2].argmax(0), scores.sum(1).argmax()]
    assert chosen[2] > 0
    for c, k in enumerate(chosen):
        expected = Ridge(alphas[k]).fit(X, (label == c).astype(float)).predict(X[:5])
        np.testing.assert_allclose(found[:, c], expected, atol=1e-9)


def test_a_missing_response_costs_its_run_nothing():
    responses, stimuli, split, _, _ = world()
    split = split.isel(fold=[0])
    lost = responses.copy(deep=True)
    lost["response"].values[20] = np.nan
    kept = np.arange(N) != 20
    found = classify(lost, stimuli, split, options(standardise="run"))
    expected = classify(responses.isel(presentation=kept), stimuli, split, options(standardise="run"))
    np.testing.assert_allclose(found["class_score"].values, expected["class_score"].values, atol=1e-5)
    assert np.isfinite(found["class_score"].values).all()


def test_runs_are_those_of_their_session():
    """Sessions count their runs from 1: what drifted between two sessions stayed in the runs of one number."""
    responses, stimuli, split, _, _ = world(signal=1.0)
    session = np.arange(N) // (N // 2)
    responses["response"].values[session == 1] += 20
    number = np.arange(N) // (N // RUNS)
    named = responses.assign_coords(session=("presentation", session.astype(str)))
    scores = [
        classify(named.assign_coords(run=("presentation", run)), stimuli, split, options(standardise="run"))
        for run in (number, number % (RUNS // 2))
    ]
    np.testing.assert_array_equal(scores[0]["class_score"].values, scores[1]["class_score"].values)
