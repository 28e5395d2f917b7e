"""Features from a stranger: whatever the file holds, one line, no code run, no other file read, nothing left."""

import json
import pickle

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuroenc.arrays import make_stimuli, save
from tests.security.stranger import SECRET, N, one_line
from tests.security.test_data import Opened

IDS = np.array([f"p{i}" for i in range(N)])
X = np.zeros((N, 4), "f4")


def h5(make):
    def write(folder):
        with h5py.File(folder / "x.h5", "w") as file:
            make(file, folder)
        return "x.h5#x"

    return write


def virtual(file, folder):
    layout = h5py.VirtualLayout((N, 4), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "x", (N, 4))
    file.create_virtual_dataset("x", layout)


def external_ids(file, folder):
    file["x"] = X
    file["stimulus_id"] = h5py.ExternalLink(str(folder / "secret.h5"), "/ids")


def npy(data):
    def write(folder):
        (folder / "x.npy").write_bytes(data() if callable(data) else data)
        return "x.npy"

    return write


def objects():
    import io

    out = io.BytesIO()
    np.save(out, np.array([Opened()] * N, dtype=object), allow_pickle=True)
    return out.getvalue()


def lying_shape():
    import io

    out = io.BytesIO()
    np.save(out, X)
    return out.getvalue().replace(b"(12, 4)", b"(99, 4)")


def parquet_of_pickles(folder):
    """A column of bytes that are pickles, named by pandas as objects."""
    table = pa.table({"stimulus_id": IDS, "f": [pickle.dumps(Opened())] * N})
    pq.write_table(table, folder / "x.parquet")
    return "x.parquet"


def cut_parquet(folder):
    pq.write_table(pa.table({"stimulus_id": IDS, "f": np.zeros(N)}), folder / "x.parquet")
    data = bytearray((folder / "x.parquet").read_bytes())
    data[10:60] = bytes(50)
    (folder / "x.parquet").write_bytes(data)
    return "x.parquet"


def sidecar(text):
    def write(folder):
        np.save(folder / "x.npy", X)
        (folder / "x.json").write_bytes(text)
        return "x.npy"

    return write


def table(text):
    def write(folder):
        (folder / "x.csv").write_bytes(text)
        return "x.csv"

    return write


FEATURES = {
    "external link": (h5(lambda f, d: f.__setitem__("x", h5py.ExternalLink(str(d / "secret.h5"), "/x"))), "another file"),
    "external storage": (h5(lambda f, d: f.create_dataset("x", (N, 4), "u1", external=[(str(d / "secret.txt"), 0, 48)])),
                         "another file"),
    "virtual dataset": (h5(virtual), "another file"),
    "ids from another file": (h5(external_ids), "another file"),
    "more than there is memory": (h5(lambda f, _: f.create_dataset("x", (N, 2**40), "f8", chunks=(1, 1024))), "announces"),
    "references": (h5(lambda f, _: f.create_dataset("x", (N, 4), h5py.ref_dtype)), "expected an array of numbers"),
    "objects": (npy(objects), "Cannot read .*x.npy"),
    "a pickle": (npy(lambda: pickle.dumps(Opened())), "Cannot read .*x.npy"),
    "a shape that lies": (npy(lying_shape), "Cannot read .*x.npy"),
    "half a head": (npy(b"\x93NUMPY\x01\x00v"), "Cannot read .*x.npy"),
    "pickles in parquet": (parquet_of_pickles, "holds binary"),
    "a broken parquet": (cut_parquet, "x.parquet"),
    "a sidecar that is no text": (sidecar(b"\xff\xfe\x00"), "UTF"),
    "a deep sidecar": (sidecar(b"[" * 100_000), "is not JSON"),
    "a table of code": (table(b"stimulus_id,f\n" + b"".join(b"p%d,__import__('os')\n" % i for i in range(N))), "'f' in line 2"),
    "a device": (lambda _: "/dev/zero", "/dev/zero"),
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
def test_features_of_a_stranger(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text(SECRET * 4)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"], file["ids"] = np.full((N, 4), 7.0), [SECRET] * N
    columns = {"stimulus_id": IDS, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": IDS}
    save(make_stimuli(columns, attrs={"dataset": "toy", "pixels": "not distributed"}), tmp_path / "s.nc")
    make, message = FEATURES[name]
    options = json.dumps({"extractor": "file", "path": make(tmp_path)})
    before = set(tmp_path.rglob("*"))
    status, out, err = run(
        "features", "extract", "--stimuli", tmp_path / "s.nc", "--options", options, "--out", "f.nc"
    )
    said = [line for line in err.splitlines() if "names no stimuli" not in line]
    one_line(status, out, "\n".join(said) + "\n", message)
    assert set(tmp_path.rglob("*")) == before
