import unicodedata

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Dataset, Split
from neuroenc.datasets import custom, treebank
from neuroenc.errors import InputError, LeakError

RNG = np.random.default_rng(0)
SHAPE, N = (4, 5, 3), 8
IDS = [f"bild-ä{i}" for i in range(4)]
AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture
def folder(tmp_path):
    """A folder of one's own, with a subject in each format."""
    (tmp_path / "pictures").mkdir()
    for i in IDS:
        Image.fromarray(RNG.integers(0, 255, (10, 12, 3), dtype=np.uint8)).save(
            tmp_path / f"pictures/{i}.png"
        )
    pd.DataFrame({
        "stimulus_id": IDS, "file": [f"{i}.png" for i in IDS], "caption": ["a", "b", None, "d"],
        "split": ["train", "train", "train", "test"], "category_face": [1, 0, 0, 1],
    }).to_csv(tmp_path / "stimuli.csv", index=False)  # fmt: skip
    pd.DataFrame({"stimulus_id": IDS * 2, "session": [1] * 4 + [2] * 4, "run": 1}).to_csv(
        tmp_path / "trials.csv", index=False
    )
    volume = RNG.standard_normal((*SHAPE, N)).astype("f4")
    mask = np.zeros(SHAPE, "u1")
    mask[1:3, 1:4, 1] = 1
    v1 = np.zeros(SHAPE, "u1")
    v1[1, 1, 1] = 1
    for name, data in (("bold", volume), ("mask", mask), ("v1", v1)):
        nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / f"{name}.nii.gz")
    flat = volume[mask > 0].T
    np.save(tmp_path / "flat.npy", flat)
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["betas"] = flat
    pd.DataFrame(flat, columns=[f"c{i}" for i in range(6)]).to_csv(tmp_path / "flat.csv", index=False)
    np.save(tmp_path / "epochs.npy", RNG.standard_normal((N, 6, 7)))
    pd.DataFrame({"neuroid_id": [f"e{i}" for i in range(6)], "hemisphere": ["L"] * 3 + ["R"] * 3,
                  "roi_V1": [1, 0, 0, 0, 0, 1], "noise_ceiling": 0.5}).to_csv(tmp_path / "neuroids.csv", index=False)  # fmt: skip
    for side, values in (("left", flat), ("right", flat + 1)):
        arrays = [nib.gifti.GiftiDataArray(values[i], datatype="NIFTI_TYPE_FLOAT32") for i in range(N)]
        nib.save(nib.gifti.GiftiImage(darrays=arrays), tmp_path / f"{side}.func.gii")
    axes = (nib.cifti2.ScalarAxis([f"t{i}" for i in range(N)]),
            nib.cifti2.BrainModelAxis.from_surface(np.arange(6), 6, "CortexLeft"))  # fmt: skip
    nib.save(nib.cifti2.Cifti2Image(flat, axes), tmp_path / "flat.dscalar.nii")
    shown = {"presentations": "trials.csv"}
    description = {
        "name": "Mine", "units": "percent signal change",
        "stimuli": {"table": "stimuli.csv", "pictures": "pictures"},
        "subjects": {
            "nifti": shown | {"responses": "bold.nii.gz", "mask": "mask.nii.gz", "regions": {"V1": "v1.nii.gz"}},
            "npy": shown | {"responses": "flat.npy"},
            "h5": shown | {"responses": "flat.h5#betas", "neuroids": "neuroids.csv"},
            "csv": shown | {"responses": "flat.csv"},
            "gifti": shown | {"responses": {"left": "left.func.gii", "right": "right.func.gii"}},
            "cifti": shown | {"responses": "flat.dscalar.nii"},
            "epochs": shown | {"responses": "epochs.npy", "time": {"start": -0.1, "width": 0.05}},
        },
    }  # fmt: skip
    write(tmp_path, description)
    return tmp_path, description, flat


def write(folder, description):
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description, allow_unicode=True), encoding="utf-8")


def options(folder):
    return Dataset(name="custom", root=str(folder))


