"""From Responses of several recordings to one space: what is read, left out, averaged and refused."""

import numpy as np
import pytest

from neuroenc import unions
from neuroenc.arrays import make_features, make_responses, make_stimuli
from neuroenc.config import JointDecoding, Split
from neuroenc.decoders import recordings
from neuroenc.decoders.graph import adjacency
from neuroenc.decoders.joint_scores import score_joint
from neuroenc.decoders.recordings import decode_recordings, positions, windowed
from neuroenc.decoders.retrieve import interval
from neuroenc.decoders.target import restore
from neuroenc.errors import InputError, LeakError
from neuroenc.evaluation.identification import cosine

FAST = JointDecoding(n_components=5, max_epochs=2, n_hidden=16, n_blocks=1, batch_size=64, device="cpu")
CONTRACT = {"model": "m", "weights": "w", "layer": "l", "pooling": "p", "shape": "s", "normalisation": "n",
            "pixel_range": "r", "preprocessing": "p"}  # fmt: skip
CONCEPTS, EACH = 40, 3


def features(ids, z, layer="l"):
    return make_features(z.astype("f4"), stimulus_id=ids, layer=np.full(z.shape[1], layer), attrs=CONTRACT)


def recorded(name, subject, ids, z, rng, repeats=4, n_times=None, noise=1.5):
    """Responses to each stimulus `repeats` times; of epochs the second half of the bins says nothing."""
    n = 12
    away = np.random.default_rng(7).normal(size=(z.shape[1], n))
    signal = np.repeat(z @ away, repeats, 0)
    values = signal + noise * rng.normal(size=signal.shape)
    extra = {}
    if n_times:
        course = (np.arange(n_times) < n_times // 2).astype(float)
        values = signal[..., None] * course + noise * rng.normal(size=(*signal.shape, n_times))
        extra = {"time_bin": {"start": np.arange(n_times) * 0.1, "stop": np.arange(1, n_times + 1) * 0.1}}
    shown = np.repeat(ids, repeats)
    k, nowhere = len(shown), np.full(n, np.nan, "f4")
    return make_responses(
        values, presentation={
            "stimulus_id": shown, "session": np.full(k, "1"), "run": np.zeros(k, int),
            "repetition": np.tile(np.arange(repeats), len(ids)), "split": np.full(k, "train"), "group": shown,
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_c{i}" for i in range(n)]), "subject": np.full(n, subject),
            "hemisphere": np.full(n, ""), "x": nowhere, "y": nowhere, "z": nowhere, "ncsnr": nowhere,
        },
        attrs={"dataset": name, "space": "sensors" if n_times else "T1w", "units": "u", "source": "x"}, **extra,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    concept = rng.normal(size=(CONCEPTS, 5))
    stimuli, given, responses = {}, {}, {}
    for m, n_times in (("eeg", 6), ("fmri", None)):
        names = np.repeat([f"thing {i}" for i in range(CONCEPTS)], EACH)
        z = np.repeat(concept, EACH, 0) + 0.3 * rng.normal(size=(CONCEPTS * EACH, 5))
        ids = np.array([f"{m}{i:03d}" for i in range(len(names))])
        stimuli[m] = make_stimuli(
            {"stimulus_id": ids, "pixel_index": np.arange(len(ids)), "group": ids, "split": np.full(len(ids), "train")},
            attrs={"dataset": m, "pixels": "none"}, captions=names[:, None],
        )  # fmt: skip
        given[m] = features(ids, z)
        for subject in ("1", "2", "3") if m == "eeg" else ("1",):
            responses[f"{m}:{subject}"] = recorded(m, subject, ids, z, rng, n_times=n_times)
    split = unions.union(stimuli, Split(kind="kfold", n_folds=2, n_inner=3))
    return responses, given, split


@pytest.fixture(scope="module")
def decoded(world):
    options = FAST.model_copy(update={"repeats": [1, 2, 9], "window": {"eeg": (0.0, 0.3)}})
    return decode_recordings(*world, options), decode_recordings(*world, options, shuffle=0)


def test_scores_are_those_of_the_files_by_hand(decoded):
    found, null = decoded
    rows = score_joint(found, null, n_bootstraps=100)
    e, wanted = found["fmri:1"], []
    for fold in (0, 1):
        here = e["fold"].values == fold
        s = cosine(e["embedding"].values[here], e["true"].values[here])
        wanted.append((s.argmax(1) == np.arange(len(s))).mean())
    (row,) = [
        r
        for r in rows
        if r["of"] == "fmri:1" and r["metric"] == "brain_to_image_top1" and r["repeats"] == "4"
    ]
    assert (
        row["value"] == pytest.approx(np.mean(wanted)) and row["gallery"] == 60 and row["unit"] == "stimulus"
    )
    # concepts: the mean over pictures in each recording, over recordings of EEG, over modalities
    fold = 1
    parts = {n: v.isel(presentation=v["fold"].values == fold) for n, v in found.items()}
    concept = parts["fused"]["stimulus_id"].values[3]
    mean = {
        n: p["embedding"].values[p["concept"].values == concept].mean(0) for n, p in parts.items() if ":" in n
    }
    eeg = np.mean([v for n, v in mean.items() if n.startswith("eeg")], 0)
    np.testing.assert_allclose(parts["fused"]["embedding"].values[3], (eeg + mean["fmri:1"]) / 2, atol=1e-5)
    assert len(parts["fused"]["stimulus_id"]) == CONCEPTS // 2
    # numbers of repetitions: 9 are not there, so that the mean of all stands once
    numbers = [r["repeats"] for r in rows if r["of"] == "eeg:1" and r["metric"] == "brain_to_image_top1"]
    assert numbers == ["1", "2", "4"]
    assert all(r["window"].startswith("0 to 0.3 s") for r in rows if r["of"] == "eeg:1")
    assert {r["kind"] for r in rows} == {"within", "across", "joint", "gain"}


def test_the_truth_is_what_was_shown_and_is_found(world, decoded):
    found, null = decoded
    _, given, split = world
    for name in ("eeg:2", "fmri:1"):
        e, of = found[name], given[name[:-2]]
        for fold in (0, 1):
            ids = e["stimulus_id"].values[e["fold"].values == fold]
            rows = np.searchsorted(of["stimulus_id"].values, ids)
            np.testing.assert_allclose(restore(e, fold, "true"), of["feature"].values[rows], atol=1e-4)
        tested = unions.part(split, name[:-2])
        assert set(e["stimulus_id"].values) == set(tested["stimulus_id"].values)  # each in one fold
    rows = score_joint(found, null, n_bootstraps=100)
    for r in rows:
        if r["kind"] in ("across", "joint") and r["metric"].endswith("top1"):
            assert r["low"] > r["chance"], r
            assert r["shuffled"] < 0.25


def test_a_recording_that_is_left_out_changes_nothing_of_the_others(world):
    responses, given, split = world
    some = {n: r for n, r in responses.items() if n != "eeg:2"}
    without = decode_recordings(some, given, split, FAST)
    beside = decode_recordings(responses, given, split, FAST, leave_out=["eeg:2"])
    np.testing.assert_allclose(
        without["eeg:1"]["embedding"].values, beside["eeg:1"]["embedding"].values, atol=1e-6
    )
    np.testing.assert_allclose(
        without["fused"]["embedding"].values, beside["fused"]["embedding"].values, atol=1e-6
    )
    assert beside["eeg:2"].attrs["adapter"] == "mean of eeg:1, eeg:3"
    (row,) = [r for r in score_joint(beside) if r["of"] == "eeg:2" and r["metric"] == "brain_to_image_top1"]
    assert row["subjects"] == "across" and row["low"] > row["chance"]


def test_missing_values_and_dead_channels(world):
    responses, given, split = world
    holed = responses["fmri:1"].copy(deep=True)
    holed["response"].values[:, 3] = np.nan  # a voxel without any
    holed["response"].values[:, 4] = 1.0  # and one that does not vary
    holed["response"].values[0, 5] = np.nan  # one repetition
    options = FAST.model_copy(update={"repeats": [1]})
    found = decode_recordings({"fmri:1": holed}, given, split, options)
    assert np.isfinite(found["fmri:1"]["few"].values).all()
    (row,) = [r for r in score_joint(found) if r["metric"] == "brain_to_image_top1" and r["repeats"] == "4"]
    assert row["low"] > row["chance"]


def test_the_order_of_presentations_and_neuroids_does_not_matter(world):
    responses, given, split = world
    rng = np.random.default_rng(1)
    one = decode_recordings(
        {"fmri:1": responses["fmri:1"]}, given, split, FAST.model_copy(update={"max_epochs": 1})
    )
    other = {
        "fmri:1": responses["fmri:1"].isel(
            presentation=rng.permutation(responses["fmri:1"].sizes["presentation"])
        )
    }
    two = decode_recordings(other, given, split, FAST.model_copy(update={"max_epochs": 1}))
    a, b = (
        dict(zip(f["fmri:1"]["stimulus_id"].values, row, strict=True))
        for f, row in ((one, one["fmri:1"]["embedding"].values), (two, two["fmri:1"]["embedding"].values))
    )
    near = [np.corrcoef(a[s], b[s])[0, 1] for s in a]
    assert np.median(near) > 0.95  # batches are other ones, and nothing else


def test_texts_stand_beside_pictures(world):
    responses, given, split = world
    texts = {m: features(f["stimulus_id"].values, f["feature"].values[:, :2]) for m, f in given.items()}
    found = decode_recordings(responses, given, split, FAST.model_copy(update={"text": 0.5}), texts=texts)
    rows = score_joint(found)
    assert all(
        r["low"] > r["chance"] for r in rows if r["kind"] == "joint" and r["metric"] == "brain_to_image_top1"
    )
    with pytest.raises(InputError, match="no texts of the stimuli of 'fmri', only of eeg"):
        decode_recordings(responses, given, split, FAST, texts={"eeg": texts["eeg"]})


def renamed(responses, subject):
    names = [f"{subject}_{n.partition('_')[2]}" for n in responses["neuroid_id"].values]
    return responses.assign_coords(neuroid_id=("neuroid", names))


def test_who_cannot_be_read_is_said_before_anything_is_trained(world, monkeypatch):
    responses, given, split = world
    monkeypatch.setattr(recordings, "fit", None)
    with pytest.raises(InputError, match="no adapter to read it through"):
        decode_recordings(responses, given, split, FAST, leave_out=["fmri:1"])


def test_refusals_are_one_line(world):
    responses, given, split = world
    of_one = unions.part(split, "eeg")
    leaking = split.copy(deep=True)
    leaking["side"].values[0, 0] = 1 - leaking["side"].values[0, 0]
    other = given | {"fmri": given["fmri"].assign_attrs(model="another")}
    strange = responses | {"fmri:1": responses["fmri:1"].isel(neuroid=slice(0, 5))}
    twins = responses | {"fmri:2": renamed(responses["fmri:1"], "2")}
    cases = (
        ((responses, {"eeg": given["eeg"]}, split, FAST), {}, "no features of the stimuli of 'fmri'"),
        ((responses, other, split, FAST), {}, "features of 'fmri' have model 'another', those before 'm'"),
        ((responses, given, leaking, FAST), {}, "both sides"),
        ((responses, given, of_one.drop_vars("set"), FAST), {}, "split of one set"),
        (({"meg:1": responses["eeg:1"]}, given | {"meg": given["eeg"]}, split, FAST), {}, "'set': 'meg'"),
        ((responses, given, split, FAST), {"leave_out": ["eeg:9"]}, "'leave-out': 'eeg:9'"),
        ((responses, given, split, FAST), {"leave_out": ["fmri:1"]}, "no adapter to read it through"),
        ((responses, given, split, FAST), {"leave_out": list(responses)}, "none to train on"),
        ((strange, given, split, FAST.model_copy(update={"front": {"fmri": "atm"}})), {}, "no time bins"),
        ((responses, given, split, FAST.model_copy(update={"window": {"fmri": (0, 1)}})), {}, "no time bins"),
        ((responses, given, split, FAST.model_copy(update={"window": {"eeg": (5, 6)}})), {}, "No time bin of 'eeg:1' lies"),
        (({"eeg": responses["eeg:1"]}, given, split, FAST), {}, "MODALITY:SUBJECT"),
        # voxels that are called alike are not the same
        ((twins, given, split, FAST), {"leave_out": ["fmri:2"]}, r"'fmri:2' \(space 'T1w'\) .* no adapter"),
    )  # fmt: skip
    for arguments, more, words in cases:
        with pytest.raises((InputError, LeakError), match=words) as error:
            decode_recordings(*arguments, **more)
        assert "\n" not in str(error.value)


def test_epochs_are_read_by_attention_and_convolutions(world):
    responses, given, split = world
    options = FAST.model_copy(update={"front": {"eeg": "atm"}, "max_epochs": 1})
    found = decode_recordings(responses, given, split.isel(fold=[0]), options)
    assert np.isfinite(found["eeg:1"]["embedding"].values).all()
    short = responses | {"eeg:2": windowed(responses["eeg:2"], (0.0, 0.4), "eeg:2")}
    with pytest.raises(InputError, match="'eeg:2' has 4 time bins, another recording of its modality 6"):
        decode_recordings(short, given, split, options)


def test_a_graph_joins_sensors_by_their_places_or_by_their_names(world):
    """Fz, FCz and Cz stand in a line: places that are recorded, and those of the names, join them alike."""
    responses, given, split = world
    options = FAST.model_copy(update={"front": {"eeg": "graph"}, "max_epochs": 1})
    with pytest.raises(InputError, match=r"6 of 12 neuroids of 'eeg:1' have no `x`.*first 'c0'.*Give"):
        decode_recordings(responses, given, split, options)
    names = ["Fp1", "Fp2", "F7", "Fz", "F8", "FCz", "Cz", "P7", "Pz", "P8", "O1", "O2"]
    named = {
        r: d.assign_coords(neuroid_id=("neuroid", [f"{r[-1]}_{c}" for c in names]))
        if r.startswith("eeg")
        else d
        for r, d in responses.items()
    }
    where = positions(named["eeg:1"], "eeg:1")
    near = {frozenset((names[i], names[j])) for i, j in zip(*np.nonzero(adjacency(where, 1)), strict=True)}
    assert {frozenset(("Fz", "FCz")), frozenset(("FCz", "Cz")), frozenset(("Fp1", "Fp2"))} <= near
    placed = {
        r: d.assign_coords({a: ("neuroid", v) for a, v in zip("xyz", 1000 * where.T, strict=True)})
        if r.startswith("eeg") else d
        for r, d in responses.items()
    }  # fmt: skip
    by_name, by_place = (decode_recordings(d, given, split.isel(fold=[0]), options) for d in (named, placed))
    assert by_name["eeg:1"]["embedding"].values == pytest.approx(
        by_place["eeg:1"]["embedding"].values, abs=1e-4
    )
    zeros = placed["eeg:1"].assign_coords({a: ("neuroid", np.zeros(12)) for a in "xyz"})
    with pytest.raises(InputError, match="no name of the 10-05 system"):  # MNE's sensors without a montage
        positions(zeros, "eeg:1")


def test_pictures_of_a_concept_are_drawn_as_one():
    """As many copies of a picture as there are say no more than it does."""
    found = (np.arange(30) % 3 == 0).astype(float)
    how = {"seed": 0, "n_bootstraps": 2000}
    one = interval(found, np.array([f"{i:02d}" for i in range(30)]), **how)
    copies = interval(np.repeat(found, 5), np.repeat([f"{i:02d}" for i in range(30)], 5), **how)
    assert copies == pytest.approx(one)
    alone = interval(np.repeat(found, 5), np.array([f"{i:03d}" for i in range(150)]), **how)
    assert alone[1] - alone[0] < 0.6 * (one[1] - one[0])
