import numpy as np
import pytest
import scipy.io
from layouts import pereira2018 as layout

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Dataset, Split
from neuroenc.datasets import pereira2018
from neuroenc.errors import InputError


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "pereira", layout.build(tmp_path / "pereira")


def options(root, **changes):
    return Dataset(name="pereira2018", root=str(root), **{"mask": "brain"} | changes)


def test_voxels_that_both_experiments_have(tree, tmp_path):
    root, written = tree
    found = pereira2018.load_responses(options(root, regions=["languageLH"]), "P01")
    both = sorted(set.intersection(*({tuple(c) for c in w[1]} for w in written.values())))
    assert 0 < len(both) < 30 and found.sizes == {"presentation": 39, "neuroid": len(both)}
    assert found.attrs["n_voxels_left_out"] == 30 - len(both)
    row = 0
    for examples, coordinate, _ in written.values():
        where = {tuple(c): i for i, c in enumerate(coordinate)}
        values = examples[:, [where[c] for c in both]]
        expected = (values - values.mean(0)) / values.std(0)
        np.testing.assert_allclose(found["response"].values[row : row + len(expected)], expected, atol=1e-4)
        row += len(expected)
    x, z = found["x"].values, found["z"].values
    np.testing.assert_array_equal(found["roi_languageLH_LIFG"].values, (z == 1) & (x <= 2))
    np.testing.assert_array_equal(found["roi_languageLH_LPostTemp"].values, (z == 1) & (x > 2))
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)
    language = pereira2018.load_responses(options(root, mask="languageLH"), "P01")
    assert language.sizes["neuroid"] == (z == 1).sum() and (language["z"].values == 1).all()


def test_passages_are_never_parted(tree):
    root, _ = tree
    layout.build(root, subject="M08", seed=1, names=("384sentences",))
    stimuli = pereira2018.load_stimuli(options(root), ["M08", "P01"])
    assert stimuli.sizes["stimulus"] == 39
    assert stimuli["caption"].values[3, 0] == "Sentence 3 of a naïve text."
    assert stimuli["category"].values[:, 0].sum() == 4 * 3 + 3 * 3
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=5, n_inner=3))
    for side in split["side"].values:
        for passage in np.unique(stimuli["group"].values):
            assert len(set(side[stimuli["group"].values == passage])) == 1
    found = pereira2018.load_responses(options(root), "M08")
    assert set(found["stimulus_id"].values) <= set(stimuli["stimulus_id"].values)


def test_check_compares_with_the_release(tree, monkeypatch):
    root, _ = tree
    with pytest.raises(InputError, match="24 sentences of 6 passages, expected 384 of 96"):
        pereira2018.check_tree(options(root), ["P01"])
    monkeypatch.setattr(pereira2018, "EXPERIMENTS", layout.SIZES)
    assert pereira2018.check_tree(options(root), ["P01"]) == [
        "P01 384sentences: 24 sentences, 6 passages, 30 voxels, atlases languageLH, AAL",
        "P01 243sentences: 15 sentences, 5 passages, 28 voxels, atlases languageLH, AAL",
    ]
    (root / "P01/examples_243sentences.mat").unlink()
    with pytest.raises(InputError, match="has 384sentences, expected 384sentences, 243sentences"):
        pereira2018.check_tree(options(root), ["P01"])


def test_broken_trees_are_explained(tree):
    root, _ = tree
    with pytest.raises(InputError, match=r"'subject': 'M99'.*P01"):
        pereira2018.load_responses(options(root), "M99")
    with pytest.raises(InputError, match=r"'dataset.mask': 'languageL'.*languageLH"):
        pereira2018.load_responses(options(root, mask="languageL"), "P01")
    path = root / "P01/examples_243sentences.mat"
    values = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    scipy.io.savemat(path, values | {"examples": values["examples"][:-1]})
    with pytest.raises(InputError, match=r"shape \(14, 28\).*expected \(15, 28\)"):
        pereira2018.load_responses(options(root), "P01")
    scipy.io.savemat(path, {k: v for k, v in values.items() if k != "keySentences"})
    with pytest.raises(InputError, match=r"has no 'keySentences'\. Was its layout changed"):
        pereira2018.load_stimuli(options(root), ["P01"])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"Cannot read .*243sentences"):
        pereira2018.load_responses(options(root), "P01")