@pytest.mark.parametrize("subject", ["nifti", "npy", "h5", "csv", "gifti", "cifti"])
def test_every_format_gives_the_same_responses(folder, subject, tmp_path):
    root, _, flat = folder
    found = custom.load_responses(options(root), subject)
    expected = np.concatenate([flat, flat + 1], 1) if subject == "gifti" else flat
    np.testing.assert_allclose(found["response"].values, expected, rtol=1e-5, atol=1e-6)
    assert found["stimulus_id"].values.tolist() == IDS * 2
    assert found["repetition"].values.tolist() == [0] * 4 + [1] * 4
    assert found["split"].values[3] == "test"
    if subject == "nifti":
        assert found["roi_V1"].values.tolist() == [True] + [False] * 5
        assert [found[a].values[0] for a in "xyz"] == [1, 1, 1]
    if subject == "h5":
        assert found["hemisphere"].values[0] == "L" and found["noise_ceiling"].values[0] == 0.5
        assert found["roi_V1"].values.sum() == 2
    if subject == "gifti":
        assert found["hemisphere"].values.tolist() == ["L"] * 6 + ["R"] * 6
    save(found, tmp_path / "out.nc")
    assert load(tmp_path / "out.nc", "responses").identical(found)


def test_time_bins_and_stimuli(folder):
    root, _, _ = folder
    found = custom.load_responses(options(root), "epochs")
    assert found["response"].shape == (N, 6, 7)
    np.testing.assert_allclose(found["start"].values[:2], [-0.1, -0.05])
    stimuli = custom.load_stimuli(options(root), ["npy"])
    assert stimuli["stimulus_id"].values.tolist() == IDS
    assert stimuli["caption"].values[:, 0].tolist() == ["a", "b", "", "d"]
    assert stimuli["category_name"].values.tolist() == ["face"]


def test_the_command_reads_everything_once(folder, run):
    status, out, err = run("data", "check", "--options", '{"name": "custom"}', "--root", folder[0],
                           "--subject", "nifti", "--subject", "epochs")  # fmt: skip
    assert status == 0, err
    assert "4 stimuli, 1 of them for testing" in out
    assert "8 x 6 x 7 (presentations x neuroids x bins)" in out


def edit(description, path, value):
    *keys, last = path.split(".")
    part = description
    for key in keys:
        part = part[key]
    part[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("subjects.npy.responsez", "x.npy", r"Unknown key 'subjects.npy.responsez'.*did you mean 'subjects.npy.responses'"),
        ("subjects.npy.responses", "none.npy", "File not found: .*none.npy"),
        ("subjects.npy.responses", "stimuli.txt", "File not found"),
        ("subjects.nifti.mask", "small.nii.gz", r"has the grid \(2, 2, 2\).*Resample it"),
        ("subjects.h5.responses", "flat.h5#beta", "flat.h5': 'beta'.*did you mean 'betas'"),
        ("subjects.npy.presentations", "short.csv", "flat.npy has 8 presentations, short.csv 7 rows"),
        ("subjects.npy.presentations", "strange.csv", "1 stimuli that are not in stimuli.csv, first 'nobody'"),
        ("subjects.npy.presentations", "stimuli_only.csv", "has no column 'stimulus_id'; found 'stimulus'"),
        ("subjects.npy.neuroids", "few.csv", "few.csv has 2 rows, flat.npy 6 neuroids"),
        ("subjects.epochs.time", None, "`time` .* belongs to three"),
        ("stimuli.table", "twice.csv", "names stimulus_id 'bild-ä0' more than once"),
        ("units", None, "Invalid value for 'units'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_helpful_line(folder, path, value, message):
    root, description, _ = folder
    trials = pd.read_csv(root / "trials.csv")
    trials[:7].to_csv(root / "short.csv", index=False)
    trials.replace(IDS[0], "nobody").to_csv(root / "strange.csv", index=False)
    trials.rename(columns={"stimulus_id": "stimulus"}).to_csv(root / "stimuli_only.csv", index=False)
    table = pd.read_csv(root / "stimuli.csv")
    pd.concat([table, table[:1]]).to_csv(root / "twice.csv", index=False)
    pd.DataFrame({"neuroid_id": ["a", "b"]}).to_csv(root / "few.csv", index=False)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), "u1"), AFFINE), root / "small.nii.gz")
    edit(description, path, value)
    write(root, description)
    subject = path.split(".")[1] if path.startswith("subjects") else "npy"
    if value == "strange.csv":
        message = r"4 stimuli|1 stimuli that are not in stimuli.csv, first 'nobody'"
    with pytest.raises(InputError, match=message) as caught:
        custom.load_stimuli(options(root), [subject])
        custom.load_responses(options(root), subject)
    assert "\n" not in str(caught.value)


