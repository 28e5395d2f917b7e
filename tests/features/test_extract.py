import errno
import json
import os
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from neuroenc import datasets
from neuroenc.arrays import CONTRACT, load, make_stimuli
from neuroenc.config import Model
from neuroenc.datasets.pixels import open_zip, read_pixels
from neuroenc.errors import InputError
from neuroenc.features import classical, items, writing
from neuroenc.features.classical import Gabor
from neuroenc.features.extract import BATCHES, describe, extract
from neuroenc.features.layers import side_by_side
from neuroenc.features.networks import Network

# bands of 8 orientations and 6 octaves that hold a frequency of a picture of 128 px
BANDS = {(int(np.log2(np.hypot(x, y))), int((np.degrees(np.arctan2(y, x)) + 11.25) % 180 // 22.5))
         for x in range(-64, 64) for y in range(-64, 64) if 1 <= np.hypot(x, y) < 64}  # fmt: skip
LAYERS = ["visual.transformer.resblocks.1", "visual"]
NANO = Model(extractor="open_clip", network="nano", weights="random:0", layers=LAYERS)


@pytest.fixture(scope="module")
def stimuli(nsd_options):
    return datasets.module(nsd_options).load_stimuli(nsd_options, ["01"])


@pytest.mark.parametrize(
    ("model", "size"),
    [(NANO, 128 + 64), (Model(extractor="gabor"), 2208), (Model(extractor="category"), 16),
     (Model(extractor="caption"), 512), (Model(network="pixel"), 3 * 32 * 32),
     (Model(network="luminance"), 2 * 64), (Model(network="spectral"), len(BANDS))],
)  # fmt: skip
def test_one_file_with_the_contract(stimuli, tmp_path, model, size):
    extract(stimuli, model, tmp_path / "f.nc")
    found = load(tmp_path / "f.nc", "features")
    assert found["feature"].shape == (140, size)
    assert set(CONTRACT) <= set(found.attrs)
    np.testing.assert_array_equal(found["stimulus_id"].values, stimuli["stimulus_id"].values)
    assert [p.name for p in tmp_path.iterdir()] == ["f.nc"]


def test_tokens_keep_their_dimension(stimuli, tmp_path):
    model = NANO.model_copy(update={"pooling": "tokens", "layers": LAYERS[:1]})
    extract(stimuli, model, tmp_path / "f.nc")
    assert load(tmp_path / "f.nc", "features")["feature"].dims == ("stimulus", "token", "channel")


def test_layers_of_different_tokens_are_refused_at_the_first_batch(stimuli, tmp_path, monkeypatch):
    monkeypatch.setattr(Network, "batch_size", lambda self, memory_gb: 16)
    read = []
    monkeypatch.setattr(
        items, "read_pixels", lambda s, rows, *a: read.extend(rows) or read_pixels(s, rows, *a)
    )
    with pytest.raises(InputError, match="different numbers of tokens"):
        extract(stimuli, NANO.model_copy(update={"pooling": "tokens"}), tmp_path / "g.nc")
    assert len(read) <= 48  # of 140: the first, those read while it was refused
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_of_the_same_is_refused_while_the_first_runs(stimuli, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK", 32)
    real, again = writing.Unfinished.write, []

    def write(self, row, values):
        real(self, row, values)
        if row == 0:
            with pytest.raises(
                InputError, match=r"Another process makes .*f\.nc of the same stimuli"
            ) as said:
                extract(stimuli, NANO, tmp_path / "f.nc")
            again.append(said)

    monkeypatch.setattr(writing.Unfinished, "write", write)
    extract(stimuli, NANO, tmp_path / "f.nc")
    assert len(again) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["f.nc"]


def test_a_disk_without_room_is_said_at_the_first_batch(stimuli, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(InputError, match=r"Cannot write .*: No space left on device\. Free space"):
            extract(stimuli, NANO, tmp_path / "f.nc")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(writing, "BLOCK", 32)
    real = writing.Rows.write
    monkeypatch.setattr(writing.Rows, "write", lambda s, r, v: full() if r >= 64 else real(s, r, v))
    with pytest.raises(InputError, match="No space left on device"):
        extract(stimuli, NANO, tmp_path / "f.nc")
    (begun,) = tmp_path.iterdir()
    assert sorted(p.name for p in begun.glob("[0-9]*")) == ["0000000", "0000032"]  # to go on from


def test_a_killed_run_is_taken_up_and_gives_the_same(stimuli, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK", 32)
    extract(stimuli, NANO, tmp_path / "whole.nc")
    calls = []
    real = Network.run

    def count(self, prepared, limit=None):
        calls.extend(len(rows) for rows, _ in prepared)
        if limit is not None and sum(calls) > limit:
            raise KeyboardInterrupt
        return real(self, prepared)

    monkeypatch.setattr(Network, "run", lambda s, p: count(s, p, limit=100))
    with pytest.raises(KeyboardInterrupt):
        extract(stimuli, NANO, tmp_path / "part.nc")
    assert not (tmp_path / "part.nc").exists()
    (begun,) = tmp_path.glob(".blocks-part.nc-*")
    done, whole = (load(p, "features") for p in (begun / "features.nc", tmp_path / "whole.nc"))
    assert done.drop_vars("feature").identical(whole.drop_vars("feature"))
    marks = sorted(int(p.name) for p in begun.glob("[0-9]*"))
    assert marks == [0, 32, 64]
    np.testing.assert_array_equal(done["feature"][:96].values, whole["feature"][:96].values)
    calls.clear()
    monkeypatch.setattr(Network, "run", lambda s, p: count(s, p))
    extract(stimuli, NANO, tmp_path / "part.nc")
    assert sum(calls) < 80  # of 140, one of which sizes the batch
    assert load(tmp_path / "part.nc", "features").identical(load(tmp_path / "whole.nc", "features"))


def test_blocks_of_another_contract_are_not_taken_up(stimuli, tmp_path, monkeypatch):
    folder = tmp_path / ".blocks-f.nc-0123456789abcdef"
    folder.mkdir()
    np.savez(folder / "0000000.npz", **{k: np.zeros((140, 1)) for k in LAYERS})
    extract(stimuli, NANO, tmp_path / "f.nc")
    assert load(tmp_path / "f.nc", "features")["feature"].shape == (140, 192)
    assert [p.name for p in tmp_path.iterdir()] == ["f.nc"]


@pytest.mark.parametrize("place", ["folder", "zip", "stack"])
def test_blocks_of_pictures_that_were_replaced_are_not_taken_up(tmp_path, monkeypatch, place):
    """The run was killed because the pictures were the wrong ones; they keep their names."""
    monkeypatch.setattr(writing, "BLOCK", 1)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 40, 40, 3), dtype=np.uint8)
    ids = np.array(["a", "b", "c"])

    def put(pictures):
        if place == "stack":
            with h5py.File(tmp_path / "p.h5", "w") as file:
                file["x"] = pictures
            return
        for name, picture in zip(ids, pictures, strict=True):
            Image.fromarray(picture).save(tmp_path / f"{name}.png")
        if place == "zip":
            with zipfile.ZipFile(tmp_path / "p.zip", "w") as file:
                for name in ids:
                    file.write(tmp_path / f"{name}.png", f"{name}.png")

    table = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(3), "split": ids, "group": ids}
        | ({} if place == "stack" else {"file": [f"{'p.zip/' * (place == 'zip')}{i}.png" for i in ids]}),
        attrs={"dataset": "mine", "pixels": f"{tmp_path}{'/p.h5#x' * (place == 'stack')}"},
    )  # fmt: skip
    real = writing.Unfinished.write

    def stop(self, row, values):
        if row == 2:
            raise KeyboardInterrupt
        real(self, row, values)

    model = Model(extractor="luminance")
    put(pixels[0])
    monkeypatch.setattr(writing.Unfinished, "write", stop)
    monkeypatch.setitem(BATCHES, "luminance", 1)
    with pytest.raises(KeyboardInterrupt):
        extract(table, model, tmp_path / "f.nc")
    monkeypatch.setattr(writing.Unfinished, "write", real)
    put(pixels[1])
    open_zip.cache_clear()  # as in another process
    extract(table, model, tmp_path / "f.nc")
    got = load(tmp_path / "f.nc", "features")["feature"].values
    np.testing.assert_array_equal(got, describe(list(pixels[1]), model)["feature"].values)


def test_folder_of_pictures_and_a_broken_one(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    ids = np.array(["a", "b"])
    table = make_stimuli(
        {"stimulus_id": ids, "pixel_index": [0, 1], "split": ids, "group": ids,
         "file": np.array(["a.png", "b.png"])},
        attrs={"dataset": "mine", "pixels": str(tmp_path)},
    )  # fmt: skip
    extract(table, Model(extractor="gabor"), tmp_path / "f.nc")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"Cannot decode the picture .*b\.png"):
        extract(table, Model(extractor="gabor"), tmp_path / "f.nc")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png", "f.nc"]  # no block was made


def test_gabor_energy_finds_orientation_scale_and_place():
    x = np.arange(128)
    gabor = Gabor()
    for scale, wavelength in enumerate((4, 8, 16, 32)):
        wave = 127 + 100 * np.sin(2 * np.pi * x / wavelength)
        upright = np.broadcast_to(wave[None, :, None], (128, 128, 3)).astype(np.uint8)
        energy = gabor([upright, upright.transpose(1, 0, 2)])["energy"]
        sizes = [6 * 144, 6 * 144, 6 * 64, 6 * 16]
        parts = np.split(energy, np.cumsum(sizes)[:-1], axis=1)
        by_scale = [p.reshape(2, 6, -1).mean(2) for p in parts]
        assert np.argmax([b[0].max() for b in by_scale]) == scale
        assert by_scale[scale][0].argmax() == 0
        assert by_scale[scale][1].argmax() == 3
    half = np.full((128, 128, 3), 128, np.uint8)
    half[:, 64:] = np.random.default_rng(0).integers(0, 255, (128, 64, 1))
    fine = gabor([half])["energy"][0, : 6 * 144].reshape(6, 12, 12).sum(0)
    assert fine[:, 7:].min() > 5 * fine[:, :5].max()


def test_worker_processes_and_shards_give_the_same(stimuli, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK", 32)
    extract(stimuli, NANO, tmp_path / "whole.nc", workers=0)
    for number in range(3):
        extract(stimuli, NANO, tmp_path / "parts.nc", workers=1, shard=(number, 3))
        assert not (tmp_path / "parts.nc").exists()
    extract(stimuli, NANO, tmp_path / "parts.nc", workers=2)
    assert load(tmp_path / "parts.nc", "features").identical(load(tmp_path / "whole.nc", "features"))


def test_float16_on_disk(stimuli, tmp_path):
    extract(stimuli, NANO, tmp_path / "whole.nc")
    extract(stimuli, NANO.model_copy(update={"dtype": "float16"}), tmp_path / "half.nc")
    whole, half = (load(tmp_path / f"{n}.nc", "features")["feature"] for n in ("whole", "half"))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, whole, rtol=2e-3, atol=1e-3)
    with pytest.raises(InputError, match=r"not finite.*Store them as float32"):
        side_by_side({"a": np.full((140, 2), 1e6, "f4")}, "float16", stimuli["stimulus_id"].values)


def test_a_random_projection_keeps_distances(stimuli, tmp_path):
    model = Model(network="pixel", projection="sparse:0.5")
    extract(stimuli, Model(network="pixel"), tmp_path / "whole.nc")
    extract(stimuli, model, tmp_path / "less.nc")
    whole, less = (load(tmp_path / f"{n}.nc", "features")["feature"].values for n in ("whole", "less"))
    assert less.shape[1] < whole.shape[1]
    ratio = ((less[:70] - less[70:]) ** 2).sum(1) / ((whole[:70] - whole[70:]) ** 2).sum(1)
    assert ratio.min() > 0.5 and ratio.max() < 1.5
    extract(stimuli, model, tmp_path / "again.nc")
    np.testing.assert_array_equal(load(tmp_path / "again.nc", "features")["feature"].values, less)
    assert "sparse random projection, error 0.5" in load(tmp_path / "less.nc", "features").attrs["pooling"]


def test_pca_sees_training_stimuli_only(stimuli, tmp_path, monkeypatch):
    from sklearn.decomposition import PCA

    from neuroenc import splits
    from neuroenc.config import Split

    split = splits.make(stimuli, Split(kind="stimulus", n_folds=2))
    fitted = (split["side"].values == splits.TRAIN).all(0)
    assert 0 < fitted.sum() < 140
    model = Model(network="pixel", projection="pca:5")
    extract(stimuli, model, tmp_path / "pca.nc", split=split)
    extract(stimuli, Model(network="pixel"), tmp_path / "whole.nc")
    whole = load(tmp_path / "whole.nc", "features")["feature"].values
    expected = PCA(5, svd_solver="full").fit(whole[fitted]).transform(whole)
    got = load(tmp_path / "pca.nc", "features")["feature"].values
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
    tokens = Model(network="luminance", pooling="grid:2", projection="pca:2")
    extract(stimuli, tokens, tmp_path / "pca.nc", split=split)  # more rows than features
    extract(stimuli, tokens.model_copy(update={"projection": None}), tmp_path / "whole.nc")
    whole = load(tmp_path / "whole.nc", "features")["feature"].values
    expected = PCA(2, svd_solver="full").fit(whole[fitted].reshape(-1, 2)).transform(whole.reshape(-1, 2))
    got = load(tmp_path / "pca.nc", "features")["feature"].values
    np.testing.assert_allclose(got.reshape(-1, 2), expected, atol=1e-5)
    assert [p.name for p in tmp_path.glob(".*")] == []
    monkeypatch.setattr(classical.Pixels, "__call__", None)  # it is said before anything is extracted
    with pytest.raises(InputError, match="needs training stimuli common to all folds"):
        extract(stimuli, model, tmp_path / "x.nc")


def test_plain_descriptions_of_pixels():
    flat = np.full((64, 64, 3), 128, np.uint8)
    half = flat.copy()
    half[:, 32:] = 0
    luminance = classical.Pixels("luminance", "grid:2")([flat, half])["luminance"]
    assert luminance.shape == (2, 4, 2)
    np.testing.assert_allclose(luminance[0], [[128 / 255, 0]] * 4, atol=1e-3)
    assert luminance[1, 0, 0] > 0.45 and luminance[1, 1, 0] < 0.05
    x = np.arange(64)
    waves = [
        np.repeat((127 + 100 * np.sin(2 * np.pi * f * x / 64))[None], 64, 0).astype("u1") for f in (2, 16)
    ]
    power = classical.Pixels("spectral")([np.dstack([w] * 3) for w in waves])["power"]
    assert power[0].argmax() != power[1].argmax()
    assert (
        power.max(1) > power.mean(1) + 5
    ).all()  # a grating along an axis is in a band, far above the rest
    assert (classical.Pixels("pixel")([flat])["rgb"] == np.float32(128 / 255)).all()
    shade = np.arange(64, dtype="u1").repeat(64).reshape(64, 64)  # darker above
    small = classical.Pixels("pixel", "grid:4")([np.dstack([shade, flat[..., 0], 255 - shade])])["rgb"]
    assert small.shape == (1, 16, 3)  # row by row
    rows = small.reshape(4, 4, 3)
    assert (np.diff(rows[..., 0], axis=0) > 0.03).all() and np.ptp(rows[..., 0], axis=1).max() < 1e-6
    assert (np.diff(rows[..., 2], axis=0) < -0.03).all()
    with pytest.raises(InputError, match="'pooling': 'grid:4'"):
        classical.Pixels("spectral", "grid:4")


def test_workers_do_not_share_an_open_zip(tmp_path, monkeypatch):
    import zipfile

    monkeypatch.setattr(writing, "BLOCK", 8)
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for i in range(64):
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "x.png")
            archive.write(tmp_path / "x.png", f"{i}.png")
    ids = [str(i) for i in range(64)]
    table = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(64), "file": [f"p.zip/{i}.png" for i in ids],
         "split": ["train"] * 64, "group": ids}, attrs={"dataset": "toy", "pixels": str(tmp_path)},
    )  # fmt: skip
    extract(table, Model(network="pixel"), tmp_path / "one.nc", workers=0)  # the zip is open from here on
    extract(table, Model(network="pixel"), tmp_path / "two.nc", workers=2)
    assert load(tmp_path / "one.nc", "features").identical(load(tmp_path / "two.nc", "features"))


