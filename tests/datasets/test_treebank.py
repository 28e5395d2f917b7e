import json

import numpy as np
import pandas as pd
import pytest
from layouts import treebank as layout

from neuroenc import splits
from neuroenc.arrays import load, make_features, save
from neuroenc.config import Dataset, Evaluation, Ridge, Split
from neuroenc.datasets import treebank
from neuroenc.encoders.encode import encode
from neuroenc.errors import InputError
from neuroenc.evaluation.evaluate import evaluate

pytest.importorskip("mne")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("treebank")
    vision, language = layout.build(root)
    return root, vision, language


def options(root, **changes):
    return Dataset(name="treebank", root=str(root), **{"reference": "none"} | changes)


@pytest.fixture(scope="module")
def recorded(tree):
    return treebank.load_responses(options(tree[0]), "3")


def test_labels_rate_and_events_outside_the_triggers(tree, recorded, tmp_path):
    assert [n.removeprefix("3_") for n in recorded["neuroid_id"].values] == list(layout.KINDS)
    rate = json.loads(recorded.attrs["rate_hz"])["sub_3_trial000"]
    assert rate == pytest.approx(layout.RATE, rel=1e-3)  # nowhere stated
    outside = json.loads(recorded.attrs["n_events_outside"])["sub_3_trial000"]
    assert outside == 10 and recorded.sizes["presentation"] == layout.N_WORDS - 10
    assert recorded["stimulus_id"].values[0] == f"{layout.FILM}-w00005"
    assert recorded["roi_ctx-lh-fusiform"].values.sum() == 6
    assert recorded["hemisphere"].values.tolist() == ["L"] * 6 + ["R"] * 4
    assert np.isfinite(recorded["response"].values).all()
    save(recorded, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(recorded)


def test_hum_is_taken_out():
    time = np.arange(20_000) / 500
    noise = np.random.default_rng(0).standard_normal(20_000)
    hum = noise + 30 * np.sin(2 * np.pi * 60 * time) + 10 * np.sin(2 * np.pi * 120 * time)
    found, alone = (treebank.filtered(v, 500.0, "broadband") for v in (hum, noise))
    inside = slice(1000, -1000)  # the filter needs room at both ends
    assert np.corrcoef(hum, noise)[0, 1] < 0.1
    assert np.corrcoef(found[inside], alone[inside])[0, 1] > 0.99


def test_high_gamma_follows_its_envelope():
    time = np.arange(20_000) / 1000
    slow = 1 + np.sin(2 * np.pi * 0.5 * time)
    found = treebank.filtered(slow * np.sin(2 * np.pi * 100 * time), 1000.0, "high_gamma")
    assert np.corrcoef(found[1000:-1000], slow[1000:-1000])[0, 1] > 0.99
    with pytest.raises(InputError, match="High gamma needs more than 375 Hz"):
        treebank.filtered(slow, 200.0, "high_gamma")


@pytest.mark.parametrize("band", ["broadband", "high_gamma"])
def test_a_flat_electrode_is_no_signal(band):
    # what the filters leave of 5 V is 1e-15 V, which z-scored would look like any other signal
    assert np.isnan(treebank.filtered(np.full(4096, 5.0), 1000.0, band)).all()


@pytest.mark.parametrize(("reference", "n"), [("none", 10), ("bipolar", 8), ("laplacian", 6)])
def test_references_use_neighbours_on_the_shank(tree, reference, n):
    known = treebank.electrodes(tree[0], "3")
    assert "RB5" not in known and "DC1" not in known and "TRIG2" not in known
    channels = dict(treebank.montage(known, reference))
    assert len(channels) == n
    for parts in channels.values():
        assert sum(w for _, w in parts) == pytest.approx(float(reference == "none"))
    if reference == "laplacian":
        assert channels["LA2"] == [(1, 1.0), (0, -0.5), (2, -0.5)]


def test_windows_as_they_are_asked_for(tree, recorded):
    """161 of 200 ms every 25 ms, as published; where they are those of 100 ms they are the same."""
    asked = {"window": 0.2, "step": 0.025, "span": (-2.0, 2.2)}
    found = treebank.load_responses(options(tree[0], **asked), "3")
    assert found.sizes["time_bin"] == 161
    start = found["start"].values
    assert (start[0], start[-1]) == pytest.approx((-2.0, 2.0)) and np.diff(start) == pytest.approx(0.025)
    assert found["stop"].values - start == pytest.approx(0.2)
    ids = found["stimulus_id"].values
    same = recorded["response"].values[np.isin(recorded["stimulus_id"].values, ids)]
    at = [int(np.abs(start - s).argmin()) for s in recorded["start"].values]
    np.testing.assert_allclose(found["response"].values[..., at], same, atol=0.02)  # edges round to a sample
    assert np.corrcoef(found["response"].values[..., at].ravel(), same.ravel())[0, 1] > 0.999
    with pytest.raises(ValueError, match="holds no window of 2 s"):
        options(tree[0], window=2.0)
    with pytest.raises(InputError, match=r"window is shorter than a sample of sub_3_trial000\.h5"):
        treebank.load_responses(options(tree[0], window=1e-4), "3")


def test_sessions_stand_one_behind_the_other(tmp_path):
    layout.build(tmp_path, sessions=2)
    both = treebank.load_responses(options(tmp_path), "3")
    first = treebank.load_responses(options(tmp_path, sessions=1), "3")
    n = first.sizes["presentation"]
    assert both.sizes["presentation"] == 2 * n and set(both["session"].values[n:]) == {"sub_3_trial001"}
    np.testing.assert_array_equal(both["response"].values[:n], first["response"].values)
    assert both["repetition"].values.tolist() == [0] * n + [1] * n
    ours = [both["response"].values[part, 0].ravel() for part in (slice(n), slice(n, None))]
    assert np.corrcoef(*ours)[0, 1] > 0.2  # the same words, other noise


def features_of(ids, values, name):
    return make_features(
        values.astype("f4"), stimulus_id=ids, layer=np.full(values.shape[1], name),
        attrs={"model": name, "weights": "none", "layer": name, "pooling": "none", "shape": "", "normalisation": "none",
               "pixel_range": "none", "preprocessing": "none"},
    )  # fmt: skip


def test_what_drives_an_electrode_and_when_is_recovered(tree, recorded):
    root, vision, language = tree
    stimuli = treebank.load_stimuli(options(root), ["3"])
    ids = stimuli["stimulus_id"].values
    assert len(ids) == layout.N_WORDS and stimuli["caption"].values[3, 0] == "word3"
    split = splits.make(stimuli, Split(kind="chronological", n_folds=5, n_inner=4, embargo=2))
    product = (vision[:, :, None] * language[:, None]).reshape(len(ids), -1)
    spaces = {"vision": vision, "language": language, "product": product}
    drives = {"vision": {"vision"}, "language": {"language"}, "both": {"vision", "language"},
              "product": {"product"}, "neither": set()}  # fmt: skip
    wrong, late = [], []
    for name, values in spaces.items():
        predictions, _ = encode(recorded, features_of(ids, values, name), split, Ridge(alphas=(0, 4, 5)))
        scores = evaluate(recorded, predictions, Evaluation(n_permutations=1000, n_bootstraps=100))
        r, p = scores["score"].sel(metric="pearson_r").values, scores["p"].values
        middle = (scores["start"].values + scores["stop"].values) / 2
        for k, electrode in enumerate(layout.KINDS):
            found = p[k].min() * p.shape[1] < 0.05  # Bonferroni over bins
            expected = name in drives[layout.KINDS[electrode]]
            if found != expected:
                wrong.append((electrode, name))
            elif found:
                peak = middle[r[k].argmax()]
                late.append(abs(peak - (layout.LATENCY[electrode] + 0.1)))  # the bump is 0.2 s wide
    assert len(wrong) <= 1, wrong
    assert np.median(late) <= 0.1 and max(late) <= 0.15


def test_scenes_as_events(tree):
    root = tree[0]
    with pytest.raises(InputError, match="scene_annotations has no table"):
        treebank.load_stimuli(options(root, events="scenes"), ["3"])
    (root / "scene_annotations").mkdir()
    table = pd.DataFrame({"start": [40.0, 12.5, 80.0], "label": ["kitchen", "street", None]})
    table.to_csv(root / f"scene_annotations/{layout.FILM}.csv", index=False)
    stimuli = treebank.load_stimuli(options(root, events="scenes"), ["3"])
    assert stimuli["onset"].values.tolist() == [12.5, 40.0, 80.0]
    assert stimuli["caption"].values[:, 0].tolist() == ["street", "kitchen", ""]
    found = treebank.load_responses(options(root, events="scenes"), "3")
    assert set(found["stimulus_id"].values) <= set(stimuli["stimulus_id"].values)
    assert found["film"].values[0] == layout.FILM and found["onset"].values[0] in (12.5, 40.0)


def test_scenes_without_labels_have_what_was_said_last(tmp_path):
    layout.build(tmp_path)
    words = pd.read_csv(tmp_path / f"transcripts/{layout.FILM}/features.csv")["start"]
    (tmp_path / "scene_annotations").mkdir()
    path = tmp_path / f"scene_annotations/{layout.FILM}.csv"
    pd.DataFrame({"start": [words[0] - 1, words[13] + 0.1, words[14] + 0.1]}).to_csv(path, index=False)
    found = treebank.load_stimuli(options(tmp_path, events="scenes"), ["3"])["caption"].values[:, 0]
    assert [text.split()[:1] for text in found] == [[], ["word7"], ["word14"]] and found[1].endswith("word13")


def test_sentences_as_events(tree):
    stimuli = treebank.load_stimuli(options(tree[0], events="sentences"), ["3"])
    assert stimuli.sizes["stimulus"] == 60
    assert stimuli["caption"].values[0, 0] == "word0 word1 word2 word3 word4 word5 word6"


def test_check_says_what_is_there(tree, run):
    status, out, err = run("data", "check", "--options", options(tree[0], sessions=1).model_dump_json(),
                           "--subject", "3")  # fmt: skip
    assert status == 0, err
    assert "500.0 Hz, 10 channels, 410 events, 10 outside the triggers" in out
    with pytest.raises(InputError, match="1 sessions, expected 3"):
        treebank.check_tree(options(tree[0]), ["3"])


def test_broken_trees_are_explained(tmp_path):
    layout.build(tmp_path)
    with pytest.raises(InputError, match="'subject': '4'"):
        treebank.load_responses(options(tmp_path), "4")
    timings = tmp_path / "subject_timings/sub_3_trial000_timings.csv"
    table = pd.read_csv(timings)
    table.assign(index=table["index"] / 1e6).to_csv(timings, index=False)
    with pytest.raises(InputError, match="Are its columns seconds and samples"):
        treebank.load_responses(options(tmp_path), "3")
    table[:2].to_csv(timings, index=False)
    with pytest.raises(InputError, match="fewer than three triggers"):
        treebank.load_responses(options(tmp_path), "3")
    table.drop(columns="index").to_csv(timings, index=False)
    with pytest.raises(InputError, match="has no column 'index'; found"):
        treebank.load_responses(options(tmp_path), "3")
    table.to_csv(timings, index=False)
    path = tmp_path / "all_subject_data/sub_3_trial000.h5"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="Cannot read"):
        treebank.load_responses(options(tmp_path), "3")
    labels = tmp_path / "electrode_labels/sub_3/electrode_labels.json"
    labels.write_text(json.dumps(["LA1", "RB1"]))
    with pytest.raises(InputError, match="has the neighbours reference 'laplacian' needs"):
        treebank.load_responses(options(tmp_path, reference="laplacian"), "3")