def test_missing_pictures_and_truncated_files(folder):
    root, _, _ = folder
    (root / f"pictures/{IDS[2]}.png").unlink()
    with pytest.raises(InputError, match=r"1 of 4 pictures .* first 'bild-ä2.png'"):
        custom.load_stimuli(options(root), ["npy"])
    for name, subject in (("bold.nii.gz", "nifti"), ("flat.npy", "npy"), ("flat.h5", "h5"),
                          ("left.func.gii", "gifti"), ("flat.dscalar.nii", "cifti")):  # fmt: skip
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match="Cannot read"):
            custom.load_responses(options(root), subject)


def test_pickled_arrays_are_refused(folder):
    root, _, _ = folder
    np.save(root / "flat.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"Cannot read .*flat.npy"):
        custom.load_responses(options(root), "npy")


def test_no_folder_no_description(tmp_path):
    with pytest.raises(InputError, match=r"Set `dataset.root` to the folder with dataset.yaml"):
        custom.load_stimuli(options(tmp_path / "none"), ["1"])
    with pytest.raises(InputError, match=r"docs/custom.md says what it holds"):
        custom.load_stimuli(options(tmp_path), ["1"])


@pytest.fixture
def grid(real, tmp_path):
    """Epochs of the real ECoG in a folder of one's own: seven pieces of a tenth of a second."""
    mne = pytest.importorskip("mne")
    raw = mne.io.read_raw_fif(real / "ecog/sample_ecog_ieeg.fif", verbose="error")
    epochs = mne.make_fixed_length_epochs(raw, 0.1, preload=True, verbose="error")
    epochs.info["bads"] = ["G3"]
    epochs.save(tmp_path / "a-epo.fif", verbose="error")
    n = len(epochs)
    pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(n)]}).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({
        "name": "Grid", "units": "volt", "space": "electrodes", "stimuli": {"table": "table.csv"},
        "subjects": {"a": {"presentations": "table.csv", "responses": "a-epo.fif"}},
    }))  # fmt: skip
    return tmp_path, epochs


def test_epochs_of_real_electrodes(grid):
    folder, epochs = grid
    found = custom.load_responses(Dataset(name="custom", root=str(folder)), "a")
    assert found.sizes == {"presentation": len(epochs), "neuroid": 393, "time_bin": len(epochs.times)}
    names = [n for n in epochs.ch_names if n != "G3"]
    assert found["neuroid_id"].values.tolist() == [f"a_{n}" for n in names]
    np.testing.assert_allclose(found["response"].values, epochs.get_data(picks=names), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(found["start"].values, epochs.times)
    where = epochs.info["chs"][epochs.ch_names.index("G20")]["loc"][:3]
    row = names.index("G20")
    np.testing.assert_allclose([found[a].values[row] for a in "xyz"], 1000 * where, rtol=1e-5)  # mm
    assert np.isfinite(found["x"].values).all()


@pytest.mark.parametrize("units", ["uV", "\u00b5V", "microvolts", "mV", "fT/cm"])
def test_units_that_epochs_are_not_in_are_refused(grid, units):
    folder, _ = grid
    about = yaml.safe_load((folder / "dataset.yaml").read_text())
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about | {"units": units}))
    with pytest.raises(InputError, match=r"'units' in .*MNE's epochs are in V, T"):
        custom.load_responses(Dataset(name="custom", root=str(folder)), "a")


def test_montages_of_real_electrodes(grid):
    """Neighbours on a strip are closer to each other than strangers, and share what a reference takes off."""
    folder, _ = grid
    found = custom.load_responses(Dataset(name="custom", root=str(folder)), "a")
    known = {n.removeprefix("a_"): i for i, n in enumerate(found["neuroid_id"].values)}
    position = np.stack([found[a].values for a in "xyz"], 1)
    pairs = [[i for i, _ in parts] for _, parts in treebank.montage(known, "bipolar")]
    assert 300 < len(pairs) < 393 and not any(known.get("G2") == a for a, _ in pairs)
    near = np.linalg.norm(position[[a for a, _ in pairs]] - position[[b for _, b in pairs]], axis=1)
    far = np.linalg.norm(position[:, None] - position, axis=2)
    assert np.median(near) < 0.3 * np.median(far)
    signal = found["response"].values.transpose(1, 0, 2).reshape(393, -1)
    laplacian = [parts for _, parts in treebank.montage(known, "laplacian")]
    left = np.array([sum(w * signal[i] for i, w in parts) for parts in laplacian])
    own = np.array([signal[parts[0][0]] for parts in laplacian])
    assert np.median(left.var(1) / own.var(1)) < 0.6