def test_captions_that_are_empty_are_not_averaged_in(tmp_path):
    texts = np.array([["a red house", "two stars"], ["a red house", ""], ["", "two stars"]])
    told = make_stimuli(
        {"stimulus_id": ["a", "b", "c"], "pixel_index": np.arange(3), "split": ["train"] * 3, "group": list("abc")},
        attrs={"dataset": "t", "pixels": "none"}, captions=texts,
    )  # fmt: skip
    text = Model(extractor="open_clip_text", network="nano", weights="random:0", layers=["ln_final"])
    for model in (Model(extractor="caption"), text):
        extract(told, model, tmp_path / "f.nc")
        both, house, dogs = load(tmp_path / "f.nc", "features")["feature"].values
        np.testing.assert_allclose(both, (house + dogs) / 2, atol=1e-5)
    told["caption"].values[1] = ""
    with pytest.raises(InputError, match="1 of 3 stimuli have no caption, first 'b'"):
        extract(told, text, tmp_path / "f.nc")


def test_misaligned_features_are_those_of_later_in_the_film(tmp_path):
    onset = np.concatenate([np.arange(0, 100, 2.0), np.arange(0, 60, 1.5)])
    film = np.repeat(["a", "b"], [50, 40])
    ids = np.array([f"{f}{t:05.1f}" for f, t in zip(film, onset, strict=True)])
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(90), "split": np.full(90, "train"), "group": ids,
         "onset": onset, "film": film}, attrs={"dataset": "x", "pixels": "not distributed"},
        captions=np.array([[f"w{i}"] for i in range(90)]),
    )  # fmt: skip
    np.save(tmp_path / "f.npy", np.arange(90)[:, None].astype("f4"))
    (tmp_path / "f.json").write_text(json.dumps({"stimulus_id": ids.tolist()}))
    model = Model(extractor="file", path=str(tmp_path / "f.npy"), misalign=25)
    extract(stimuli, model, tmp_path / "o.nc")
    found = load(tmp_path / "o.nc", "features")
    np.testing.assert_array_equal(found["stimulus_id"].values, ids)
    seen = found["feature"].values[:, 0].astype(int)
    assert (film[seen] == film).all() and sorted(seen[film == "a"]) == list(range(50))
    apart = np.abs(onset[seen] - onset)
    assert apart.min() >= 25 and set(onset[seen][:37] - onset[:37]) == {26.0}  # the next that begins
    assert "25 s later" in found.attrs["preprocessing"]
    extract(stimuli, Model(extractor="caption", misalign=25), tmp_path / "c.nc")
    plain = classical.caption_features(stimuli)[0]
    np.testing.assert_array_equal(load(tmp_path / "c.nc", "features")["feature"].values, plain[seen])
    with pytest.raises(InputError, match=r"'b' reach over 58 s: `misalign` 40 would"):
        extract(stimuli, model.model_copy(update={"misalign": 40.0}), tmp_path / "n.nc")
    with pytest.raises(InputError, match="have no films with onsets"):
        extract(stimuli.drop_vars("film"), model, tmp_path / "n.nc")
    assert not (tmp_path / "n.nc").exists()