@pytest.fixture
def concepts(tmp_path):
    root = tmp_path / "concepts"
    return root, layout.build_concepts(root)


def test_concepts_are_presented_in_three_paradigms(concepts, tmp_path):
    root, written = concepts
    found = pereira2018.load_responses(options(root, preparation="concepts", regions=["AAL"]), "P01")
    assert found.sizes == {"presentation": 36, "neuroid": 18}
    assert np.unique(found["stimulus_id"].values).size == 12
    for name, rows in written.items():
        here = found["session"].values == name
        values = np.array([rows[c] for c in found["stimulus_id"].values[here]])
        expected = (values - values.mean(0)) / values.std(0)
        np.testing.assert_allclose(found["response"].values[here], expected, atol=1e-5)
    assert found["repetition"].values.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert found["roi_AAL_Precentral_L"].values.sum() == 6
    save(found, tmp_path / "r.nc")
    one = pereira2018.load_responses(
        options(root, preparation="concepts_wordclouds", mask="languageLH"), "P01"
    )
    assert one.sizes == {"presentation": 12, "neuroid": 9} and set(one["session"].values) == {"wordclouds"}


def test_concepts_have_words_sentences_and_pictures(concepts):
    root, _ = concepts
    layout.build_concepts(root, subject="M01", kind="data")  # as older archives name the files
    chosen = options(root, preparation="concepts_pictures")
    stimuli = pereira2018.load_stimuli(chosen, ["P01", "M01"])
    assert stimuli["caption"].values[:, 0].tolist() == stimuli["stimulus_id"].values.tolist()
    assert stimuli.attrs["pixels"] == "not distributed"
    rows = [f"concept{i:02d},Sentence {k} of {i}." for i in range(12) for k in range(1 + i % 2)]
    (root / "concepts.csv").write_text("concept,sentence\n" + "\n".join(rows) + "\n")
    (root / "pictures").mkdir()
    for i in range(12):
        (root / f"pictures/concept{i:02d}.png").write_bytes(b"")
    stimuli = pereira2018.load_stimuli(chosen, ["P01"])
    assert stimuli["caption"].values[1].tolist() == ["Sentence 0 of 1.", "Sentence 1 of 1."]
    assert stimuli["caption"].values[2].tolist() == ["Sentence 0 of 2.", ""]
    assert stimuli["file"].values[3] == "concept03.png"
    with pytest.raises(InputError, match="found 12 concepts, expected 180"):
        pereira2018.check_tree(chosen, ["P01"])
    (root / "pictures/concept05.png").unlink()
    with pytest.raises(InputError, match=r"no picture of 1 of 12 concepts, first 'concept05'"):
        pereira2018.load_stimuli(chosen, ["P01"])
    (root / "concepts.csv").write_text("concept,sentence\n" + "\n".join(rows[:-2]) + "\n")
    (root / "pictures/concept05.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"no sentence of 1 of 12 concepts, first 'concept11'"):
        pereira2018.load_stimuli(chosen, ["P01"])


def test_broken_concepts_are_explained(concepts):
    root, _ = concepts
    chosen = options(root, preparation="concepts")
    with pytest.raises(InputError, match=r"'dataset.preparation': 'concept_pictures'.*'concepts_pictures'"):
        pereira2018.load_stimuli(options(root, preparation="concept_pictures"), ["P01"])
    with pytest.raises(InputError, match=r"'subject': 'M99'.*P01"):
        pereira2018.load_responses(chosen, "M99")
    path = root / "P01/examples_180concepts_sentences.mat"
    values = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    scipy.io.savemat(path, values | {"labelsConcept": np.ones((12, 1))})
    with pytest.raises(
        InputError, match=r"with 1 labels of 12 concepts, expected \(12, 18\) with one of each"
    ):
        pereira2018.load_responses(chosen, "P01")
    scipy.io.savemat(path, {k: v for k, v in values.items() if k != "keyConcept"})
    with pytest.raises(InputError, match=r"has no 'keyConcept'\. Was its layout changed"):
        pereira2018.load_stimuli(options(root, preparation="concepts_sentences"), ["P01"])
    path.unlink()
    with pytest.raises(InputError, match=r"File not found: .*180concepts_sentences.mat"):
        pereira2018.load_stimuli(chosen, ["P01"])