def test_broken_epochs(grid):
    folder, _ = grid
    path = folder / "a-epo.fif"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"Cannot read .*a-epo\.fif"):
        custom.load_responses(Dataset(name="custom", root=str(folder)), "a")


def test_cifti_keeps_vertices_voxels_and_structures(folder, tmp_path):
    root, _, _ = folder
    cortex = nib.cifti2.BrainModelAxis.from_surface(np.array([1, 4]), 6, "CortexRight")
    inside = np.zeros(SHAPE, bool)
    inside[2, 3, 1] = True
    deep = nib.cifti2.BrainModelAxis.from_mask(inside, affine=AFFINE, name="Brain_Stem")
    data = RNG.standard_normal((N, 3)).astype("f4")
    rows = nib.cifti2.SeriesAxis(0, 1, N)
    nib.save(nib.cifti2.Cifti2Image(data, (rows, cortex + deep)), root / "flat.dscalar.nii")
    found = custom.load_responses(options(root), "cifti")
    np.testing.assert_array_equal(found["response"].values, data)
    assert found["vertex"].values.tolist() == [1, 4, -1]
    assert found["hemisphere"].values.tolist() == ["R", "R", ""]
    assert found["structure"].values.tolist() == ["CORTEX_RIGHT", "CORTEX_RIGHT", "BRAIN_STEM"]
    assert [found[a].values[2] for a in "xyz"] == [2, 3, 1] and np.isnan(found["x"].values[0])
    save(found, tmp_path / "out.nc")
    assert load(tmp_path / "out.nc", "responses").identical(found)


def test_hemispheres_that_are_swapped_are_told(folder):
    root, _, flat = folder
    arrays = [nib.gifti.GiftiDataArray(f, datatype="NIFTI_TYPE_FLOAT32") for f in flat]
    meta = nib.gifti.GiftiMetaData(AnatomicalStructurePrimary="CortexRight")
    nib.save(nib.gifti.GiftiImage(darrays=arrays, meta=meta), root / "left.func.gii")
    with pytest.raises(InputError, match=r"left.func.gii is of hemisphere 'R', but stands under 'left'"):
        custom.load_responses(options(root), "gifti")


def test_masks_of_what_has_no_voxels_are_refused(folder):
    root, description, _ = folder
    description["subjects"]["csv"]["mask"] = "mask.nii.gz"
    write(root, description)
    with pytest.raises(InputError, match="no voxels for `mask`"):
        custom.load_responses(options(root), "csv")


def test_columns_of_an_array_may_be_the_voxels_of_a_mask(folder):
    root, description, _ = folder
    description["subjects"]["npy"] = {
        "presentations": "trials.csv", "responses": "flat.npy", "mask": "mask.nii.gz",
        "regions": {"V1": "v1.nii.gz"},
    }  # fmt: skip
    write(root, description)
    found, same = (custom.load_responses(options(root), s) for s in ("npy", "nifti"))
    np.testing.assert_array_equal(found["response"].values, same["response"].values)
    for name in ("x", "y", "z", "roi_V1"):
        np.testing.assert_array_equal(found[name].values, same[name].values)
    np.testing.assert_array_equal(found.attrs["affine"], same.attrs["affine"])
    np.save(root / "flat.npy", np.zeros((N, 5), "f4"))
    with pytest.raises(InputError, match=r"flat.npy has 5 columns, .*mask.nii.gz 6 voxels inside"):
        custom.load_responses(options(root), "npy")


@pytest.mark.parametrize("values", [np.ones((N, 2), "c8"), np.full((N, 2), "a")])
def test_responses_that_are_no_numbers_are_refused(folder, values):
    root, _, _ = folder
    np.save(root / "flat.npy", values)
    with pytest.raises(InputError, match="expected real numbers"):
        custom.load_responses(options(root), "npy")


