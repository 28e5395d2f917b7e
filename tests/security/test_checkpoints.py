"""Checkpoints and settings of networks from a stranger: no code is run, one line."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.security.stranger import describe, make_folder, one_line


class Opened:
    def __reduce__(self):
        return os.mkdir, ("opened",)


def written(data):
    return lambda path: path.write_bytes(data)


def torch_file(value):
    return lambda path: torch.save(value, path)


def safetensors(head, body=b"", size=None):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return written(struct.pack("<Q", len(text) if size is None else size) + text + body)


def tensors(**values):
    return lambda path: save_file(values, path)


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Opened()))
        file.writestr("archive/version", "3")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
UNREAD, OTHER = "Cannot read the checkpoint|is no checkpoint", "checkpoint|weights|tensor"
CHECKPOINTS = {
    "a pickle": ("w.pth", written(pickle.dumps(Opened())), UNREAD),
    "a pickle in a zip": ("w.pth", zipped, UNREAD),
    "code beside tensors": ("w.pth", torch_file({"a": torch.zeros(2), "b": Opened()}), UNREAD),
    "a whole module": ("w.pth", torch_file(torch.nn.Linear(2, 2)), UNREAD),
    "a list": ("w.pth", torch_file([torch.zeros(2)]), OTHER),
    "a number": ("w.pth", torch_file(3), OTHER),
    "numbers for names": ("w.pth", torch_file({1: torch.zeros(2)}), OTHER),
    "text for tensors": ("w.pth", torch_file({"a": "b"}), OTHER),
    "nothing": ("w.pth", written(b""), UNREAD),
    "noise": ("w.pth", written(b"\x12" * 999), UNREAD),
    "tensors of another network": ("w.safetensors", tensors(a=torch.zeros(2)), OTHER),
    "no tensors": ("w.safetensors", safetensors({}), OTHER),
    "a head of 2 EB": ("w.safetensors", safetensors({}, size=2**61), UNREAD),
    "a head that is none": ("w.safetensors", safetensors(b"{"), UNREAD),
    "a deep head": ("w.safetensors", safetensors(b"[" * 100_000), UNREAD),
    "beyond its end": ("w.safetensors", safetensors({"a": ENTRY | {"data_offsets": [0, 2**40]}}), UNREAD),
    "less than nothing": ("w.safetensors", safetensors({"a": ENTRY | {"shape": [-2]}}, bytes(8)), UNREAD),
    "two in one place": ("w.safetensors", safetensors({"a": ENTRY, "b": ENTRY}, bytes(8)), UNREAD),
    "no such type": ("w.safetensors", safetensors({"a": ENTRY | {"dtype": "X"}}, bytes(8)), UNREAD),
    "a pickle by that name": ("w.safetensors", written(pickle.dumps(Opened())), UNREAD),
    "a folder": ("w", lambda path: path.mkdir(), "is no file"),
    "a pipe": ("w", os.mkfifo, "device or a pipe"),
    "a device": ("/dev/zero", lambda _: None, "device or a pipe"),
    "a name of 300": ("w" * 300, lambda _: None, "No file can be read"),
    "absent": ("w.pth", lambda _: None, "File not found"),
}  # fmt: skip
NETWORK = {"extractor": "timm", "network": "test_vit", "weights": "random:0", "layers": ["blocks.0"]}
OPTIONS = {
    "another device": {"device": "cuda:77"},
    "a device that is none": {"device": "cuda; touch x"},
    "a seed without end": {"weights": "random:" + "9" * 40},
    "no seed": {"weights": "random:$(touch x)"},
    "a grid of 10 to the 8": {"pooling": "grid:99999999"},
    "a grid below 0": {"pooling": "grid:-1"},
    "no such pooling": {"pooling": "mean; touch x"},
    "pictures of 10 to the 6": {"input_size": 1_000_000},
    "a layer that is none": {"layers": ["blocks.99"]},
    "a layer upwards": {"layers": ["../x"]},
    "a layer of dunder": {"layers": ["__class__.__mro__"]},
    "a network that is none": {"network": "no_such_network"},
    "a network on the hub": {"network": "hf-hub:someone/something"},
    "a network on a server": {"network": "https://example.com/x"},
    "a network of two lines": {"network": "test_vit\nx"},
    "an option": {"network": "--help"},
    "a hash of nothing": {"sha256": "0" * 64},
    "a hash of text": {"sha256": "../x"},
    "a tag that is none": {"tag": "$(touch x)"},
    "code of a stranger": {"options": {"trust_remote_code": True}},
    "code within": {"options": {"a": [{"trust_remote_code": True}]}},
    "pickles": {"options": {"weights_only": False}},
    "weights by the back door": {"options": {"checkpoint_path": "/dev/zero"}},
    "weights of the library": {"options": {"pretrained": True}},
    "its own name": {"options": {"model_name": "x"}},
    "its own cache": {"options": {"cache_dir": "/tmp/x"}},
    "classes of text": {"options": {"num_classes": "many"}},
    "an argument that is none": {"options": {"no_such_argument": 1}},
    "depth without end": {"options": {"depth": 10**12}},
    "depth of text": {"options": {"depth": "x"}},
    "more than all of a picture": {"options": {"crop_pct": 2}},
    "a crop that is none": {"options": {"crop_pct": float("nan")}},
    "two channels": {"options": {"in_chans": 2}},
    "sides of nothing": {"options": {"img_size": 0}},
    "features that vanish": {"projection": "sparse:0"},
    "10 to the 12 components": {"projection": "pca:" + "9" * 12},
}  # fmt: skip


@pytest.fixture
def stimuli(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = make_folder(tmp_path)
    describe(root)
    options = f'{{"name": "custom", "root": "{root}"}}'
    assert run("data", "stimuli", "--options", options, "--subject", "01", "--out", tmp_path / "s.nc")[0] == 0
    return tmp_path / "s.nc"


def extract(run, stimuli, section):
    return run("features", "extract", "--stimuli", stimuli, "--options", json.dumps(section), "--out", "f.nc")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_of_a_stranger(run, stimuli, tmp_path, name):
    file, make, message = CHECKPOINTS[name]
    make(tmp_path / file)
    before = set(tmp_path.rglob("*"))
    one_line(*extract(run, stimuli, NETWORK | {"weights": str(tmp_path / file)}), message)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", OPTIONS)
def test_settings_of_a_stranger(run, stimuli, tmp_path, name):
    before = set(tmp_path.rglob("*"))
    one_line(*extract(run, stimuli, NETWORK | OPTIONS[name]), ".")
    assert set(tmp_path.rglob("*")) == before


def test_the_network_itself_is_read(run, stimuli):
    status, _, err = extract(run, stimuli, NETWORK)
    assert status == 0, err
    assert np.all([p.name != "opened" for p in stimuli.parent.iterdir()])
