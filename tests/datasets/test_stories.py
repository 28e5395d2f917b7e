import numpy as np
import pytest
from layouts import stories as layout

from neuroenc import config, splits
from neuroenc.arrays import load, save
from neuroenc.config import Dataset, Model, Split
from neuroenc.datasets import stories
from neuroenc.encoders.encode import encode
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.features.extract import extract


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "ds", layout.build(tmp_path / "ds")


def options(root):
    return Dataset(name="stories", root=str(root))


def test_words_fall_into_their_volumes(tree):
    root, truth = tree
    stimuli = stories.load_stimuli(options(root), ["UTS01"])
    assert stimuli.sizes["stimulus"] == len(layout.STORIES) * layout.VOLUMES
    for story, count in truth.items():
        rows = stimuli["film"].values == story
        text = stimuli["caption"].values[rows, 0]
        found = [[t.split().count(w) for w in layout.WORDS] for t in text]
        np.testing.assert_array_equal(found, count)
    assert stimuli["onset"].values[0] == 20
    assert set(stimuli["film"].values[stimuli["split"].values == "test"]) == {"wheretheressmoke"}


def test_hearings_of_a_story_are_repeats(tree, tmp_path):
    root, _ = tree
    found = stories.load_responses(options(root), "UTS01")
    assert found.sizes == {"presentation": (5 + 3) * layout.VOLUMES, "neuroid": layout.VOXELS}
    assert found["repetition"].values.max() == 2
    for run in range(8):
        one = found["response"].values[found["run"].values == run]
        np.testing.assert_allclose(one.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(one.std(0), 1, atol=1e-4)
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)
    assert stories.check_tree(options(root), ["UTS01"])[0].startswith(
        "UTS01: 6 stories, 1 of them for testing"
    )


def test_delays_find_voxels_that_follow_the_words(tree, tmp_path):
    root, _ = tree
    stimuli = stories.load_stimuli(options(root), ["UTS01"])
    responses = stories.load_responses(options(root), "UTS01")
    extract(stimuli, Model(extractor="caption"), tmp_path / "f.nc")
    features = load(tmp_path / "f.nc", "features")
    split = splits.make(stimuli, Split(kind="dataset", n_inner=3))
    r = {}
    for delays in ([], [1, 2, 3]):
        predictions, _ = encode(responses, features, split, config.Ridge(delays=delays))
        scores = evaluate(responses, predictions, config.Evaluation(ceiling="split_half", n_permutations=200))
        r[len(delays)] = scores["score"].sel(metric="pearson_r").values
        if delays:
            assert (scores["p"].values[:3] < 0.05).all()  # one film of 60 volumes has 60 shifts
    assert (r[3][:3] > 0.6).all() and (abs(r[3][3:]) < 0.35).all()
    assert (r[0][:3] < 0.4).all()
    with pytest.raises(ContractError, match="no films and onsets"):
        encode(responses, features.drop_vars(["film", "onset"]), split, config.Ridge(delays=[1]))


def test_real_stories(real):
    found = stories.check_tree(options(real / "stories"), ["UTS03"])
    assert found == ["UTS03: 23 stories, 3 of them for testing, 8030 volumes, 46348 words"]
    with pytest.raises(InputError, match="'subject': 'UTS01'"):
        stories.load_responses(options(real / "stories"), "UTS01")


def test_broken_trees_are_explained(tree):
    root, _ = tree
    with pytest.raises(InputError, match="'subject': 'UTS09'"):
        stories.load_responses(options(root), "UTS09")
    grid = root / "TextGrids/alpha.TextGrid"
    whole = grid.read_text()
    grid.write_text(whole.replace("xmin = ", "xmin = 9"))
    with pytest.raises(InputError, match="Is the story another one"):
        stories.load_stimuli(options(root), ["UTS01"])
    grid.write_text(whole.replace('"word"', '"phrase"'))
    with pytest.raises(InputError, match="no tier named 'word'"):
        stories.load_stimuli(options(root), ["UTS01"])
    grid.unlink()
    with pytest.raises(InputError, match=r"alpha\.TextGrid"):
        stories.load_stimuli(options(root), ["UTS01"])
    grid.write_text(whole)
    path = root / "preprocessed_data/UTS01/beta.hf5"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"Cannot read .*beta\.hf5"):
        stories.load_responses(options(root), "UTS01")
    path.unlink()
    (root / "preprocessed_data/UTS01/wheretheressmoke.hf5").unlink()
    with pytest.raises(InputError, match="none of the test stories"):
        stories.check_tree(options(root), ["UTS01"])