def test_pictures_in_hdf5_match_the_table(folder, run):
    root, description, _ = folder
    description["stimuli"]["pictures"] = "p.h5#img"
    write(root, description)
    for shown, message in (((4, 5, 5, 3), None), ((7, 5, 5, 3), "p.h5#img has 7 pictures, .* 4 rows"),
                           ((4, 3, 5, 5), r"uint8 of shape \(4, 3, 5, 5\)")):  # fmt: skip
        with h5py.File(root / "p.h5", "w") as file:
            file["img"] = RNG.integers(0, 256, shown, dtype=np.uint8)
        if message is None:
            custom.load_stimuli(options(root), ["npy"])
            continue
        with pytest.raises(InputError, match=message):
            custom.load_stimuli(options(root), ["npy"])


def test_one_picture_under_two_ids_never_crosses_a_split(folder, run, monkeypatch):
    """A byte copy, the same file listed again and a copy in another format."""
    root, _, _ = folder
    table = pd.read_csv(root / "stimuli.csv")
    Image.open(root / f"pictures/{IDS[1]}.png").save(root / "pictures/again.bmp")
    more = pd.DataFrame({"stimulus_id": ["x", "y"], "file": [f"{IDS[0]}.png", "again.bmp"], "split": "test",
                         "category_face": 0})  # fmt: skip
    pd.concat([table, more]).to_csv(root / "stimuli.csv", index=False)
    trials = pd.read_csv(root / "trials.csv")
    trials.loc[[6, 7], "stimulus_id"] = ["x", "y"]
    trials.to_csv(root / "trials.csv", index=False)
    stimuli = custom.load_stimuli(options(root), ["npy"])
    assert stimuli["group"].values.tolist() == [*IDS, IDS[0], IDS[1]]
    monkeypatch.setattr(splits, "FEWEST", 1)  # six stimuli make no larger folds
    for seed in range(5):
        side = splits.make(stimuli, Split(kind="stimulus", n_inner=2, seed=seed))["side"].values
        assert (side[:, [0, 1]] == side[:, [4, 5]]).all()
    with pytest.raises(LeakError, match="groups on both sides of the split: 2, first 'bild-ä0'"):
        splits.make(stimuli, Split(kind="dataset", n_inner=2))
    status, out, _ = run(
        "data", "check", "--options", '{"name": "custom"}', "--root", root, "--subject", "npy"
    )
    assert status == 0 and "2 pictures stand under more than one id" in out


def test_ids_that_look_alike_are_refused(folder):
    root, _, _ = folder
    table = pd.read_csv(root / "stimuli.csv")
    for spelt in (unicodedata.normalize("NFD", IDS[0]), f"{IDS[0]} "):
        pd.concat([table, table[:1].assign(stimulus_id=spelt)]).to_csv(root / "stimuli.csv", index=False)
        with pytest.raises(InputError, match="more than once"):
            custom.load_stimuli(options(root), ["npy"])


def test_sessions_without_data_are_named(folder, run):
    root, _, flat = folder
    gone = flat.copy()
    gone[4:, 2] = 0
    gone[4:, 3] = np.nan
    gone[:, 5] = 1  # constant everywhere: counted as such, and not for each session
    np.save(root / "flat.npy", gone)
    _, out, _ = run("data", "check", "--options", '{"name": "custom"}', "--root", root, "--subject", "npy")
    assert "2 neuroids have no data, or one value throughout, in session 2" in out
    assert "in session 1" not in out


def test_stimuli_that_epochs_name_are_compared(grid):
    folder, epochs = grid
    ids = [f"s{i}" for i in range(len(epochs))]
    for named, right in ((ids, True), (ids[::-1], False)):
        epochs.metadata = pd.DataFrame({"stimulus_id": named})
        epochs.save(folder / "a-epo.fif", overwrite=True, verbose="error")
        if right:
            found = custom.load_responses(Dataset(name="custom", root=str(folder)), "a")
            assert found["stimulus_id"].values.tolist() == ids
        else:
            with pytest.raises(InputError, match="has the stimulus_id 's6' in row 0"):
                custom.load_responses(Dataset(name="custom", root=str(folder)), "a")
