"""A folder from a stranger: whatever lies in it, one line, no code run, no other file read, nothing left behind."""

import os
import pickle
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.security.stranger import N, describe, h5, make_folder, one_line


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


def external_storage(root):
    h5(
        root,
        lambda f: f.create_dataset("y", (3, 4), "u1", external=[(str(root.parent / "secret.txt"), 0, 12)]),
    )


def external_storage_beside(root):
    h5(root, lambda f: f.create_dataset("y", (3, 4), "u1", external=[("../secret.txt", 0, 12)]))


def external_link(root):
    h5(root, lambda f: f.__setitem__("y", h5py.ExternalLink(str(root.parent / "secret.h5"), "/y")))


def virtual(root):
    layout = h5py.VirtualLayout((N, 4), "f8")
    layout[:] = h5py.VirtualSource(str(root.parent / "secret.h5"), "y", (N, 4))
    h5(root, lambda f: f.create_virtual_dataset("y", layout))


def loop(root):
    h5(root, lambda f: f.__setitem__("y", h5py.SoftLink("/y")))


def group(root):
    h5(root, lambda f: f.create_group("y"))


def huge(root):
    h5(root, lambda f: f.create_dataset("y", (N, 2**40), "f8", chunks=(1, 1024)))


def words(root):
    h5(root, lambda f: f.create_dataset("y", data=np.array([b"a"] * N)))


def objects(root):
    np.save(root / "y.npy", np.array([Opened()] * N, dtype=object), allow_pickle=True)


class Opened:
    def __reduce__(self):
        return os.mkdir, ("opened",)


def lying_shape(root):
    data = (root / "y.npy").read_bytes()
    (root / "y.npy").write_bytes(data.replace(b"(12, 4)", b"(99, 9)"))


def pickled(root):
    (root / "y.npy").write_bytes(pickle.dumps(Opened()))


def fifo(root):
    (root / "y.npy").unlink()
    os.mkfifo(root / "y.npy")


def outside(name):
    return lambda root: describe(root, {"responses": name.format(root=root.parent)})


def picture_outside(name):
    def make(root):
        table = pd.read_csv(root / "stimuli.csv")
        table.loc[0, "file"] = name.format(root=root.parent)
        table.to_csv(root / "stimuli.csv", index=False)

    return make


def picture(data):
    return lambda root: (root / "pictures/p0.png").write_bytes(data(root))


def enormous(root):
    """A PNG that says it is 60,000 x 60,000."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def zipped(root):
    """Pictures in a zip, one of them broken."""
    with zipfile.ZipFile(root / "pictures/all.zip", "w") as file:
        for i in range(N):
            file.write(root / f"pictures/p{i}.png", f"p{i}.png")
    data = bytearray((root / "pictures/all.zip").read_bytes())
    data[60:90] = bytes(30)
    (root / "pictures/all.zip").write_bytes(data)
    table = pd.read_csv(root / "stimuli.csv")
    table["file"] = "all.zip/" + table["file"]
    table.to_csv(root / "stimuli.csv", index=False)


def laughs(root):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (root / "dataset.yaml").write_text("\n".join([*lines, "name: *a9"]))


def text(content):
    return lambda root: (root / "dataset.yaml").write_bytes(content)


RESPONSES = {
    "external storage": (external_storage, "secret.txt|external|other file"),
    "external storage beside": (external_storage_beside, "secret.txt|external|other file"),
    "external link": (external_link, "external|other file|outside"),
    "virtual dataset": (virtual, "virtual|other file|outside"),
    "link to itself": (loop, "y"),
    "a group": (group, "group|dataset"),
    "more than there is memory": (huge, "y.h5"),
    "words": (words, "y.h5"),
    "objects": (objects, "y.npy"),
    "a pickle": (pickled, "y.npy"),
    "a shape that lies": (lying_shape, "y.npy"),
    "a pipe": (fifo, "y.npy"),
    "a device": (outside("/dev/zero"), "/dev/zero"),
    "an absolute path": (outside("{root}/secret.csv"), "outside"),
    "a path upwards": (outside("../secret.csv"), "outside"),
    "upwards within": (outside("pictures/../../secret.csv"), "outside"),
    "an over-long name": (outside("y" * 300 + ".npy"), "y{20}"),
    "a name with a zero byte": (outside("y\0.npy"), "y"),
    "the folder itself": (outside("."), r"\."),
    "no text": (text(b"\xff\xfe\x00name"), "dataset.yaml"),
    "Latin-1": (text("name: Müller\n".encode("latin-1")), "dataset.yaml"),
    "a list": (text(b"- 1\n"), "dataset.yaml"),
    "nothing": (text(b""), "dataset.yaml"),
    "code": (text(b"name: !!python/object/apply:os.mkdir [opened]\n"), "dataset.yaml"),
    "laughs": (laughs, "dataset.yaml"),
    "deep": (text(b"[" * 5000), "dataset.yaml"),
    "not YAML": (text(b"name: [\n"), "dataset.yaml"),
}  # fmt: skip
PICTURES = {
    "an absolute path": (picture_outside("{root}/secret.txt"), "outside"),
    "a path upwards": (picture_outside("../../secret.txt"), "outside"),
    "a name with a zero byte": (picture_outside("p0.png\0"), "."),
    "an over-long name": (picture_outside("p" * 300), "p{20}"),
    "a folder": (picture_outside("."), "."),
    "a script": (picture(lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "p0.png"),
    "60,000 x 60,000": (picture(enormous), "p0.png"),
    "half a picture": (picture(lambda r: (r / "pictures/p1.png").read_bytes()[:100]), "p0.png"),
    "no picture": (picture(lambda _: b""), "p0.png"),
    "a broken zip": (zipped, "all.zip"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESPONSES)
def test_responses_of_a_stranger(run, folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make, message = RESPONSES[name]
    make(folder)
    before = set(tmp_path.rglob("*"))
    options = f'{{"name": "custom", "root": "{folder}"}}'
    one_line(
        *run("data", "responses", "--options", options, "--subject", "01", "--out", tmp_path / "r.nc"),
        message,
    )
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_a_stranger(run, folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make, message = PICTURES[name]
    make(folder)
    options = f'{{"name": "custom", "root": "{folder}"}}'
    status, out, err = run(
        "data", "stimuli", "--options", options, "--subject", "01", "--out", tmp_path / "s.nc"
    )
    if status == 0:  # the picture itself is opened by the next stage
        status, out, err = run(
            "features", "extract", "--stimuli", tmp_path / "s.nc", "--options", '{"extractor": "luminance"}', "--out",
            tmp_path / "f.nc",
        )  # fmt: skip
    one_line(status, out, err, message)
    assert not (tmp_path / "f.nc").exists() and not (tmp_path / "opened").exists()
