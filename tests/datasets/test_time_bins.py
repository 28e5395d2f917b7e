"""The two recordings at hand that have time bins."""

import numpy as np
import pytest

from neuroenc.config import Dataset
from neuroenc.datasets import mtl, n170
from neuroenc.errors import InputError


@pytest.mark.real
def test_units_of_the_medial_temporal_lobe(real, run):
    options = Dataset(name="mtl", root=str(real / "mtl"))
    counts, _, shown = mtl.check_tree(options, ["all"])
    assert counts == "596 units, 200 trials, 50 bins, 150 pictures, 25 sessions"
    assert "each stimulus 1 to 2 times" in shown and "from repeats of 50 stimuli" in shown
    found = mtl.load_responses(options, "all")
    assert found["response"].shape == (200, 596, 50)
    assert (found["repetition"].values == 1).sum() == 50
    np.testing.assert_allclose(found["start"].values[[0, -1]], [-0.5, 1.95])
    stimuli = mtl.load_stimuli(options, ["all"])
    assert set(found["stimulus_id"].values) == set(stimuli["stimulus_id"].values)
    status, _, err = run("data", "responses", "--options", '{"name": "mtl"}', "--root", real / "mtl",
                         "--subject", "4", "--out", "x.nc")  # fmt: skip
    assert status == 2 and "'subject': '4'" in err


@pytest.mark.real
def test_n170_runs_are_groups_and_artefacts_are_counted(real):
    options = Dataset(name="n170", root=str(real / "eeg_n170"))
    counts, _, shown = n170.check_tree(options, ["1"])
    assert counts == "6 runs, 1174 presentations" and "no noise ceiling" in shown
    found = n170.load_responses(options, "1")
    assert found.attrs["n_artefacts"] == 1174 - found.sizes["presentation"]
    assert np.abs(found["response"].values).max() <= n170.LIMIT
    before = found["response"].values[..., found["start"].values < 0]
    assert np.abs(before.mean(-1)).max() < 1e-3
    stimuli = n170.load_stimuli(options, ["1"])
    assert set(found["stimulus_id"].values) <= set(stimuli["stimulus_id"].values)
    assert set(stimuli["group"].values) == {f"run{r}" for r in range(1, 7)}


def test_absent_and_broken_files(tmp_path):
    for module, name in ((mtl, "mtl"), (n170, "n170")):
        with pytest.raises(InputError, match="Set NEUROENC_REAL_DATA"):
            module.load_stimuli(Dataset(name=name, root=str(tmp_path / "no")), ["1"])
    with pytest.raises(InputError, match="no runs"):
        n170.load_stimuli(Dataset(name="n170", root=str(tmp_path)), ["1"])
    (tmp_path / "data_1.csv").write_text("timestamps,TP9\n1,2\n")
    with pytest.raises(
        InputError, match=r"has no column 'AF7'; found 'timestamps', 'TP9'. Was its layout changed"
    ):
        n170.load_responses(Dataset(name="n170", root=str(tmp_path)), "1")
    (tmp_path / mtl.FILE).write_bytes(b"PK\x03\x04 not whole")
    with pytest.raises(InputError, match="Cannot read"):
        mtl.load_responses(Dataset(name="mtl", root=str(tmp_path)), "all")
    np.savez(tmp_path / mtl.FILE, counts=np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="has no array 'area'"):
        mtl.load_responses(Dataset(name="mtl", root=str(tmp_path)), "all")
