"""What is no whole export, no picture, or of other weights is one line."""

import shutil

import numpy as np
import pytest
from PIL import Image

import neuroenc
from neuroenc import splits
from neuroenc.arrays import load
from neuroenc.config import Model, Ridge, Split
from neuroenc.datasets import read_pixels
from neuroenc.encoders import encode, save_fits
from neuroenc.encoders.export import export
from neuroenc.errors import ContractError, InputError
from neuroenc.features import extract
from tests.encoders.exports import rewritten, subject


def edited(name, old, new):
    def change(folder):
        path = folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


def cut(folder):
    path = folder / "sub-01.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "no export": (lambda f: (f / "encoder.json").unlink(), "is no exported encoder: it has no encoder.json"),
    "a name that was edited": (edited("encoder.json", '"name": "stack"', '"name": "other"'), "encoder.json was changed after it was written"),
    "an edited card": (edited("README.md", "# stack", "# better stack"), "README.md was changed after it was written: sha256"),
    "edited weights' JSON": (edited("sub-01_gabor.json", "RidgeCV", "PLS"), "sub-01_gabor.json was changed"),
    "cut arrays": (cut, "sub-01.safetensors was changed"),
    "a file is missing": (lambda f: (f / "sub-01_gabor.safetensors").unlink(), "File not found: .*sub-01_gabor.safetensors"),
    "no JSON": (lambda f: (f / "encoder.json").write_text("{"), "is not JSON"),
    "JSON of another kind": (lambda f: (f / "encoder.json").write_text('{"a": 1}'), "has no key 'format'"),
    "another format": (lambda f: rewritten(f, lambda d: d.update(format=9)), "has format 9, expected 1"),
    "a file outside": (lambda f: rewritten(f, lambda d: d["files"].update({"../r-01.nc": "0"})), "names the file '../r-01.nc', expected one in its own folder"),
    "a file without a hash": (lambda f: rewritten(f, lambda d: d["files"].pop("sub-01_gabor.safetensors")), "without its hash"),
    "an unknown member": (lambda f: rewritten(f, lambda d: d["subjects"][0]["weights"].update(x="sub-01.safetensors")), "says nothing of the member 'x'"),
    "lists for numbers": (lambda f: rewritten(f, lambda d: d["subjects"][0].update(neuroid_id=3)), "cannot be put together"),
    "code": (lambda f: rewritten(f, lambda d: d["members"][0].update(model={"extractor": "module", "module": "os:getcwd", "layers": ["a"]})), "NEUROENC_ALLOW_CODE"),
    "an unknown option": (lambda f: rewritten(f, lambda d: d["members"][0].update(model={"extractor": "gabour"})), "did you mean 'gabor'"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_no_whole_export_is_one_line(exported, tested, tmp_path, name, monkeypatch):
    monkeypatch.delenv("NEUROENC_ALLOW_CODE", raising=False)
    shutil.copytree(exported, tmp_path / "e")
    change, message = DAMAGES[name]
    change(tmp_path / "e")
    with pytest.raises(InputError, match=message) as caught:
        neuroenc.load(tmp_path / "e")(tested[0][:1])
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"File not found: .*nowhere"):
        neuroenc.load(tmp_path / "nowhere")


PICTURES = {
    "numbers with a point": (lambda p: np.zeros((1, 8, 8, 3)), r"Item 0 is float64 of shape \(8, 8, 3\), expected a picture: uint8"),
    "grey": (lambda p: [np.zeros((8, 8), np.uint8)], r"Item 0 is uint8 of shape \(8, 8\)"),
    "none": (lambda p: [], "No pictures were given"),
    "a number": (lambda p: 3, "Pictures are int, expected a path"),
    "a text file": (lambda p: [p], "Cannot decode the picture .*notes.txt"),
    "a folder": (lambda p: [p.parent], "is a folder, expected a picture"),
    "no file": (lambda p: ["nothing.png"], "File not found: nothing.png"),
    "floats of PIL": (lambda p: [Image.new("F", (8, 8))], "Picture 0 cannot be read: its mode F has no known range"),
    "words": (lambda p: [None], "Item 0 is NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_no_picture_is_one_line(exported, tmp_path, name):
    (tmp_path / "notes.txt").write_text("no picture")
    make, message = PICTURES[name]
    encoder = neuroenc.load(exported)
    for call in (encoder, encoder.interval, encoder.distance):
        with pytest.raises(InputError, match=message) as caught:
            call(make(tmp_path / "notes.txt"))
        assert "\n" not in str(caught.value)


def test_other_weights_of_the_network_are_refused(world, tmp_path):
    """The twin of another seed, under the name of the first."""
    pytest.importorskip("torch")
    folder, stimuli = world
    options = {"network": "nano", "weights": "random:0", "layers": ["visual"]}
    extract(stimuli, Model(**options), tmp_path / "f.nc")
    found = load(tmp_path / "f.nc", "features")
    responses = load(folder / "r-01.nc", "responses")
    predictions, fits = encode(
        responses, found, splits.make(stimuli, Split(kind="dataset", n_inner=4)), Ridge()
    )
    save_fits(fits, found.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors")
    made = subject(folder, predictions=predictions, weights={"nano": tmp_path / "w.safetensors"})
    export(tmp_path / "e", [made], {"nano": Model(**options)}, {"nano": found}, name="nano")
    pictures = read_pixels(stimuli, np.arange(2))
    assert neuroenc.load(tmp_path / "e", device="cpu")(pictures).shape[0] == 2
    with pytest.raises(
        ContractError,
        match=r"network of 'nano' is not the one that was fitted.*'weights': found 'random:1', fitted to 'random:0'",
    ):
        neuroenc.load(tmp_path / "e", weights={"nano": "random:1"})(pictures)
    with pytest.raises(InputError, match=r"'member of weights': 'nono'.*did you mean 'nano'"):
        neuroenc.load(tmp_path / "e", weights={"nono": "random:1"})
    rewritten(tmp_path / "e", lambda d: d["members"][0]["model"].update(weights="mine.safetensors"))
    with pytest.raises(
        InputError, match=r"reads the checkpoint 'mine.safetensors', which does not come along. Give weights="
    ):
        neuroenc.load(tmp_path / "e")
